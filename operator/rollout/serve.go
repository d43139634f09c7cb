package rollout

import (
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/conditions"
	"github.com/sluice-delivery/sluice/operator/rollout/scaling"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
)

// serve writes into the status who serves now, and tells when that is not as planned.
func serve(d *decider) {
	if d.Route.Unreachable && d.st.Traffic == nil {
		return // what the mesh has is taken over once it can be asked
	}
	was := serving.Current(d.st)
	if !takenOver(d) && !release.Running(d.st.Phase) {
		d.st.Traffic = &v1beta1.TrafficStatus{Reason: v1beta1.TrafficPlanned} // there is no route yet
		return
	}
	is := serving.Situation{
		Planned: serving.Planned(d.st), Before: was, Primary: d.Primary, Needed: scaling.Carrying(&d.Observation, d.st), Canary: d.Target, Fixed: d.Route.Fixed,
		Unreachable: d.Route.Unreachable, Condemned: d.st.Phase == v1beta1.PhaseFailed, Changing: release.ChangesPrimary(d.st),
		ScaledToZero: scaling.ToZero(d.st, d.Primary), Matches: len(d.Canary.GetAnalysis().Match) > 0,
	}.Effective()
	d.st.CanaryWeight = is.Weight
	d.st.Traffic = &v1beta1.TrafficStatus{Matched: is.Matched, Mirror: is.Mirror, Reason: is.Reason}
	if was.Reason != is.Reason {
		d.out.Events = append(d.out.Events, conditions.Serving(&d.Observation, was, is)...)
	}
}
