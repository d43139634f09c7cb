package rollout

import (
	"fmt"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/plan"
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
		Unreachable: d.Route.Unreachable, Condemned: d.st.Phase == v1beta1.PhaseFailed, Changing: changing(d.st),
		ScaledToZero: scaling.ToZero(d.st, d.Primary), Matches: len(d.Canary.GetAnalysis().Match) > 0,
	}.Effective()
	d.st.CanaryWeight = is.Weight
	d.st.Traffic = &v1beta1.TrafficStatus{Matched: is.Matched, Mirror: is.Mirror, Reason: is.Reason}
	if was.Reason != is.Reason {
		describeServing(d, was, is)
	}
}

// changing is true where the primary may be getting another revision.
func changing(st *v1beta1.CanaryStatus) bool {
	return st.Rollback != nil || st.Phase == v1beta1.PhasePromoting || st.Phase == "" || st.Phase == v1beta1.PhaseInitializing
}

func describeServing(d *decider, was, is serving.Split) {
	primary := d.Canary.PrimaryName()
	switch is.Reason {
	case v1beta1.TrafficPrimaryUnavailable:
		d.event(true, release.ReasonPrimaryUnavailable, "No pod of "+primary+" is available; the canary takes all traffic")
	case v1beta1.TrafficCanaryUnavailable:
		d.event(true, release.ReasonCanaryUnavailable, "No pod of the canary is available; "+primary+" takes all traffic until it is back")
	case v1beta1.TrafficPrimaryTooSmall:
		lacks, until := fmt.Sprintf("%s has %d of %d pods", primary, d.Primary.Available, d.Primary.Replicas), "there are more"
		switch {
		case serving.Leaving(d.Primary):
			lacks, until = "The pods of "+primary+" are about to go for others", "those are there"
		case d.Primary.Unconfirmed:
			lacks, until = "Nothing is known yet of the endpoints of "+primary, "its pods are known to be reached"
		}
		d.event(true, release.ReasonPrimaryUnavailable, fmt.Sprintf("%s; the canary keeps %s of the traffic until %s", lacks, plan.Percent(is.Weight), until))
	case v1beta1.TrafficPlanned:
		if was.Reason != v1beta1.TrafficPrimaryUnavailable || d.Primary.Available == 0 || is.Weight == was.Weight && is.Matched == was.Matched {
			return
		}
		back := plan.Percent(100-is.Weight) + " of the traffic goes"
		switch {
		case is.Matched:
			back = "requests that do not match go"
		case is.Weight == 0:
			back = "all traffic goes"
		}
		d.event(false, release.ReasonPrimaryRecovered, primary+" serves again; "+back+" back to it")
	}
}
