package release

import (
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Analysing tells whether a phase is one of the analysis, gates included.
func Analysing(phase v1beta1.CanaryPhase) bool {
	return phase == v1beta1.PhaseProgressing || phase == v1beta1.PhaseWaiting || phase == v1beta1.PhaseWaitingPromotion
}

// Running is true while a release is under way.
func Running(phase v1beta1.CanaryPhase) bool {
	switch phase { //nolint:exhaustive // the rest are states between releases
	case v1beta1.PhaseProgressing, v1beta1.PhaseWaiting, v1beta1.PhaseWaitingPromotion,
		v1beta1.PhasePromoting, v1beta1.PhaseFinalising:
		return true
	default:
		return false
	}
}

// Idle is true between releases.
func Idle(phase v1beta1.CanaryPhase) bool {
	switch phase { //nolint:exhaustive // the rest are states of a release
	case v1beta1.PhaseInitialized, v1beta1.PhaseSucceeded, v1beta1.PhaseFailed:
		return true
	default:
		return false
	}
}
