// Package gates reads what hooks answer at a gate: which of them hold a release there, since when, and which have held it
// for longer than they may.
package gates

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// Clock is what deadlines are read by.
type Clock struct {
	// Status says since when hooks hold the release.
	Status *v1beta1.CanaryStatus
	// Elapsed is how long ago a moment was, without the time in which there was no operator.
	Elapsed func(since time.Time) time.Duration
}

// At tells whether a release is held at the gate of a type.
func At(st *v1beta1.CanaryStatus, kind v1beta1.HookType) bool {
	return st.Gate != nil && st.Gate.Type == kind
}

// Answer is what a hook answered.
type Answer struct {
	Hook   v1beta1.CanaryWebhook
	Result v1beta1.CheckStatus
}

// Hooks are those that answered.
func Hooks(of []Answer) []v1beta1.CanaryWebhook {
	out := make([]v1beta1.CanaryWebhook, len(of))
	for i, a := range of {
		out[i] = a.Hook
	}
	return out
}

// Messages are what they answered.
func Messages(of []Answer) []string {
	out := make([]string, len(of))
	for i, a := range of {
		out[i] = a.Result.Message
	}
	return out
}

// Muted tells whether every one of these hooks wants no alert.
func Muted(hooks []v1beta1.CanaryWebhook) bool {
	return !slices.ContainsFunc(hooks, func(h v1beta1.CanaryWebhook) bool { return !h.MuteAlert })
}

// TakesOver tells whether a hook that stops those after it holds the release since now, where another one did before:
// its deadline begins now. Holder is the name to be noted, which is empty where all hooks are called at once, and not
// sequentially.
func TakesOver(sequential bool, shut []Answer, before string) (holder string, now bool) {
	if !sequential || len(shut) == 0 {
		return "", false
	}
	last := shut[len(shut)-1].Hook
	return last.Name, last.Stops() && before != "" && before != last.Name
}

// Shut are the hooks that hold a gate closed, but for those that were not asked. One whose deadline has passed no longer
// does where its spec says so.
func (c Clock) Shut(hooks []v1beta1.CanaryWebhook, results []v1beta1.CheckStatus) []Answer {
	var out []Answer
	for i, hook := range hooks {
		goesOn := hook.GetOnDeadline() == v1beta1.DeadlineContinue && c.passed(hook)
		verdict := results[i].Verdict
		if verdict != v1beta1.CheckPassed && verdict != v1beta1.CheckSkipped && !goesOn {
			out = append(out, Answer{hook, results[i]})
		}
	}
	return out
}

// Overdue is the first that has held the release for longer than it may, nil where none has.
func (c Clock) Overdue(shut []Answer) *Answer {
	for i, a := range shut {
		if c.passed(a.Hook) {
			return &shut[i]
		}
	}
	return nil
}

// Left is how much longer each of these hooks may hold the release, for those that may not for ever.
func (c Clock) Left(shut []Answer) []time.Duration {
	var out []time.Duration
	for _, a := range shut {
		if limit, since := deadline(a.Hook), c.heldSince(a.Hook.GetType()); limit > 0 && since != nil {
			out = append(out, limit-c.Elapsed(since.Time))
		}
	}
	return out
}

// passed tells whether a hook has held the release for longer than it allows.
func (c Clock) passed(hook v1beta1.CanaryWebhook) bool {
	limit, since := deadline(hook), c.heldSince(hook.GetType())
	return limit > 0 && since != nil && c.Elapsed(since.Time) >= limit
}

// heldSince is since when hooks of a type hold the release, nil if they don't.
func (c Clock) heldSince(kind v1beta1.HookType) *metav1.MicroTime {
	switch {
	case kind == v1beta1.PreRolloutHook && c.Status.Step != nil:
		return c.Status.Step.PreRolloutSince
	case At(c.Status, kind):
		return &c.Status.Gate.Since
	default:
		return nil
	}
}

// deadline is how long a hook may hold a release, 0 for ever. One that can't be parsed is a Mistake, so it does not come
// here.
func deadline(hook v1beta1.CanaryWebhook) time.Duration {
	limit, _ := hook.GetDeadline()
	return limit
}

// CheckID names the present round of checks, for no type, or the present call of
// the hooks of one.
func CheckID(st *v1beta1.CanaryStatus, kind v1beta1.HookType) release.CheckID {
	id := release.CheckID{Hooks: kind, Revision: st.LastAppliedSpec}
	if st.StartedAt != nil {
		id.Attempt = st.StartedAt.UnixMicro()
	}
	switch {
	case kind == v1beta1.PostRolloutHook && st.PostRollout != nil:
		id.Window = st.PostRollout.UnixMicro()
	case kind == v1beta1.RollbackHook:
		// Whoever asks for a rollback means the release, in whatever step the answer comes.
	case kind != "" && At(st, kind) && st.Step != nil:
		// Rounds go on while the gate is asked, and its answer may take longer than one of them.
		id.Step, id.Window = st.Step.Index, st.Gate.Since.UnixMicro()
	case st.Step != nil:
		id.Step, id.Window, id.Round = st.Step.Index, st.Step.Since.UnixMicro(), st.Step.Checks
	}
	return id
}
