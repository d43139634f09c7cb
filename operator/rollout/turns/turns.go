// Package turns has a new release wait until the release policies that select its Canary let it begin. What has
// begun goes on, and a rollback never waits.
package turns

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/text"
)

// Needed tells whether a release has to wait for its turn: policies select its Canary. Without a primary it does not, as
// it is what people are to be served by.
func Needed(o *release.Observation) bool { return o.Turn != nil && o.Primary.Exists }

// Begin is how a release stands that begins: it waits where it needs a turn, unless a gate is to be opened before. One
// that waited already, for another revision, keeps its place among those that wait.
func Begin(o *release.Observation, st *v1beta1.CanaryStatus, gated bool) *v1beta1.AdmissionStatus {
	if gated || !Needed(o) {
		return nil
	}
	if was := st.Admission; was != nil && was.Admitted == nil {
		return was
	}
	return &v1beta1.AdmissionStatus{Since: metav1.NewMicroTime(o.Now)}
}

// Causes are the configs whose change alone begins a release. What begins anew while it is under way was begun by those of before,
// too, and by none where it was not.
func Causes(o *release.Observation, st *v1beta1.CanaryStatus) []string {
	changed := o.ChangedConfigs
	if len(changed) == 0 || !release.Running(st.Phase) {
		return slices.Clone(changed)
	}
	if len(st.ChangedConfigs) == 0 {
		return nil
	}
	all := slices.Concat(st.ChangedConfigs, changed)
	slices.Sort(all)
	return slices.Compact(all)
}

// Answer is whether a release may begin.
type Answer struct {
	// Open is true where it may.
	Open bool
	// Waiting says what it waits for.
	Waiting string
	// Events tell what is new.
	Events []release.Event
	// Look is when to look again, zero where somebody wakes it.
	Look time.Time
}

// Take has a release that waits begin if it is its turn, which it notes in the status.
func Take(o *release.Observation, st *v1beta1.CanaryStatus) Answer {
	t := o.Turn
	switch a := st.Admission; {
	case !Needed(o):
		Withdraw(st)
		return Answer{Open: true}
	case a == nil:
		st.Admission = &v1beta1.AdmissionStatus{Since: metav1.NewMicroTime(o.Now)}
		return Answer{Waiting: "waiting for its turn", Look: o.Now}
	case a.Admitted != nil:
		return Answer{Open: true}
	case t.May:
		st.Admission = &v1beta1.AdmissionStatus{Since: a.Since, Admitted: new(metav1.NewMicroTime(o.Now))}
		out := Answer{Open: true}
		if a.Reason != "" {
			out.Events = []release.Event{{Reason: release.ReasonAdmitted, Message: "The release policies let the release of " + o.Canary.TargetName() + " begin"}}
		}
		return out
	case t.Reason == "":
		return Answer{Waiting: "waiting for its turn", Look: o.Now.Add(unheard(o.Now.Sub(a.Since.Time)))}
	default:
		return wait(o, st)
	}
}

// unheard is how long to wait for an answer that was not there: it was observed before the release began to wait, or
// something that is over held it.
func unheard(waited time.Duration) time.Duration {
	if waited < time.Second {
		return 0
	}
	return time.Second
}

// wait notes why a release may not begin. That is told once for each reason.
func wait(o *release.Observation, st *v1beta1.CanaryStatus) Answer {
	t := o.Turn
	out := Answer{Waiting: "waiting for its turn, as " + t.Message, Look: t.Until}
	a := &v1beta1.AdmissionStatus{Since: st.Admission.Since, Reason: t.Reason, Policy: t.Policy}
	if !t.Until.IsZero() {
		a.Until = new(metav1.NewTime(t.Until))
	}
	was := st.Admission
	a.Place, a.Waiting = was.Place, was.Waiting
	if place := int32(t.Place); place == 0 || was.Place == 0 || place > was.Place || place <= was.Place/release.PlaceStep { //nolint:gosec // there are not as many Canaries
		a.Place, a.Waiting = place, int32(t.Waiting) //nolint:gosec // neither
	}
	if a.Place > 0 {
		out.Waiting += release.InQueue(a.Place, a.Waiting)
	}
	if was.Reason != a.Reason || was.Policy != a.Policy {
		message := "The release of " + o.Canary.TargetName() + " waits for its turn: " + t.Message
		if t.Detail != "" {
			message += "; " + t.Detail
		}
		out.Events = []release.Event{{Warning: t.Reason == release.ReasonPolicyInvalid, Reason: t.Reason, Message: message}}
	}
	st.Admission = a
	return out
}

// Calls tells whether it is a release's turn, which it has not taken yet.
func Calls(o *release.Observation, st *v1beta1.CanaryStatus) bool {
	return Needed(o) && o.Turn.May && Waits(st)
}

// Withdraw has a release whose gate is closed wait for its turn no more.
func Withdraw(st *v1beta1.CanaryStatus) {
	if st.Admission != nil && st.Admission.Admitted == nil {
		st.Admission = nil
	}
}

// Waits tells whether a release waits for its turn, and for nothing else.
func Waits(st *v1beta1.CanaryStatus) bool {
	return st.Phase == v1beta1.PhaseWaiting && st.Gate == nil && st.Admission != nil && st.Admission.Admitted == nil
}

// Approve lets a release begin that waits for its turn, whatever the policies say, as a person asks for. It returns false
// for one that does not wait.
func Approve(st *v1beta1.CanaryStatus, a release.Action, now time.Time) bool {
	if !Waits(st) {
		return false
	}
	st.Admission.Admitted, st.Admission.Until = new(metav1.NewMicroTime(now)), nil
	st.Admission.Reason, st.Admission.By = release.ReasonApproved, a.By
	return true
}

// Yield has a release wait again that was let begin together with too many others, by an operator that did not know of
// them. It has had no traffic yet. It returns false for one that goes on.
func Yield(o *release.Observation, st *v1beta1.CanaryStatus) (release.Event, bool) {
	a := st.Admission
	if !Needed(o) || !o.Turn.Yield || st.Step.Index > 0 || a == nil || a.Admitted == nil {
		return release.Event{}, false
	}
	st.Phase, st.Admission = v1beta1.PhaseWaiting, &v1beta1.AdmissionStatus{Since: a.Since}
	return release.Event{Reason: release.ReasonAdmissionRevoked, Message: text.Sentence(o.Canary.TargetName()) +
		" waits for its turn again, as more releases have begun than a release policy allows; it has had no traffic yet"}, true
}

// Done forgets how a release stood with the policies once that is of no use.
func Done(st *v1beta1.CanaryStatus) {
	if a := st.Admission; a != nil && (!release.Running(st.Phase) || st.Phase != v1beta1.PhaseWaiting && a.Admitted == nil) {
		st.Admission = nil
	}
}
