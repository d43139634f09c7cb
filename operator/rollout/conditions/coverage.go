package conditions

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/text"
)

// coverageLength bounds a list of objects in a message, in bytes: the API server refuses events
// with more than 1024.
const coverageLength = 600

// coverage says which objects cover the target's pods and not those that
// serve everyone. Nothing waits for that to be mended, so no other condition
// speaks of it.
func (w *writer) coverage() {
	if w.Coverage == nil {
		w.st.RemoveCondition(v1beta1.ConditionCovered)
		return
	}
	status, reason := corev1.ConditionTrue, release.ReasonCovered
	message := "What selects the pods of " + w.Canary.TargetName() + " by label covers those of " + w.Canary.PrimaryName()
	if len(w.Coverage.Copied) > 0 {
		message += "; copies are kept of " + text.List(w.Coverage.Copied, coverageLength)
	}
	if len(w.Coverage.Uncovered) > 0 {
		status, reason = corev1.ConditionFalse, release.ReasonNotCovered
		message = "The pods of " + w.Canary.PrimaryName() + " are not covered by what selects those of " + w.Canary.TargetName() + " by label: " +
			text.List(w.Coverage.Uncovered, coverageLength)
	}
	was := w.st.GetCondition(v1beta1.ConditionCovered)
	isNews := was != nil && !was.Says(message) || was == nil && len(w.Coverage.Uncovered)+len(w.Coverage.Copied) > 0
	if isNews {
		w.event(status == corev1.ConditionFalse, reason, message)
	}
	w.set(v1beta1.ConditionCovered, status, reason, message)
}
