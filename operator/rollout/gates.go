package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

const (
	// gatePoll is how long after an answer a closed gate is asked again. Whoever
	// opens it is waiting for something to happen.
	gatePoll = 700 * time.Millisecond
	// rollbackPoll is how often rollback hooks are asked at most, whatever the
	// interval.
	rollbackPoll = 2 * time.Second
)

// opening is how a gate stands.
type opening int

const (
	// asking: no answer is there yet.
	asking opening = iota
	// open: every hook has answered with success, or there is none.
	open
	// closed: a hook has answered otherwise.
	closed
	// ended: a gate was closed for too long, and the release was rolled back.
	ended
)

// gate asks the hooks of a type until all of them let the release pass. While
// it is closed the status says so, and since when, so that a deadline outlasts
// this process.
func (d *decider) gate(kind v1beta1.HookType) opening {
	hooks := d.hooks(kind)
	if len(hooks) == 0 {
		if d.atGate(kind) {
			d.st.Gate = nil
		}
		return open
	}
	run := d.called(kind, 0)
	if run == nil {
		if d.atGate(kind) {
			d.waiting = d.gateName(d.st.Gate.Message)
		}
		return asking
	}
	shut := d.shut(hooks, run)
	if len(shut) == 0 {
		if d.atGate(kind) {
			d.event(false, ReasonGateOpened, sentence(string(kind))+" gate is open")
			d.mute(hooks)
		}
		d.st.Gate = nil
		return open
	}
	if d.gateOverdue(kind, shut) {
		return ended
	}
	d.askAgain(run, gatePoll)
	if !d.atGate(kind) {
		message := strings.Join(answers(shut), "; ")
		d.st.Gate = &v1beta1.GateStatus{Type: kind, Since: metav1.NewMicroTime(d.Now), Message: message}
		d.event(false, ReasonGateClosed, sentence(d.gateName(message)))
		d.mute(hooks)
	}
	d.watchDeadlines(shut)
	d.waiting = d.gateName(d.st.Gate.Message)
	return closed
}

// answer is what a hook answered.
type answer struct {
	hook   v1beta1.CanaryWebhook
	result v1beta1.CheckStatus
}

func answers(of []answer) []string {
	out := make([]string, len(of))
	for i, a := range of {
		out[i] = a.result.Message
	}
	return out
}

// shut are the hooks that hold a gate closed. One whose deadline has passed no
// longer does where its spec says so.
func (d *decider) shut(hooks []v1beta1.CanaryWebhook, run *CheckRun) []answer {
	var out []answer
	for i, hook := range hooks {
		goesOn := hook.GetOnDeadline() == v1beta1.DeadlineContinue && d.deadlinePassed(hook)
		if run.Results[i].Verdict != v1beta1.CheckPassed && !goesOn {
			out = append(out, answer{hook, run.Results[i]})
		}
	}
	return out
}

// gateOverdue rolls the release back when a hook has held it for longer than
// its deadline.
func (d *decider) gateOverdue(kind v1beta1.HookType, shut []answer) bool {
	for _, a := range shut {
		if d.deadlinePassed(a.hook) {
			d.rollBack(ReasonGateDeadline, fmt.Sprintf("the %s gate was not opened within %s: %s", kind, a.hook.Deadline, a.result.Message))
			return true
		}
	}
	return false
}

func (d *decider) watchDeadlines(shut []answer) {
	for _, a := range shut {
		if limit := deadline(a.hook); limit > 0 {
			d.lookAgain(d.st.Gate.Since.Add(limit))
		}
	}
}

// deadlinePassed tells whether the gate that the release is at was closed for
// longer than a hook allows.
func (d *decider) deadlinePassed(hook v1beta1.CanaryWebhook) bool {
	limit := deadline(hook)
	return limit > 0 && d.atGate(hook.GetType()) && !d.Now.Before(d.st.Gate.Since.Add(limit))
}

// deadline is how long a hook may hold a release, 0 for ever. One that can't be
// parsed is a Mistake, so it does not come here.
func deadline(hook v1beta1.CanaryWebhook) time.Duration {
	limit, _ := hook.GetDeadline()
	return limit
}

func (d *decider) atGate(kind v1beta1.HookType) bool {
	return d.st.Gate != nil && d.st.Gate.Type == kind
}

