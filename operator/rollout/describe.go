package rollout

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/plan"
)

// describe writes the conditions for where the rollout stands.
func describe(d *decider) {
	phase := string(d.st.Phase)
	switch d.st.Phase { //nolint:exhaustive // every other phase is on its way
	case v1beta1.PhaseInitialized, v1beta1.PhaseSucceeded:
		message := d.Canary.PrimaryName() + " serves all traffic"
		if d.st.CanaryWeight > 0 || d.stalled != nil {
			describeWithoutPrimary(d)
			break
		}
		d.set(v1beta1.ConditionPromoted, corev1.ConditionTrue, phase, message)
		d.set(v1beta1.ConditionReady, corev1.ConditionTrue, phase, message)
		d.st.RemoveCondition(v1beta1.ConditionReconciling)
		d.st.RemoveCondition(v1beta1.ConditionStalled)
	case v1beta1.PhaseFailed:
		message := d.waiting
		if was := d.st.GetCondition(v1beta1.ConditionPromoted); message == "" && was != nil && was.Reason == phase {
			message = was.Message // the reason of the rollback stays readable
		}
		d.set(v1beta1.ConditionPromoted, corev1.ConditionFalse, phase, message)
		d.set(v1beta1.ConditionReady, corev1.ConditionFalse, phase, message)
		d.set(v1beta1.ConditionStalled, corev1.ConditionTrue, phase, message)
		if d.stalled != nil {
			d.set(v1beta1.ConditionStalled, corev1.ConditionTrue, d.stalled.Reason, d.stalled.Message)
		}
		d.st.RemoveCondition(v1beta1.ConditionReconciling)
	default:
		describeRunning(d)
	}
	describeIgnored(d)
	describeCoverage(d)
	describeScaledUp(d)
	describeMeasured(d)
	describeFailures(d, false)
}

// describeRunning says what a release waits for, or what has stalled it.
func describeRunning(d *decider) {
	status, reason, message := corev1.ConditionUnknown, string(d.st.Phase), sentence(d.waiting)
	if d.stalled != nil && release.FailsPromotion(d.st.Phase, d.stalled.Reason) {
		status, reason, message = corev1.ConditionFalse, d.stalled.Reason, d.stalled.Message
	}
	d.set(v1beta1.ConditionPromoted, status, reason, message)
	d.set(v1beta1.ConditionReady, status, reason, message)
	if d.stalled != nil {
		d.set(v1beta1.ConditionStalled, corev1.ConditionTrue, d.stalled.Reason, d.stalled.Message)
		d.st.RemoveCondition(v1beta1.ConditionReconciling)
		return
	}
	d.set(v1beta1.ConditionReconciling, corev1.ConditionTrue, reason, message)
	d.st.RemoveCondition(v1beta1.ConditionStalled)
}

// describeWithoutPrimary says, between releases, that the canary stands in for the primary or
// that a person must bring that back. What was promoted stays so.
func describeWithoutPrimary(d *decider) {
	message := "the canary serves " + plan.Percent(d.st.CanaryWeight) + " of the traffic, as " + d.Canary.PrimaryName() + " can't"
	if d.stalled != nil {
		d.set(v1beta1.ConditionReady, corev1.ConditionFalse, d.stalled.Reason, d.stalled.Message)
		d.set(v1beta1.ConditionStalled, corev1.ConditionTrue, d.stalled.Reason, d.stalled.Message)
		d.st.RemoveCondition(v1beta1.ConditionReconciling)
		return
	}
	d.set(v1beta1.ConditionReady, corev1.ConditionFalse, release.ReasonPrimaryUnavailable, sentence(message))
	d.set(v1beta1.ConditionReconciling, corev1.ConditionTrue, release.ReasonPrimaryUnavailable, sentence(message))
	d.st.RemoveCondition(v1beta1.ConditionStalled)
}

// describeIgnored says which fields have no effect: they are accepted, as existing
// manifests have them, but not in silence.
func describeIgnored(d *decider) {
	if len(d.Ignored) == 0 {
		d.st.RemoveCondition(v1beta1.ConditionFieldsIgnored)
		return
	}
	message := strings.Join(d.Ignored, "; ")
	if was := d.st.GetCondition(v1beta1.ConditionFieldsIgnored); !was.Says(message) {
		d.event(true, release.ReasonFieldsIgnored, message)
	}
	d.set(v1beta1.ConditionFieldsIgnored, corev1.ConditionTrue, release.ReasonFieldsIgnored, message)
}

// describeFailures says which parts of the desired state could not be applied.
// They are tried again and nothing waits for them, but what is invalid stays so.
func describeFailures(d *decider, held bool) {
	if len(d.Failures) == 0 {
		d.st.RemoveCondition(v1beta1.ConditionApplied)
		return
	}
	parts := make([]string, len(d.Failures))
	for i, f := range d.Failures {
		parts[i] = f.Object + ": " + f.Message
	}
	message := listed(parts, failuresLength)
	if was := d.Canary.Status.GetCondition(v1beta1.ConditionApplied); !was.Says(message) {
		d.event(true, release.ReasonApplyFailed, message)
	}
	d.set(v1beta1.ConditionApplied, corev1.ConditionFalse, release.ReasonApplyFailed, message)
	if held || d.st.Phase == v1beta1.PhaseFailed {
		return // what holds it, or why it was rolled back, is the greater news
	}
	d.set(v1beta1.ConditionReady, corev1.ConditionFalse, release.ReasonApplyFailed, message)
	if release.AnyInvalid(d.Failures) {
		d.set(v1beta1.ConditionStalled, corev1.ConditionTrue, release.ReasonApplyFailed, message)
		d.st.RemoveCondition(v1beta1.ConditionReconciling)
		return
	}
	if c := d.st.GetCondition(v1beta1.ConditionStalled); c == nil {
		d.set(v1beta1.ConditionReconciling, corev1.ConditionTrue, release.ReasonApplyFailed, message)
	}
}

func (d *decider) set(kind v1beta1.CanaryConditionType, status corev1.ConditionStatus, reason, message string) {
	d.st.SetCondition(v1beta1.CanaryCondition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: d.Canary.Generation,
	}, d.Now)
}

// keepConditionTimes gives conditions that are as they were the times that they had. In the
// course of a decision one may be set twice, or be removed and set again, and a status in which
// only times differ would be written at every turn.
func keepConditionTimes(d *decider) {
	for i := range d.st.Conditions {
		is := &d.st.Conditions[i]
		was := d.Canary.Status.GetCondition(is.Type)
		if was == nil || was.Status != is.Status {
			continue
		}
		same := *is
		same.LastUpdateTime, same.LastTransitionTime = was.LastUpdateTime, was.LastTransitionTime
		is.LastTransitionTime = was.LastTransitionTime
		if same == *was {
			is.LastUpdateTime = was.LastUpdateTime
		}
	}
}

// sentence begins with a capital letter.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
