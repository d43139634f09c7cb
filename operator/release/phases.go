package release

import (
	"time"

	corev1 "k8s.io/api/core/v1"

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

// PromotionFailed tells whether a promotion has not come to its end within the deadline. It goes on, as the canary
// serves, and has failed for whoever waits for it: Flagger ends a release there. A mistake that holds it since is no
// other failure.
func PromotionFailed(st *v1beta1.CanaryStatus) bool {
	c := st.GetCondition(v1beta1.ConditionPromoted)
	return c != nil && c.Status == corev1.ConditionFalse && FailsPromotion(st.Phase, c.Reason)
}

// FailsPromotion tells whether what stalls a phase is the failure of a promotion.
func FailsPromotion(phase v1beta1.CanaryPhase, reason string) bool {
	return (phase == v1beta1.PhasePromoting || phase == v1beta1.PhaseFinalising) && (reason == ReasonPromotionHalted || reason == ReasonDeadlineExceeded)
}

// ChangesPrimary is true where the primary may be getting another revision.
func ChangesPrimary(st *v1beta1.CanaryStatus) bool {
	return st.Rollback != nil || st.Phase == v1beta1.PhasePromoting || st.Phase == "" || st.Phase == v1beta1.PhaseInitializing
}

// Analysed is how long ago the first step began: the given one, for a status from
// before that was noted.
func Analysed(step *v1beta1.StepStatus, now time.Time) time.Duration {
	if began := step.Began; began != nil {
		return now.Sub(began.Time)
	}
	return now.Sub(step.Since.Time)
}
