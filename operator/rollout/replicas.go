package rollout

import (
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/rollout/scaling"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
)

func primaryFloor(d *decider) int32 {
	primary := neededOfPrimary(d)
	if !d.Primary.Exists {
		primary = max(primary, d.st.PrimaryReplicas)
	}
	// Who gets the requests of a primary is no reason to have more of it than people ask for.
	unused := d.st.CanaryWeight == 0 || d.Primary.MaxReplicas == 0
	idle := d.Target.Replicas == 0 && d.Target.Available == 0 || unused && scaling.ScaledUp(d.st, &d.Target)
	floor := scaling.PrimaryFloor(d.st.Phase, primary, d.Target.Replicas, idle)
	if d.Primary.ScalesToZero && (d.st.Phase == v1beta1.PhaseInitializing || d.st.Phase == v1beta1.PhaseProgressing) {
		return max(floor, 1) // it is started before anything is compared with it, and there for a rollback
	}
	return floor
}

// neededOfPrimary is how many pods the primary must have to carry everything.
func neededOfPrimary(d *decider) int32 {
	return scaling.Needed(d.Primary, d.Target, d.st.PrimaryReplicas, serving.Helps(d.st))
}

// awaitsStart tells whether a release waits for a primary that had no pods. It does not for longer than
// the deadline: the release may be what mends it.
func awaitsStart(d *decider) bool {
	if !scaling.ToZero(d.st, d.Primary) {
		return false
	}
	why := d.Canary.PrimaryName() + " had no pods and is being started: " + d.Primary.Message
	d.unwell(why)
	if d.overdue() {
		return false
	}
	d.blocked(stepDue(d), why)
	return true
}
