package conditions

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// Hold is why a rollout does not get on. It holds the plan and never who serves.
type Hold struct {
	// Reason and Message say it in the conditions.
	Reason, Message string
	// Mistake is true where a person must mend something; the deadline runs for it.
	Mistake bool
	// Warning has it told as one.
	Warning bool
	// Passing is true where it ends by itself.
	Passing bool
}

// HoldOf is why a rollout does not get on, nil where nothing holds it.
func HoldOf(o *release.Observation) *Hold {
	switch {
	case o.Mistake != nil:
		return &Hold{Reason: o.Mistake.Reason, Message: o.Mistake.Message, Mistake: true, Warning: true}
	case o.Outage != "":
		return &Hold{Reason: release.ReasonMeshUnreachable, Message: o.Outage, Warning: true, Passing: true}
	case o.Canary.Spec.Suspend:
		return &Hold{Reason: release.ReasonSuspended, Message: "spec.suspend is true: nothing moves until it is false, but traffic away from pods that are gone"}
	default:
		return nil
	}
}

// WriteHeld is Write for a rollout that is held. Where the release has been rolled back all the
// same, why is the reason of that.
func WriteHeld(o *release.Observation, st *v1beta1.CanaryStatus, why string, h Hold) []release.Event {
	w := &writer{Observation: o, st: st, waiting: why}
	w.held(h)
	return w.events
}

// WasHeld is true for a status that tells of a hold. It is for whoever begins something and must be sure that nothing had come up meanwhile, so that
// it is true as well where anything else but the phase is why the Canary is not ready, as a write that failed.
func WasHeld(st *v1beta1.CanaryStatus) bool {
	c := st.GetCondition(v1beta1.ConditionReady)
	return c != nil && c.Status == corev1.ConditionFalse && c.Reason != string(st.Phase)
}

func (w *writer) held(h Hold) {
	if was := w.st.GetCondition(v1beta1.ConditionReady); !was.Says(h.Message) || was.Reason != h.Reason {
		w.event(h.Warning, h.Reason, h.Message)
	}
	if w.st.GetCondition(v1beta1.ConditionPromoted) == nil {
		w.set(v1beta1.ConditionPromoted, corev1.ConditionUnknown, h.Reason, h.Message)
	}
	if w.st.Phase == v1beta1.PhaseFailed && w.Canary.Status.Phase != v1beta1.PhaseFailed {
		w.set(v1beta1.ConditionPromoted, corev1.ConditionFalse, string(w.st.Phase), w.waiting)
	}
	w.set(v1beta1.ConditionReady, corev1.ConditionFalse, h.Reason, h.Message)
	if h.Mistake {
		w.set(v1beta1.ConditionStalled, corev1.ConditionTrue, h.Reason, h.Message)
	} else {
		w.st.RemoveCondition(v1beta1.ConditionStalled)
	}
	if h.Passing {
		w.set(v1beta1.ConditionReconciling, corev1.ConditionTrue, h.Reason, h.Message)
	} else {
		w.st.RemoveCondition(v1beta1.ConditionReconciling)
	}
	w.failures(true)
}
