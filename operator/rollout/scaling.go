package rollout

import "github.com/sluice-delivery/sluice/api/v1beta1"

// PauseTarget is how many pods the target's autoscaler must leave it at, nil where it may scale.
//
// Between releases it is what the target has until its pods are removed, and zero from then on;
// spare is true where nobody is led to those that it has. Whatever serves, or is to serve, may scale,
// but for a target that its autoscaler would take all pods from while a release checks it: that follows the
// primary.
func PauseTarget(phase v1beta1.CanaryPhase, target, primary Workload, want Desired, spare bool) *int32 {
	switch {
	case !target.Exists && want.TargetReplicas == nil:
		return nil
	case idle(phase), phase == v1beta1.PhaseWaiting:
		return pauseIdle(phase, target, want, spare)
	case !target.ScalesToZero:
		return nil
	case analyses(phase), phase == v1beta1.PhasePromoting:
		n := max(target.Replicas, primary.Replicas, 1)
		if want.TargetReplicas != nil {
			n = max(n, *want.TargetReplicas)
		}
		return &n
	case phase == v1beta1.PhaseFinalising:
		return &target.Replicas
	default:
		return nil
	}
}

// pauseIdle is PauseTarget between releases, and before one is let in.
func pauseIdle(phase v1beta1.CanaryPhase, target Workload, want Desired, spare bool) *int32 {
	switch {
	case want.TargetReplicas != nil && *want.TargetReplicas == 0, target.Replicas == 0 && want.TargetReplicas == nil:
		return new(int32)
	case want.TargetReplicas == nil && idle(phase) && spare:
		return &target.Replicas
	default:
		return nil
	}
}

// PrimaryFloor is how many pods the primary must have at least in a phase, 0
// for no such bound. While the canary has a share of the traffic the primary
// looks idle to its autoscaler; it must be as large as it was when everything
// comes back to it, at once by a rollback, or with what the canary served when
// it is promoted. The bound holds until the canary's pods are idle: gone, or known to
// stay without traffic.
func PrimaryFloor(phase v1beta1.CanaryPhase, primary, target int32, idle bool) int32 {
	switch phase {
	case v1beta1.PhaseProgressing:
		return primary
	case v1beta1.PhasePromoting, v1beta1.PhaseWaitingPromotion, v1beta1.PhaseFinalising:
		return max(primary, target)
	case "", v1beta1.PhaseInitializing, v1beta1.PhaseInitialized, v1beta1.PhaseSucceeded:
		if idle {
			return 0
		}
		return max(primary, target)
	case v1beta1.PhaseFailed, v1beta1.PhaseWaiting:
		if idle {
			return 0
		}
		return primary
	case v1beta1.PhaseTerminating, v1beta1.PhaseTerminated:
		return 0 // the primary is left as it is
	default:
		return 0
	}
}

func primaryFloor(d *decider) int32 {
	primary := d.Primary.Replicas
	if !d.Primary.Exists {
		primary = d.st.PrimaryReplicas
	}
	floor := PrimaryFloor(d.st.Phase, primary, d.Target.Replicas, d.Target.Replicas == 0 && d.Target.Available == 0 || scaledUp(d))
	if d.Primary.ScalesToZero && (d.st.Phase == v1beta1.PhaseInitializing || d.st.Phase == v1beta1.PhaseProgressing) {
		return max(floor, 1) // it is started before anything is compared with it, and there for a rollback
	}
	return floor
}

// scaledToZero is true for a primary that its autoscaler has left without pods, or that is started at the
// beginning of a release: no pod of it is missing, and nobody stands in for it.
func scaledToZero(d *decider) bool {
	switch {
	case !d.Primary.Exists || !d.Primary.ScalesToZero || d.Primary.Available > 0:
		return false
	case d.st.Phase == v1beta1.PhaseProgressing:
		return d.st.Step == nil || d.st.Step.Index == 0
	default:
		return d.Primary.Replicas == 0 && (idle(d.st.Phase) || d.st.Phase == v1beta1.PhaseWaiting)
	}
}

// awaitsStart tells whether a release waits for a primary that had no pods. It does not for longer than
// the deadline: the release may be what mends it.
func awaitsStart(d *decider) bool {
	if !scaledToZero(d) {
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
	case d.st.ReleasedReplicas == 0 || !idle(d.st.Phase):
		return nil
	case d.Target.Replicas == 0 && d.Target.Available == 0, scaledUp(d):
		return new(d.st.ReleasedReplicas)
	default:
		return nil
	}
}
