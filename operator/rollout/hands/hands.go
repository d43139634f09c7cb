// Package hands knows of what people ask of a release by actions: which can't be done now, and how each is told.
package hands

import (
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/plan"
)

// Done are the actions as a past participle.
var Done = map[v1beta1.ActionType]string{
	v1beta1.ActionPause: "Paused", v1beta1.ActionResume: "Resumed", v1beta1.ActionPromote: "Promoted early",
	v1beta1.ActionAbort: "Aborted", v1beta1.ActionRetry: "Tried again",
	v1beta1.ActionApprove: "Approved", v1beta1.ActionAdvance: "Step ended",
}

// By says who asks and why, as the end of a sentence.
func By(a release.Action) string {
	out := ""
	if a.By != "" {
		out = " by " + a.By
	}
	if a.Reason != "" {
		out += " (" + a.Reason + ")"
	}
	return out
}

// Paused says that a person must resume a release.
func Paused(st *v1beta1.CanaryStatus) string {
	who := ""
	if a := st.LastAction; a != nil && a.Done && a.Action == v1beta1.ActionPause && a.By != "" {
		who = " by " + a.By
	}
	return "paused" + who + ": nothing moves until it is resumed, " + plan.Percent(st.CanaryWeight) + " of the traffic goes to the canary"
}

// maxRevision is how much is shown of the revision that somebody has named.
const maxRevision = 100

// OfAnother refuses an action that is for another revision. Empty where it is for the present one, or for any.
func OfAnother(st *v1beta1.CanaryStatus, a release.Action) string {
	if a.Revision == "" || a.Revision == st.LastAppliedSpec {
		return ""
	}
	return "it is for revision " + v1beta1.OneLine(a.Revision, maxRevision) + ", and the present one is " + st.LastAppliedSpec
}

// OfBefore refuses an action without a revision that waited, as while a mistake held the Canary, since before the release
// began: whoever asked for it may have meant another revision. Empty where it is of this release.
func OfBefore(st *v1beta1.CanaryStatus, a release.Action) string {
	began := st.StartedAt
	if a.Revision != "" || began == nil || a.Created.IsZero() || !a.Created.Before(began.Truncate(time.Second)) {
		return ""
	}
	return "it was asked for before the release of " + st.LastAppliedSpec + " began; ask again, or name that revision"
}

// RefuseApproval says why a gate can't be opened by hand, nothing where it can.
func RefuseApproval(o *release.Observation, st *v1beta1.CanaryStatus, a release.Action) string {
	gate := st.Gate
	switch {
	case gate == nil || !release.Analysing(st.Phase) || len(o.Canary.GetAnalysis().HooksOf(gate.Type)) == 0:
		return "the release waits at no gate"
	case st.Step != nil && st.Step.Approved == gate.Type:
		return "the gate was approved already"
	}
	return OfBefore(st, a)
}

// RefuseEnd says why a step can't be ended by hand, nothing where it can: the mesh must have its route, and the canary be
// ready, as before any step.
func RefuseEnd(o *release.Observation, st *v1beta1.CanaryStatus, a release.Action) string {
	switch {
	case st.Gate != nil:
		return "the release waits at the " + string(st.Gate.Type) + " gate, which Approve opens"
	case st.Phase != v1beta1.PhaseProgressing || o.Target.Revision != st.LastAppliedSpec:
		return "there is no analysis under way"
	case st.Paused:
		return "it is paused; resume it before"
	case st.Step == nil || st.Step.Index == 0:
		return "the first step has not begun"
	case st.Step.Ended:
		return "this step was ended already"
	case !o.Target.Ready:
		return "the canary is not ready: " + o.Target.Message
	case !o.Route.InSync:
		return "the mesh does not have the route of this step yet"
	}
	return OfBefore(st, a)
}

// RefuseAbort says why there is no analysis to be called off.
func RefuseAbort(c *v1beta1.Canary, st *v1beta1.CanaryStatus) string {
	if st.Phase == v1beta1.PhasePromoting || st.Phase == v1beta1.PhaseFinalising {
		return c.PrimaryName() + " is getting the new revision already; set " + c.TargetName() + " back to release the old one"
	}
	return "there is no release under way"
}

// HasFailed tells whether the target still is what was rolled back, so that it can be tried again.
func HasFailed(o *release.Observation, st *v1beta1.CanaryStatus) bool {
	return st.Phase == v1beta1.PhaseFailed && o.Target.Revision == st.LastAppliedSpec
}
