// Package conditions says in the conditions of a Canary, and in events, where its rollout stands. It
// decides nothing.
package conditions

import (
	"reflect"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/plan"
	"github.com/sluice-delivery/sluice/operator/rollout/text"
)

// failuresLength bounds what is said of failures, in bytes.
const failuresLength = 900

// Write has the conditions of a status say where the rollout stands, and returns the events
// about what is new in them. Waiting is what its phase waits for; stalled is why it can't go on
// without a person, nil where it can.
func Write(o *release.Observation, st *v1beta1.CanaryStatus, waiting string, stalled *release.Mistake) []release.Event {
	w := &writer{Observation: o, st: st, waiting: waiting, stalled: stalled}
	w.all()
	return w.events
}

// writer writes the conditions of one status.
type writer struct {
	*release.Observation

	st      *v1beta1.CanaryStatus
	waiting string
	stalled *release.Mistake
	events  []release.Event
}

func (w *writer) event(warning bool, reason, message string) {
	w.events = append(w.events, release.Event{Warning: warning, Reason: reason, Message: message})
}

func (w *writer) all() {
	phase := string(w.st.Phase)
	switch w.st.Phase { //nolint:exhaustive // every other phase is on its way
	case v1beta1.PhaseInitialized, v1beta1.PhaseSucceeded:
		message := w.Canary.PrimaryName() + " serves all traffic"
		if w.st.CanaryWeight > 0 || w.stalled != nil {
			w.withoutPrimary()
			break
		}
		w.set(v1beta1.ConditionPromoted, corev1.ConditionTrue, phase, message)
		w.set(v1beta1.ConditionReady, corev1.ConditionTrue, phase, message)
		w.st.RemoveCondition(v1beta1.ConditionReconciling)
		w.st.RemoveCondition(v1beta1.ConditionStalled)
	case v1beta1.PhaseFailed:
		message := w.waiting
		if was := w.st.GetCondition(v1beta1.ConditionPromoted); message == "" && was != nil && was.Reason == phase {
			message = was.Message // the reason of the rollback stays readable
		}
		w.set(v1beta1.ConditionPromoted, corev1.ConditionFalse, phase, message)
		w.set(v1beta1.ConditionReady, corev1.ConditionFalse, phase, message)
		w.set(v1beta1.ConditionStalled, corev1.ConditionTrue, phase, message)
		if w.stalled != nil {
			w.set(v1beta1.ConditionStalled, corev1.ConditionTrue, w.stalled.Reason, w.stalled.Message)
		}
		w.st.RemoveCondition(v1beta1.ConditionReconciling)
	default:
		w.running()
	}
	w.ignored()
	w.admission()
	w.coverage()
	w.scaledUp()
	w.contested()
	w.measured()
	w.failures(false)
}

// running says what a release waits for, or what has stalled it.
func (w *writer) running() {
	status, reason, message := corev1.ConditionUnknown, string(w.st.Phase), text.Sentence(w.waiting)
	if w.stalled != nil && release.FailsPromotion(w.st.Phase, w.stalled.Reason) {
		status, reason, message = corev1.ConditionFalse, w.stalled.Reason, w.stalled.Message
	}
	w.set(v1beta1.ConditionPromoted, status, reason, message)
	w.set(v1beta1.ConditionReady, status, reason, message)
	if w.stalled != nil {
		w.set(v1beta1.ConditionStalled, corev1.ConditionTrue, w.stalled.Reason, w.stalled.Message)
		w.st.RemoveCondition(v1beta1.ConditionReconciling)
		return
	}
	w.set(v1beta1.ConditionReconciling, corev1.ConditionTrue, reason, message)
	w.st.RemoveCondition(v1beta1.ConditionStalled)
}

// withoutPrimary says, between releases, that the canary stands in for the primary or
// that a person must bring that back. What was promoted stays so.
func (w *writer) withoutPrimary() {
	message := "the canary serves " + plan.Percent(w.st.CanaryWeight) + " of the traffic, as " + w.Canary.PrimaryName() + " can't"
	if w.stalled != nil {
		w.set(v1beta1.ConditionReady, corev1.ConditionFalse, w.stalled.Reason, w.stalled.Message)
		w.set(v1beta1.ConditionStalled, corev1.ConditionTrue, w.stalled.Reason, w.stalled.Message)
		w.st.RemoveCondition(v1beta1.ConditionReconciling)
		return
	}
	w.set(v1beta1.ConditionReady, corev1.ConditionFalse, release.ReasonPrimaryUnavailable, text.Sentence(message))
	w.set(v1beta1.ConditionReconciling, corev1.ConditionTrue, release.ReasonPrimaryUnavailable, text.Sentence(message))
	w.st.RemoveCondition(v1beta1.ConditionStalled)
}