// gateName says which gate is closed and what traffic does meanwhile.
func (d *decider) gateName(message string) string {
	return fmt.Sprintf("waiting for the %s gate to open, %s of the traffic goes to the canary%s: %s",
		d.st.Gate.Type, percent(d.st.CanaryWeight), d.failedSoFar(), message)
}

// mute sends no alert about the last event when every hook that it is about
// wants none.
func (d *decider) mute(hooks []v1beta1.CanaryWebhook) {
	d.out.Events[len(d.out.Events)-1].Muted = !slices.ContainsFunc(hooks, func(h v1beta1.CanaryWebhook) bool { return !h.MuteAlert })
}

// rollbackAsked rolls back when a rollback hook answers with success, whatever
// the release is waiting for.
func (d *decider) rollbackAsked() bool {
	hooks := d.hooks(v1beta1.RollbackHook)
	if len(hooks) == 0 {
		return false
	}
	run := d.called(v1beta1.RollbackHook, 0)
	if run == nil {
		return false
	}
	for i, hook := range hooks {
		if run.Results[i].Verdict == v1beta1.CheckPassed {
			d.rollBack(ReasonRollbackAsked, "rollback hook "+hook.Name+" asks for it")
			return true
		}
	}
	d.askAgain(run, min(d.interval(), rollbackPoll))
	return false
}

// rollbackUnknown has the rollback hooks asked once more before the release goes
// on, where their last answer is from before a moment.
func (d *decider) rollbackUnknown(since time.Time) bool {
	if len(d.hooks(v1beta1.RollbackHook)) == 0 {
		return false
	}
	run := d.called(v1beta1.RollbackHook, 0)
	if run == nil || !run.At.Before(since) {
		return run == nil
	}
	d.out.CallHooks = append(d.out.CallHooks, run.ID)
	return true
}

// confirmRollout holds a new revision before it gets a pod of its own.
func (d *decider) confirmRollout() {
	if d.reactToRevision() {
		return
	}
	d.needStep()
	if d.canaryLost() || d.primaryLost() || d.rollbackAsked() {
		return
	}
	d.waiting = "waiting to begin"
	if d.st.Paused {
		d.waiting = d.paused()
		return
	}
	if d.gate(v1beta1.ConfirmRolloutHook) == open {
		d.st.Phase = v1beta1.PhaseProgressing
		d.st.Step.Since = metav1.NewMicroTime(d.Now)
		d.waiting = d.stepName()
	}
}

// preRollout calls the pre-rollout hooks before the first request goes to the
// canary. A failure counts, and the hooks are called again after an interval.
func (d *decider) preRollout() {
	hooks := d.hooks(v1beta1.PreRolloutHook)
	if len(hooks) == 0 || d.waitsToRaise() { // what waits has passed them
		d.firstStep()
		return
	}
	if due := d.st.Step.Since.Add(d.interval()); d.st.Step.Checks > 0 && d.Now.Before(due) {
		d.lookAgain(due)
		return
	}
	run := d.called(v1beta1.PreRolloutHook, d.st.Step.Checks+1)
	if run == nil {
		d.blocked(d.st.Step.Since.Time, "the pre-rollout hooks have not answered yet")
		return
	}
	d.recordHooks(run.Results)
	shut := d.shut(hooks, run)
	switch {
	case len(shut) == 0:
		d.firstStep()
	case d.gateOverdue(v1beta1.PreRolloutHook, shut):
	default:
		if !d.atGate(v1beta1.PreRolloutHook) {
			d.st.Gate = &v1beta1.GateStatus{Type: v1beta1.PreRolloutHook, Since: metav1.NewMicroTime(d.Now)}
		}
		d.watchDeadlines(shut)
		d.countFailure(answers(shut))
		if d.st.Phase == v1beta1.PhaseProgressing {
			d.waiting = "waiting to call the pre-rollout hooks again" + d.failedSoFar()
		}
	}
}

// firstStep begins the analysis with a canary that is ready.
func (d *decider) firstStep() {
	if d.atGate(v1beta1.PreRolloutHook) {
		d.st.Gate = nil
	}
	d.raise("The canary is ready")
}

