package rollout

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// hold is why a rollout does not get on. It holds the plan and never who serves.
type hold struct {
	reason, message string
	// mistake is true where a person must mend something; the deadline runs for it.
	mistake bool
	// warning has it told as one.
	warning bool
	// passing is true where it ends by itself.
	passing bool
}

func holdOf(o *release.Observation) *hold {
	switch {
	case o.Mistake != nil:
		return &hold{reason: o.Mistake.Reason, message: o.Mistake.Message, mistake: true, warning: true}
	case o.Outage != "":
		return &hold{reason: release.ReasonMeshUnreachable, message: o.Outage, warning: true, passing: true}
	case o.Canary.Spec.Suspend:
		return &hold{reason: release.ReasonSuspended, message: "spec.suspend is true: nothing moves until it is false, but traffic away from pods that are gone"}
	default:
		return nil
	}
}

// untouchable is true where nothing may be touched: the objects are somebody
// else's, or none was made yet.
func untouchable(d *decider) bool {
	return d.st.LastPromotedSpec == "" && (!d.Primary.Exists && d.Route.Has == nil || d.Mistake != nil && d.Mistake.Foreign)
}

// keepSafe is what goes on while a rollout is held: a release is rolled back for
// whatever it would be rolled back for otherwise, but for what can't be checked.
func keepSafe(d *decider, h *hold) {
	d.waiting = h.message
	if !h.mistake {
		d.well() // no deadline runs while a person holds it, or while nobody could do anything
	}
	if d.st.Phase == v1beta1.PhasePromoting {
		needStep(d)
		canaryLostInPromotion(d)
	}
	if !release.Analysing(d.st.Phase) {
		return
	}
	needStep(d)
	if d.Target.Exists && d.Primary.Exists && d.Target.Revision != d.st.LastAppliedSpec && d.primaryCarries(d.Target.Revision) {
		revert(d)
		return
	}
	if abortAsked(d) || canaryLost(d) || rollbackAsked(d) || !h.mistake {
		return
	}
	d.unwell(h.message)
	d.health.record = true
	if d.overdue() {
		rollBack(d, release.ReasonDeadlineExceeded, "nothing was analysed for "+d.Canary.GetProgressDeadline().String()+": "+h.message)
	}
}

// holdDesired leaves workloads as they are while a rollout is held.
func holdDesired(d *decider) {
	d.out.Desired.PrimaryRevision = ""
	d.out.Desired.TargetReplicas = nil
	d.out.Desired.PrimaryReplicas = nil
	if d.Outage != "" {
		d.out.Desired.Routed = false // nobody is there to be asked
	}
}

// describeHold says why the rollout does not get on.
func describeHold(d *decider, h *hold) {
	was := d.st.GetCondition(v1beta1.ConditionReady)
	if !was.Says(h.message) || was.Reason != h.reason {
		d.event(h.warning, h.reason, h.message)
	}
	if d.st.Phase == "" {
		d.st.Phase = v1beta1.PhaseInitializing
		d.st.LastTransitionTime = metav1.NewTime(d.Now)
	}
	if d.st.GetCondition(v1beta1.ConditionPromoted) == nil {
		d.set(v1beta1.ConditionPromoted, corev1.ConditionUnknown, h.reason, h.message)
	}
	if d.st.Phase == v1beta1.PhaseFailed && d.Canary.Status.Phase != v1beta1.PhaseFailed {
		d.set(v1beta1.ConditionPromoted, corev1.ConditionFalse, string(d.st.Phase), d.waiting)
	}
	d.set(v1beta1.ConditionReady, corev1.ConditionFalse, h.reason, h.message)
	if h.mistake {
		d.set(v1beta1.ConditionStalled, corev1.ConditionTrue, h.reason, h.message)
	} else {
		d.st.RemoveCondition(v1beta1.ConditionStalled)
	}
	if h.passing {
		d.set(v1beta1.ConditionReconciling, corev1.ConditionTrue, h.reason, h.message)
		d.lookAgain(d.Now.Add(patience)) // what watches the mesh may have gone as well
	} else {
		d.st.RemoveCondition(v1beta1.ConditionReconciling)
	}
	describeFailures(d, true)
}
