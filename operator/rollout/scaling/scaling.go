// Package scaling bounds what autoscalers may do to target and primary while a release moves traffic.
package scaling

import (
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// PauseTarget tells whether the target's autoscaler must leave it at zero pods:
// only between releases and before one is let in, and only while the target has no pods or is to lose
// them now. Whatever else is the case it may scale, so that no phase in which
// the target serves, or is to serve, is spent with a paused autoscaler.
func PauseTarget(phase v1beta1.CanaryPhase, target release.Workload, want release.Desired) bool {
	if !release.Idle(phase) && phase != v1beta1.PhaseWaiting {
		return false
	}
	if want.TargetReplicas != nil {
		return *want.TargetReplicas == 0
	}
	return target.Exists && target.Replicas == 0
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
