package rollout

import (
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Reasons of events and conditions.
const (
	ReasonInitializing       = "Initializing"
	ReasonInitialized        = "Initialized"
	ReasonPrimaryMissing     = "PrimaryMissing"
	ReasonPrimaryUnavailable = "PrimaryUnavailable"
	ReasonCanaryUnavailable  = "CanaryUnavailable"
	ReasonNewRevision        = "NewRevision"
	ReasonReverted           = "Reverted"
	ReasonPrimaryRecovered   = "PrimaryRecovered"
	ReasonStepStarted        = "StepStarted"
	ReasonWeightRaised       = "WeightRaised"
	ReasonWeightLowered      = "WeightLowered"
	ReasonCheckFailed        = "CheckFailed"
	ReasonChecksUnavailable  = "ChecksUnavailable"
	ReasonAnalysisFailed     = "AnalysisFailed"
	ReasonDeadlineExceeded   = "ProgressDeadlineExceeded"
	ReasonPromoting          = "Promoting"
	ReasonPromotionHalted    = "PromotionHalted"
	ReasonPromoted           = "Promoted"
	ReasonApplyFailed        = "ApplyFailed"
	ReasonMeshUnreachable    = "MeshUnreachable"
	ReasonFieldsIgnored      = "FieldsIgnored"
	ReasonTerminating        = "Terminating"
	ReasonSuspended          = "Suspended"
	ReasonPaused             = "Paused"
	ReasonResumed            = "Resumed"
	ReasonAborted            = "Aborted"
	ReasonRetried            = "Retried"
	ReasonActionRefused      = "ActionRefused"
	ReasonNotCovered         = "NotCovered"
	ReasonCovered            = "Covered"
	ReasonTargetScaledUp       = "TargetScaledUp"
	ReasonGateClosed         = "GateClosed"
	ReasonGateOpened         = "GateOpened"
	ReasonGateDeadline       = "GateDeadlineExceeded"
	ReasonHookFailed         = "HookFailed"
	ReasonRollbackAsked      = "RollbackAsked"
)

// describe writes the conditions for where the rollout stands.
func (d *decider) describe() {
	phase := string(d.st.Phase)
	switch d.st.Phase { //nolint:exhaustive // every other phase is on its way
	case v1beta1.PhaseInitialized, v1beta1.PhaseSucceeded:
		message := d.Canary.PrimaryName() + " serves all traffic"
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
		d.st.RemoveCondition(v1beta1.ConditionReconciling)
	default:
		message := sentence(d.waiting)
		d.set(v1beta1.ConditionPromoted, corev1.ConditionUnknown, phase, message)
		d.set(v1beta1.ConditionReady, corev1.ConditionUnknown, phase, message)
		if d.stalled != nil {
			d.set(v1beta1.ConditionStalled, corev1.ConditionTrue, d.stalled.Reason, d.stalled.Message)
			d.st.RemoveCondition(v1beta1.ConditionReconciling)
			break
		}
		d.set(v1beta1.ConditionReconciling, corev1.ConditionTrue, phase, message)
		d.st.RemoveCondition(v1beta1.ConditionStalled)
	}
	d.describeIgnored()
	d.describeCoverage()
	d.describeScaledUp()
	d.describeFailures()
}

// describeIgnored says which fields have no effect: they are accepted, as existing
// manifests have them, but not in silence.
func (d *decider) describeIgnored() {
	if len(d.Ignored) == 0 {
		d.st.RemoveCondition(v1beta1.ConditionFieldsIgnored)
		return
	}
	message := strings.Join(d.Ignored, "; ")
	if was := d.st.GetCondition(v1beta1.ConditionFieldsIgnored); was == nil || was.Message != message {
		d.event(true, ReasonFieldsIgnored, message)
	}
	d.set(v1beta1.ConditionFieldsIgnored, corev1.ConditionTrue, ReasonFieldsIgnored, message)
}

// describeFailures says which parts of the desired state could not be applied.
// They are tried again, so the rollout is not stalled, and nothing else waits for them.
func (d *decider) describeFailures() {
	if len(d.Failures) == 0 {
		d.st.RemoveCondition(v1beta1.ConditionApplied)
		return
	}
	parts := make([]string, len(d.Failures))
	for i, f := range d.Failures {
		parts[i] = f.Object + ": " + f.Message
	}
	message := listed(parts, failuresLength)
	if was := d.Canary.Status.GetCondition(v1beta1.ConditionApplied); was == nil || was.Message != message {
		d.event(true, ReasonApplyFailed, message)
	}
	d.set(v1beta1.ConditionApplied, corev1.ConditionFalse, ReasonApplyFailed, message)
	if d.st.Phase == v1beta1.PhaseFailed {
		return // why it was rolled back is the greater news
	}
	d.set(v1beta1.ConditionReady, corev1.ConditionFalse, ReasonApplyFailed, message)
	if c := d.st.GetCondition(v1beta1.ConditionStalled); c == nil {
		d.set(v1beta1.ConditionReconciling, corev1.ConditionTrue, ReasonApplyFailed, message)
	}
}

// hold leaves everything as it is and says why.
func (d *decider) hold(reason, message string, mistake bool) {
	d.out.Desired = Desired{Hold: true}
	was := d.st.GetCondition(v1beta1.ConditionReady)
	if was == nil || was.Reason != reason || was.Message != message {
		d.event(mistake, reason, message)
	}
	if d.st.Phase == "" {
		d.st.Phase = v1beta1.PhaseInitializing
		d.st.LastTransitionTime = metav1.NewTime(d.Now)
	}
	if d.st.GetCondition(v1beta1.ConditionPromoted) == nil {
		d.set(v1beta1.ConditionPromoted, corev1.ConditionUnknown, reason, message)
	}
	d.set(v1beta1.ConditionReady, corev1.ConditionFalse, reason, message)
	d.st.RemoveCondition(v1beta1.ConditionReconciling)
	if mistake {
		d.set(v1beta1.ConditionStalled, corev1.ConditionTrue, reason, message)
	} else {
		d.st.RemoveCondition(v1beta1.ConditionStalled)
	}
}

func (d *decider) set(kind v1beta1.CanaryConditionType, status corev1.ConditionStatus, reason, message string) {
	d.st.SetCondition(v1beta1.CanaryCondition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: d.Canary.Generation,
	}, d.Now)
}

