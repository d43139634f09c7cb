package rollout

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// scaledUp is true when somebody else gave the idle target pods after their
// removal had been asked for. The removal is one change of the target, and the
// record of it is written first: one change more was not ours.
func scaledUp(d *decider) bool {
	if !release.Idle(d.st.Phase) || d.st.DrainedGeneration == 0 || d.Target.Replicas == 0 {
		return false
	}
	return d.Target.Generation >= d.st.DrainedGeneration+2
}

// describeScaledUp says once that the idle target has pods that nothing leads to.
func describeScaledUp(d *decider) {
	if !scaledUp(d) {
		d.st.RemoveCondition(v1beta1.ConditionTargetScaledUp)
		return
	}
	message := d.target() + " was given pods again after its idle ones were removed. They get no traffic and stay until the next release has ended. " +
		"If spec.replicas is in Git, leave it out or have your tool ignore it"
	if d.st.GetCondition(v1beta1.ConditionTargetScaledUp) == nil {
		d.event(true, release.ReasonTargetScaledUp, message)
	}
	d.set(v1beta1.ConditionTargetScaledUp, corev1.ConditionTrue, release.ReasonTargetScaledUp, message)
}