// raise goes on to the next step. Before a step that gives the canary more
// traffic its gate must be open.
func (d *decider) raise(because string) {
	if due := d.stepDue(); !d.Now.Before(due) && d.rollbackUnknown(due) {
		return
	}
	steps := d.steps()
	index := int(d.next(steps))
	weighted := d.strategy() == v1beta1.StrategyWeighted
	switch {
	case index > len(steps):
		if d.passes(v1beta1.ConfirmPromotionHook) {
			d.beginPromotion(because)
		}
	case !weighted || steps[index-1].weight == 0 || d.passes(v1beta1.ConfirmTrafficIncreaseHook):
		d.nextStep(because)
	}
}

// passes tells whether a gate is open. When it is first found closed, the
// present step begins to be checked once more, as traffic goes on in it.
func (d *decider) passes(kind v1beta1.HookType) bool {
	waited := d.atGate(kind)
	switch d.gate(kind) {
	case open:
		return true
	case closed:
		if kind == v1beta1.ConfirmPromotionHook {
			d.st.Phase = v1beta1.PhaseWaitingPromotion
		}
		if !waited && d.st.Step.Index > 0 {
			d.checkOnceMore()
		}
	case asking, ended:
	}
	return false
}

// checkOnceMore begins another round of checks in the present step.
func (d *decider) checkOnceMore() {
	d.st.Step.Since = metav1.NewMicroTime(d.Now)
	d.st.Step.Checks++
	d.lookAgain(d.Now.Add(d.interval()))
}

// leaveGate goes back from a gate to the analysis.
func (d *decider) leaveGate() {
	d.st.Gate = nil
	if d.st.Phase == v1beta1.PhaseWaitingPromotion {
		d.st.Phase = v1beta1.PhaseProgressing
	}
}

// waitsToRaise tells whether the checks of the present step have passed and a
// gate holds it.
func (d *decider) waitsToRaise() bool {
	return d.atGate(v1beta1.ConfirmTrafficIncreaseHook) || d.atGate(v1beta1.ConfirmPromotionHook)
}

// callPostRollout has the post-rollout hooks called once the release has ended.
func (d *decider) callPostRollout() {
	d.st.Gate = nil
	if len(d.hooks(v1beta1.PostRolloutHook)) > 0 {
		d.st.Gate = &v1beta1.GateStatus{Type: v1beta1.PostRolloutHook, Since: metav1.NewMicroTime(d.Now)}
		d.lookAgain(d.Now)
	}
}

// postRollout waits for the answers of the post-rollout hooks. The release has
// ended, so a failure is only told.
func (d *decider) postRollout() {
	if !d.atGate(v1beta1.PostRolloutHook) {
		return
	}
	if len(d.hooks(v1beta1.PostRolloutHook)) == 0 {
		d.st.Gate = nil
		return
	}
	run := d.called(v1beta1.PostRolloutHook, 0)
	if run == nil {
		return
	}
	d.st.Gate = nil
	if r := judge(nil, nil, run.Results, 0); len(r.failed)+len(r.silent) > 0 {
		d.event(true, ReasonHookFailed, "Post-rollout hook failed: "+strings.Join(append(r.failed, r.silent...), "; "))
	}
}

// hooks are the hooks of a type, in the order of the spec.
func (d *decider) hooks(kind v1beta1.HookType) []v1beta1.CanaryWebhook {
	return d.Canary.GetAnalysis().HooksOf(kind)
}

// askAgain has hooks called once more when their last answers are so old.
func (d *decider) askAgain(run *CheckRun, every time.Duration) {
	if next := run.At.Add(every); d.Now.Before(next) {
		d.lookAgain(next)
		return
	}
	d.out.CallHooks = append(d.out.CallHooks, run.ID)
}

// called gives the answers of one call of the hooks of a type, and asks for
// that call where it has not been made.
func (d *decider) called(kind v1beta1.HookType, number int32) *CheckRun {
	id := CheckID{Hooks: kind, Revision: d.st.LastAppliedSpec, Number: number}
	var since time.Time
	if d.st.Step != nil {
		id.Step, since = d.st.Step.Index, d.st.Step.Since.Time
	} else if d.st.Gate != nil {
		since = d.st.Gate.Since.Time
	}
	run := d.Hooks[kind]
	if run == nil || run.ID != id || run.At.Before(since) || len(run.Results) != len(d.hooks(kind)) {
		d.out.CallHooks = append(d.out.CallHooks, id)
		return nil
	}
	return run
}