// sentence begins with a capital letter.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// adoptRevision takes over a status whose revisions were computed in another
// way than ours, as an older Sluice or Flagger did, so that an upgrade of the
// operator starts no rollout.
//
// A target of the same generation as the status is about is the same target,
// whatever the hash says, unless the configs that it uses have changed, which
// no generation counts. Else a revision of another format is compared by
// what target and primary are.
func (d *decider) adoptRevision() {
	was, is := d.st.LastAppliedSpec, d.Target.Revision
	switch {
	case was == "" || was == is:
	case d.sameTarget() && configs(was) == configs(is):
		d.st.LastAppliedSpec = is
		if d.st.LastPromotedSpec == was {
			d.st.LastPromotedSpec = is
		}
	case format(was) == format(is):
	case d.primaryCarries(is):
		d.st.LastAppliedSpec = is
		d.st.LastPromotedSpec = is
	case d.running() || d.st.Phase == v1beta1.PhaseFailed:
		// What was under way, or has failed, is what the target is now.
		d.st.LastAppliedSpec = is
	}
}

// sameTarget tells whether the target is the object, of the generation, that
// LastAppliedSpec was computed from, or that one after the removal of its pods,
// which was our own change.
func (d *decider) sameTarget() bool {
	known, is := d.st.AppliedTarget, d.Target
	if known == nil || known.UID == "" || known.UID != is.UID {
		return false
	}
	drained := d.st.DrainedGeneration > 0 && known.Generation == d.st.DrainedGeneration && is.Generation == known.Generation+1 && is.Replicas == 0
	return known.Generation == is.Generation || drained
}

// rememberTarget notes which object LastAppliedSpec was computed from. A new
// generation of the same target is only noted along with something else: scaling
// and annotations give it one after the other, and each would be a write.
func (d *decider) rememberTarget() {
	of, known := d.Target, d.st.AppliedTarget
	if !of.Exists || of.UID == "" || d.st.LastAppliedSpec != of.Revision || d.sameTarget() {
		return
	}
	if known != nil && known.UID == of.UID && reflect.DeepEqual(*d.st, d.Canary.Status) {
		return
	}
	d.st.AppliedTarget = &v1beta1.AppliedTarget{UID: of.UID, Generation: of.Generation}
}

// configs is the part of a revision that stands for the tracked configs, FORMAT-HASH-CONFIGS,
// empty where there are none.
func configs(revision string) string {
	if parts := strings.SplitN(revision, "-", 3); len(parts) == 3 {
		return parts[2]
	}
	return ""
}

// format is the version prefix of a revision.
func format(revision string) string {
	prefix, _, found := strings.Cut(revision, "-")
	if !found {
		return ""
	}
	return prefix
}
