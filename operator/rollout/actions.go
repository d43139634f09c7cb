package rollout

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Action is what a person asks of a release.
type Action struct {
	// Name identifies the request, which is acted on once.
	Name string
	// Type is what is asked for.
	Type v1beta1.ActionType
	// By is who asks, and Reason why, for people to read.
	By, Reason string
	// Revision, where it is set, is the only revision that is meant.
	Revision string
}

// act takes the oldest action that was not taken yet. It returns whether there
// was one.
func (d *decider) act() bool {
	last := d.st.LastAction
	if i := slices.IndexFunc(d.Actions, func(a Action) bool { return last != nil && a.Name == last.Name }); i >= 0 {
		// What is still listed up to the last one taken has only not been marked as done yet.
		d.Actions = d.Actions[i+1:]
	}
	if len(d.Actions) == 0 {
		return false
	}
	a := d.Actions[0]
	refused := d.take(a)
	st := &v1beta1.ActionStatus{Name: a.Name, Action: a.Type, By: a.By, Done: refused == "", Message: refused,
		Revision: d.st.LastAppliedSpec, Time: metav1.NewMicroTime(d.Now)}
	if refused != "" {
		d.event(true, ReasonActionRefused, string(a.Type)+by(a)+" is refused: "+refused)
	} else {
		st.Message = done[a.Type] + by(a)
	}
	d.st.LastAction = st
	if d.waiting == "" {
		d.advance()
	}
	return true
}

// done are the actions as a past participle.
var done = map[v1beta1.ActionType]string{
	v1beta1.ActionPause: "Paused", v1beta1.ActionResume: "Resumed", v1beta1.ActionPromote: "Promoted early",
	v1beta1.ActionAbort: "Aborted", v1beta1.ActionRetry: "Tried again",
}

func by(a Action) string {
	out := ""
	if a.By != "" {
		out = " by " + a.By
	}
	if a.Reason != "" {
		out += " (" + a.Reason + ")"
	}
	return out
}

// take does what an action asks for, or says why it can't.
func (d *decider) take(a Action) (refused string) {
	if a.Revision != "" && a.Revision != d.st.LastAppliedSpec {
		return "it is for revision " + a.Revision + ", and the present one is " + d.st.LastAppliedSpec
	}
	analysing := analyses(d.st.Phase)
	switch a.Type {
	case v1beta1.ActionPause:
		if d.st.Paused {
			return "it is paused already"
		}
		d.st.Paused = true
		d.event(false, ReasonPaused, "Paused"+by(a)+"; the weight stays at "+percent(d.st.CanaryWeight))
	case v1beta1.ActionResume:
		if !d.st.Paused {
			return "it is not paused"
		}
		d.st.Paused = false
		d.event(false, ReasonResumed, "Resumed"+by(a))
	case v1beta1.ActionPromote:
		return d.promoteNow(a, analysing)
	case v1beta1.ActionAbort:
		if !analysing {
			return d.notAborted()
		}
		d.rollBack(ReasonAborted, "aborted"+by(a))
	case v1beta1.ActionRetry:
		if d.st.Phase != v1beta1.PhaseFailed || d.Target.Revision != d.st.LastAppliedSpec {
			return "the last release has not failed"
		}
		d.begin(ReasonRetried, "Tried again"+by(a)+": "+d.target())
	default:
		return "there is no such action"
	}
	return ""
}

func (d *decider) promoteNow(a Action, analysing bool) (refused string) {
	switch {
	case !analysing || d.Target.Revision != d.st.LastAppliedSpec:
		return "there is no analysis under way"
	case !d.Target.Ready:
		return "the canary is not ready: " + d.Target.Message
	}
	d.needStep()
	d.st.Paused = false
	d.beginPromotion("Promoted early" + by(a))
	return ""
}

func (d *decider) notAborted() string {
	if d.st.Phase == v1beta1.PhasePromoting || d.st.Phase == v1beta1.PhaseFinalising {
		return d.Canary.PrimaryName() + " is getting the new revision already; set " + d.target() + " back to release the old one"
	}
	return "there is no release under way"
}

// RetryAnnotation on a Canary asks for another try of a revision that failed,
// once for each of its values.
const RetryAnnotation = "sluice.dev/retry"

// retry begins another analysis of a revision that failed when the annotation
// has a new value.
func (d *decider) retry() bool {
	value := d.Canary.Annotations[RetryAnnotation]
	if value == d.st.Retry {
		return false
	}
	d.st.Retry = value
	if value == "" || d.st.Phase != v1beta1.PhaseFailed || d.Target.Revision != d.st.LastAppliedSpec {
		return false
	}
	d.begin(ReasonRetried, "Tried again, as annotation "+RetryAnnotation+" asks: "+d.target())
	return true
}

// paused says that a person must resume.
func (d *decider) paused() string {
	who := ""
	if a := d.st.LastAction; a != nil && a.Done && a.Action == v1beta1.ActionPause && a.By != "" {
		who = " by " + a.By
	}
	return "paused" + who + ": nothing moves until it is resumed, " + percent(d.st.CanaryWeight) + " of the traffic goes to the canary" + d.failedSoFar()
}
