package rollout

import (
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/scaling"
)

func primaryFloor(d *decider) int32 {
	primary := d.Primary.Replicas
	if !d.Primary.Exists {
		primary = d.st.PrimaryReplicas
	}
	return scaling.PrimaryFloor(d.st.Phase, primary, d.Target.Replicas, d.Target.Replicas == 0 && d.Target.Available == 0 || scaledUp(d))
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
	case d.Target.Replicas == 0 && d.Target.Available == 0, scaledUp(d):
		return new(d.st.ReleasedReplicas)
	default:
		return nil
	}
}