// ignored says which fields have no effect: they are accepted, as existing
// manifests have them, but not in silence.
func (w *writer) ignored() {
	if len(w.Ignored) == 0 {
		w.st.RemoveCondition(v1beta1.ConditionFieldsIgnored)
		return
	}
	message := strings.Join(w.Ignored, "; ")
	if was := w.st.GetCondition(v1beta1.ConditionFieldsIgnored); !was.Says(message) {
		w.event(true, release.ReasonFieldsIgnored, message)
	}
	w.set(v1beta1.ConditionFieldsIgnored, corev1.ConditionTrue, release.ReasonFieldsIgnored, message)
}

// WasCut tells whether the message of a condition does not tell all.
func WasCut(message string) bool {
	return text.WasCut(message, failuresLength) || text.WasCut(message, v1beta1.MaxConditionMessage) || text.LeavesOut(message)
}

// failures says which parts of the desired state could not be applied.
// They are tried again and nothing waits for them, but what is invalid stays so.
func (w *writer) failures(held bool) {
	if len(w.Failures) == 0 {
		w.st.RemoveCondition(v1beta1.ConditionApplied)
		return
	}
	parts := make([]string, len(w.Failures))
	for i, f := range w.Failures {
		parts[i] = f.Object + ": " + f.Message
	}
	message := text.List(parts, failuresLength)
	if was := w.Canary.Status.GetCondition(v1beta1.ConditionApplied); !was.Says(message) {
		w.event(true, release.ReasonApplyFailed, message)
	}
	w.set(v1beta1.ConditionApplied, corev1.ConditionFalse, release.ReasonApplyFailed, message)
	if held || w.st.Phase == v1beta1.PhaseFailed {
		return // what holds it, or why it was rolled back, is the greater news
	}
	w.set(v1beta1.ConditionReady, corev1.ConditionFalse, release.ReasonApplyFailed, message)
	if release.AnyInvalid(w.Failures) {
		w.set(v1beta1.ConditionStalled, corev1.ConditionTrue, release.ReasonApplyFailed, message)
		w.st.RemoveCondition(v1beta1.ConditionReconciling)
		return
	}
	if c := w.st.GetCondition(v1beta1.ConditionStalled); c == nil {
		w.set(v1beta1.ConditionReconciling, corev1.ConditionTrue, release.ReasonApplyFailed, message)
	}
}

func (w *writer) set(kind v1beta1.CanaryConditionType, status corev1.ConditionStatus, reason, message string) {
	w.st.SetCondition(v1beta1.CanaryCondition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: w.Canary.Generation,
	}, w.Now)
}

// KeepWords gives conditions the messages back that they had, where nothing else of a status has changed and one of these is
// younger than that. It returns since when that one is as it is, and zero where it gives nothing back. A time that is yet to come is of another's
// clock.
func KeepWords(before, after *v1beta1.CanaryStatus, now time.Time, young time.Duration) (since time.Time) {
	if len(before.Conditions) != len(after.Conditions) {
		return time.Time{}
	}
	for i := range after.Conditions {
		is := after.Conditions[i]
		was := before.GetCondition(is.Type)
		if was == nil || was.Status != is.Status || was.Reason != is.Reason || was.ObservedGeneration != is.ObservedGeneration {
			return time.Time{}
		}
		if was.Message != is.Message && was.LastUpdateTime.After(since) {
			since = was.LastUpdateTime.Time
		}
	}
	if age := now.Sub(since); since.IsZero() || age >= young || -age >= young {
		return time.Time{}
	}
	same := *after
	if same.Conditions = before.Conditions; !reflect.DeepEqual(&same, before) {
		return time.Time{}
	}
	for i := range after.Conditions {
		after.Conditions[i] = *before.GetCondition(after.Conditions[i].Type)
	}
	return since
}

// KeepTimes gives conditions that are as they were the times that they had. In the
// course of a decision one may be set twice, or be removed and set again, and a status in which
// only times differ would be written at every turn.
func KeepTimes(before, after *v1beta1.CanaryStatus) {
	for i := range after.Conditions {
		is := &after.Conditions[i]
		was := before.GetCondition(is.Type)
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
