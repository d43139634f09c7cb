// Package hands knows of what people ask of a release by actions: which can't be done now, and how each is told.
package hands

import (
	"slices"
	"strings"
	"time"

	"github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/plan"
)

// Done are the actions as a past participle.
var Done = map[v1beta1.ActionType]string{
	v1beta1.ActionPause: "Paused", v1beta1.ActionResume: "Resumed", v1beta1.ActionPromote: "Promoted early",
	v1beta1.ActionAbort: "Aborted", v1beta1.ActionRetry: "Tried again",
	v1beta1.ActionApprove: "Approved", v1beta1.ActionAdvance: "Step ended", v1beta1.ActionRollback: "Rolled back",
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

// To says to what a rollback goes back, as a part of a sentence.
func To(a release.Action) string {
	if a.Type != v1beta1.ActionRollback {
		return ""
	}
	return " to " + v1beta1.OneLine(a.To, maxRevision)
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

// RefuseRollback says why the primary can't be given an earlier revision, nothing where it can. While it changes nobody
// else serves: the canary, if there is one, was found good by nobody. So it must keep pods, as in any change, and nobody
// must be about to change it otherwise.
func RefuseRollback(o *release.Observation, st *v1beta1.CanaryStatus, a release.Action) string {
	primary, target := o.Canary.PrimaryName(), o.Canary.TargetName()
	switch {
	case st.Phase == v1beta1.PhasePromoting || st.Phase == v1beta1.PhaseFinalising:
		return primary + " is getting revision " + st.LastAppliedSpec + "; ask again once that has ended, or set " + target + " back"
	case !release.Analysing(st.Phase) && !release.Idle(st.Phase):
		return "nothing was promoted yet"
	case !o.Primary.Exists:
		return "there is no " + primary
	}
	if why := refuseRevision(o, st, a); why != "" {
		return why
	}
	if o.Primary.Interrupted && o.Primary.Available > 0 {
		return primary + " would be without a pod while it changes, by its update strategy, and nobody else would serve; release the revision by " + target
	}
	return OfBefore(st, a)
}

// refuseRevision says why a revision is none to go back to.
func refuseRevision(o *release.Observation, st *v1beta1.CanaryStatus, a release.Action) string {
	primary, target := o.Canary.PrimaryName(), o.Canary.TargetName()
	switch {
	case st.Rollback != nil && st.Rollback.Revision == a.To:
		return primary + " is going back to it already"
	case a.To == o.Primary.Revision || st.Rollback == nil && a.To == st.LastPromotedSpec:
		return primary + " runs it already"
	case a.To == st.LastAppliedSpec || a.To == o.Target.Revision:
		return target + " is that revision: it is released by its analysis, or by Promote or Retry"
	case a.Unavailable != "":
		return a.Unavailable
	case Configs(a.To) != "" && Configs(a.To) != Configs(o.Primary.Revision):
		return "revision " + v1beta1.OneLine(a.To, maxRevision) + " was released with other contents of its ConfigMaps and Secrets, of which no copy is kept; set these and " + target +
			" back and release that, which Promote does without the analysis"
	}
	return ""
}

// Configs is the part of a revision that stands for the tracked configs, FORMAT-HASH-CONFIGS, empty where there are none. A
// revision of Knative has none: its name has hyphens of its own.
func Configs(revision string) string {
	if parts := strings.SplitN(revision, "-", 3); len(parts) == 3 && knative.Name(revision) == "" {
		return parts[2]
	}
	return ""
}

// Next is the oldest action that was not taken yet.
func Next(o *release.Observation, st *v1beta1.CanaryStatus) (release.Action, bool) {
	last, all := st.LastAction, o.Actions
	if i := slices.IndexFunc(all, func(a release.Action) bool { return last != nil && a.Name == last.Name }); i >= 0 {
		// What is still listed up to the last one taken has only not been marked as done yet.
		all = all[i+1:]
	}
	if len(all) == 0 {
		return release.Action{}, false
	}
	return all[0], true
}

// RefusePromotion is why a release can't be promoted before its analysis has ended, empty where it can.
func RefusePromotion(o *release.Observation, st *v1beta1.CanaryStatus, a release.Action) string {
	switch {
	case !release.Analysing(st.Phase) || o.Target.Revision != st.LastAppliedSpec:
		return "there is no analysis under way"
	case !o.Target.Ready:
		return "the canary is not ready: " + o.Target.Message
	}
	return OfBefore(st, a)
}

// RetryAnnotation on a Canary asks for another try of a revision that failed,
// once for each of its values.
const RetryAnnotation = "sluice.dev/retry"

// RetryAsked tells whether the annotation has a new value that asks for a try, and notes it.
func RetryAsked(o *release.Observation, st *v1beta1.CanaryStatus) bool {
	value := o.Canary.Annotations[RetryAnnotation]
	if value == st.Retry {
		return false
	}
	st.Retry = value
	return value != "" && HasFailed(o, st)
}

// RemoveWithTargetAnnotation on a Canary, with the value "true", says that its deletion removes the primary too, and the route to it,
// where the target is gone by then: the application was taken away as a whole. Without it the primary stays and serves.
const RemoveWithTargetAnnotation = "sluice.dev/remove-with-target"

// RemovedWithTarget is true where nobody is to serve any more when the Canary goes.
func RemovedWithTarget(o *release.Observation) bool {
	return !o.Target.Exists && o.Primary.Exists && o.Canary.Annotations[RemoveWithTargetAnnotation] == "true"
}
