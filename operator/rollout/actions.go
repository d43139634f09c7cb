package rollout

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/hands"
	"github.com/sluice-delivery/sluice/operator/rollout/plan"
	"github.com/sluice-delivery/sluice/operator/rollout/text"
	"github.com/sluice-delivery/sluice/operator/rollout/turns"
)

// act takes the oldest action that was not taken yet. It returns whether that
// has moved the release, so that nothing else does in this decision.
func act(d *decider) bool {
	a, ok := hands.Next(&d.Observation, d.st)
	if !ok {
		return false
	}
	refused, moved := take(d, a)
	st := &v1beta1.ActionStatus{Name: a.Name, Action: a.Type, By: a.By, Done: refused == "", Message: refused,
		Revision: d.st.LastAppliedSpec, Time: metav1.NewMicroTime(d.Now)}
	if refused != "" {
		d.event(true, release.ReasonActionRefused, string(a.Type)+hands.By(a)+" is refused: "+refused)
	} else {
		st.Message = hands.Done[a.Type] + hands.To(a) + hands.By(a)
	}
	d.st.LastAction = st
	return moved
}

// abortAsked carries out an abort while the rollout is held. All other actions wait.
func abortAsked(d *decider) bool {
	a, ok := hands.Next(&d.Observation, d.st)
	return ok && a.Type == v1beta1.ActionAbort && act(d)
}

// take does what an action asks for, or says why it can't. moved tells whether the
// release is at another point by that.
func take(d *decider, a release.Action) (refused string, moved bool) {
	if of := hands.OfAnother(d.st, a); of != "" {
		return of, false
	}
	analysing := release.Analysing(d.st.Phase)
	switch a.Type {
	case v1beta1.ActionPause:
		if d.st.Paused {
			return "it is paused already", false
		}
		d.st.Paused = true
		d.event(false, release.ReasonPaused, "Paused"+hands.By(a)+"; the weight stays at "+plan.Percent(d.st.CanaryWeight))
	case v1beta1.ActionResume:
		return resume(d, a, analysing), false
	case v1beta1.ActionPromote:
		refused = promoteNow(d, a)
		return refused, refused == ""
	case v1beta1.ActionAbort:
		if !analysing {
			return hands.RefuseAbort(d.Canary, d.st), false
		}
		rollBack(d, release.ReasonAborted, "aborted"+hands.By(a))
		return "", true
	case v1beta1.ActionRetry:
		if !hands.HasFailed(&d.Observation, d.st) {
			return "the last release has not failed", false
		}
		begin(d, release.ReasonRetried, "Tried again"+hands.By(a)+": "+d.Canary.TargetName())
		return "", true
	case v1beta1.ActionRollback:
		refused = goBack(d, a)
		return refused, refused == ""
	case v1beta1.ActionApprove:
		return approve(d, a), false
	case v1beta1.ActionAdvance:
		return endStep(d, a), false
	case v1beta1.ActionCheck: // it is answered beside the release
		return "it is nothing that a release could do", false
	default:
		return "there is no such action", false
	}
	return "", false
}

func resume(d *decider, a release.Action, analysing bool) (refused string) {
	if !d.st.Paused {
		return "it is not paused"
	}
	d.st.Paused = false
	d.st.Unwell = nil
	if analysing && d.st.Step != nil {
		beginWindow(d) // what was measured while it was paused is old
	}
	d.event(false, release.ReasonResumed, "Resumed"+hands.By(a))
	return ""
}

// approve opens the gate that the release waits at, or lets it begin where it waits for its turn. That is noted in the step, so that it stays open where the release
// can't pass it yet.
func approve(d *decider, a release.Action) (refused string) {
	if turns.Waits(d.st) && hands.OfBefore(d.st, a) == "" {
		turns.Approve(d.st, a, d.Now)
		d.event(false, release.ReasonApproved, "The release begins whatever the release policies say, as approved"+hands.By(a))
		return ""
	}
	if refused := hands.RefuseApproval(&d.Observation, d.st, a); refused != "" {
		return refused
	}
	needStep(d)
	d.st.Step.Approved = d.st.Gate.Type
	d.event(false, release.ReasonGateOpened, "The "+string(d.st.Gate.Type)+" gate was approved"+hands.By(a))
	return ""
}

// endStep ends the present step as if its checks had passed. That is noted, as a gate may have to be asked before the
// next one.
func endStep(d *decider, a release.Action) (refused string) {
	if refused := hands.RefuseEnd(&d.Observation, d.st, a); refused != "" {
		return refused
	}
	d.st.Step.Ended = true
	d.event(false, release.ReasonStepEnded, text.Sentence(d.plan().Describe(d.st.Step.Index))+": ended"+hands.By(a))
	return ""
}

func promoteNow(d *decider, a release.Action) (refused string) {
	if refused := hands.RefusePromotion(&d.Observation, d.st, a); refused != "" {
		return refused
	}
	needStep(d)
	d.st.Paused = false
	beginPromotion(d, "Promoted early"+hands.By(a))
	if d.st.Phase != v1beta1.PhasePromoting {
		return d.waiting
	}
	return ""
}

// retry begins another analysis of a revision that failed when the annotation
// has a new value.
func retry(d *decider) bool {
	if !hands.RetryAsked(&d.Observation, d.st) {
		return false
	}
	begin(d, release.ReasonRetried, "Tried again, as annotation "+hands.RetryAnnotation+" asks: "+d.Canary.TargetName())
	return true
}
