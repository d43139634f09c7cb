// Package scaling bounds what autoscalers may do to target and primary while a release moves traffic.
package scaling

import (
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// PauseTarget is how many pods the target's autoscaler must leave it at, nil where it may scale.
//
// Between releases it is what the target has until its pods are removed, and zero from then on;
// spare is true where nobody is led to those that it has. Whatever serves, or is to serve, may scale,
// but for a target that its autoscaler would take all pods from while a release checks it: that follows the
// primary.
func PauseTarget(phase v1beta1.CanaryPhase, target, primary release.Workload, want release.Desired, spare bool) *int32 {
	switch {
	case !target.Exists && want.TargetReplicas == nil:
		return nil
	case release.Idle(phase), phase == v1beta1.PhaseWaiting:
		return pauseIdle(phase, target, want, spare)
	case release.Analysing(phase) && want.TargetReplicas != nil && *want.TargetReplicas == 0:
		return new(int32) // its pods are replaced
	case !target.ScalesToZero:
		return nil
	case release.Analysing(phase), phase == v1beta1.PhasePromoting:
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
func pauseIdle(phase v1beta1.CanaryPhase, target release.Workload, want release.Desired, spare bool) *int32 {
	switch {
	case want.TargetReplicas != nil && *want.TargetReplicas == 0, target.Replicas == 0 && want.TargetReplicas == nil:
		return new(int32)
	case want.TargetReplicas == nil && release.Idle(phase) && spare:
		return &target.Replicas
	default:
		return nil
	}
}

// Needed is how many pods the primary must have to carry everything: those that it is asked for. While
// the canary serves more than is planned because the primary can't, that one's autoscaler sees a workload with few
// requests and asks for fewer pods: then it is what the primary had before, and no fewer than serve as canary, as far
// as the autoscaler may give it as many. What a person asks for counts as it is.
func Needed(primary, canary release.Workload, had int32, helped bool) int32 {
	if !helped {
		return primary.Replicas
	}
	return max(primary.Replicas, min(max(had, canary.Available), primary.MaxReplicas))
}

// PrimaryFloor is how many pods the primary must have at least in a phase, 0
// for no such bound. While the canary has a share of the traffic the primary
// looks idle to its autoscaler; it must be as large as it was when everything
// comes back to it, at once by a rollback, or with what the canary served when
// it is promoted. The bound holds until the canary's pods are idle: without traffic, and gone or known to
// stay so.
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

// ScaledUp is true when somebody else gave the idle target pods after their
// removal had been asked for. The removal is one change of the target, and the
// record of it is written first: one change more was not ours.
func ScaledUp(st *v1beta1.CanaryStatus, target *release.Workload) bool {
	if !release.Idle(st.Phase) || st.DrainedGeneration == 0 || target.Replicas == 0 {
		return false
	}
	return target.Generation >= st.DrainedGeneration+2
}

// ToZero is true for a primary that its autoscaler has left without pods, or that is started at the
// beginning of a release: no pod of it is missing, and nobody stands in for it.
func ToZero(st *v1beta1.CanaryStatus, primary release.Workload) bool {
	switch {
	case !primary.Exists || !primary.ScalesToZero || primary.Available > 0:
		return false
	case st.Phase == v1beta1.PhaseProgressing:
		return st.Step == nil || st.Step.Index == 0
	default:
		return primary.Replicas == 0 && (release.Idle(st.Phase) || st.Phase == v1beta1.PhaseWaiting)
	}
}

// PrimaryReplicas is the number of pods that the primary must be given, nil where it
// keeps what it has: one that was lost gets what it had, and one that a release has
// made smaller gets what the target asked for, when that has no pods any more that
// could serve.
func PrimaryReplicas(o *release.Observation, st *v1beta1.CanaryStatus) *int32 {
	switch {
	case !o.Primary.Exists && st.PrimaryReplicas > 0:
		return new(st.PrimaryReplicas)
	case st.ReleasedReplicas == 0 || !release.Idle(st.Phase):
		return nil
	case o.Target.Replicas == 0 && o.Target.Available == 0, ScaledUp(st, &o.Target):
		return new(st.ReleasedReplicas)
	default:
		return nil
	}
}
