package conditions

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/scaling"
)

// scaledUp says once that the idle target has pods that nothing leads to.
func (w *writer) scaledUp() {
	if !scaling.ScaledUp(w.st, &w.Target) {
		w.st.RemoveCondition(v1beta1.ConditionTargetScaledUp)
		return
	}
	message := w.Canary.TargetName() + " was given pods again after its idle ones were removed. They get no traffic and stay until the next release has ended. " +
		"If spec.replicas is in Git, leave it out or have your tool ignore it"
	if w.st.GetCondition(v1beta1.ConditionTargetScaledUp) == nil {
		w.event(true, release.ReasonTargetScaledUp, message)
	}
	w.set(v1beta1.ConditionTargetScaledUp, corev1.ConditionTrue, release.ReasonTargetScaledUp, message)
}
