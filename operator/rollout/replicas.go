package rollout

import (
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
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

// primaryReplicas is the number of pods that the primary must be given, nil where it
// keeps what it has: one that was lost gets what it had, and one that a release has
// made smaller gets what the target asked for, when that has no pods any more that
// could serve.
func primaryReplicas(d *decider) *int32 {
	switch {
	case !d.Primary.Exists && d.st.PrimaryReplicas > 0:
		return new(d.st.PrimaryReplicas)
	case d.st.ReleasedReplicas == 0 || !release.Idle(d.st.Phase):
		return nil
	case d.Target.Replicas == 0 && d.Target.Available == 0, scaling.ScaledUp(d.st, &d.Target):
		return new(d.st.ReleasedReplicas)
	default:
		return nil
	}
}
