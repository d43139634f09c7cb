package conditions

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/text"
)

// admission says whether the release policies have let the release begin. That it did not is no mistake, and the events
// of it are the turn's.
func (w *writer) admission() {
	switch a := w.st.Admission; {
	case a == nil:
		w.st.RemoveCondition(v1beta1.ConditionAdmitted)
	case a.Admitted == nil:
		reason := a.Reason
		if reason == "" {
			reason = string(v1beta1.PhaseWaiting)
		}
		w.set(v1beta1.ConditionAdmitted, corev1.ConditionFalse, reason, text.Sentence(w.waiting))
	case a.Reason == release.ReasonApproved:
		by := ""
		if a.By != "" {
			by = " by " + a.By
		}
		w.set(v1beta1.ConditionAdmitted, corev1.ConditionTrue, a.Reason, "It was let begin"+by+" whatever the release policies say")
	default:
		w.set(v1beta1.ConditionAdmitted, corev1.ConditionTrue, release.ReasonAdmitted, "The release policies have let it begin")
	}
}
