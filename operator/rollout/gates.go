package rollout

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/gates"
	"github.com/sluice-delivery/sluice/operator/rollout/hands"
	"github.com/sluice-delivery/sluice/operator/rollout/plan"
	"github.com/sluice-delivery/sluice/operator/rollout/rounds"
	"github.com/sluice-delivery/sluice/operator/rollout/text"
	"github.com/sluice-delivery/sluice/operator/rollout/turns"
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
func gate(d *decider, kind v1beta1.HookType) opening {
	hooks := d.hooks(kind)
	if len(hooks) == 0 {
		if gates.At(d.st, kind) {
			d.st.Gate = nil
		}
		return open
	}
	if d.st.Step != nil && d.st.Step.Approved == kind {
		if gates.At(d.st, kind) {
			d.st.Gate = nil
		}
		return open
	}
	run := called(d, kind)
	if run == nil {
		if gates.At(d.st, kind) {
			d.waiting = gateName(d, d.st.Gate.Message)
		}
		return asking
	}
	shut := gateClock(d).Shut(hooks, run.Results)
	if len(shut) == 0 {
		if gates.At(d.st, kind) {
			d.event(false, release.ReasonGateOpened, text.Sentence(string(kind))+" gate is open")
			mute(d, hooks)
		}
		d.st.Gate = nil
		return open
	}
	return stop(d, kind, run, shut)
}

// stop keeps the release at a gate that hooks hold closed.
func stop(d *decider, kind v1beta1.HookType, run *release.CheckRun, shut []gates.Answer) opening {
	holder := ""
	if gates.At(d.st, kind) {
		holder = d.st.Gate.Hook
	}
	holder, anew := gates.TakesOver(d.Canary.GetAnalysis().Sequential(kind), shut, holder)
	if anew {
		d.st.Gate = nil
	}
	if gateOverdue(d, kind, shut) {
		return ended
	}
	callAgain(d, run, gatePoll)
	if !gates.At(d.st, kind) {
		message := strings.Join(gates.Messages(shut), "; ")
		d.st.Gate = &v1beta1.GateStatus{Type: kind, Since: metav1.NewMicroTime(d.Now), Message: message}
		d.event(false, release.ReasonGateClosed, text.Sentence(gateName(d, message)))
		mute(d, gates.Hooks(shut))
	}
	d.st.Gate.Hook = holder
	watchDeadlines(d, shut)
	d.waiting = gateName(d, d.st.Gate.Message)
	return closed
}

// gateOverdue rolls the release back when a hook has held it for longer than
// its deadline.
func gateOverdue(d *decider, kind v1beta1.HookType, shut []gates.Answer) bool {
	a := gateClock(d).Overdue(shut)
	if a == nil {
		return false
	}
	rollBack(d, release.ReasonGateDeadline, fmt.Sprintf("the %s gate was not opened within %s: %s", kind, a.Hook.Deadline, a.Result.Message))
	return true
}

func watchDeadlines(d *decider, shut []gates.Answer) {
	for _, left := range gateClock(d).Left(shut) {
		d.lookAgain(d.Now.Add(left))
	}
}

func gateClock(d *decider) gates.Clock { return gates.Clock{Status: d.st, Elapsed: d.elapsed} }

// gateName says which gate is closed and what traffic does meanwhile.
func gateName(d *decider, message string) string {
	return fmt.Sprintf("waiting for the %s gate to open, %s of the traffic goes to the canary%s: %s",
		d.st.Gate.Type, plan.Percent(d.st.CanaryWeight), failedSoFar(d), message)
}

// mute sends no alert about the last event when every hook that it is about
// wants none.
func mute(d *decider, hooks []v1beta1.CanaryWebhook) {
	d.out.Events[len(d.out.Events)-1].Muted = gates.Muted(hooks)
}

// rollbackAsked rolls back when a rollback hook answers with success, whatever
// the release is waiting for.
func rollbackAsked(d *decider) bool {
	hooks := d.hooks(v1beta1.RollbackHook)
	if len(hooks) == 0 {
		return false
	}
	run := called(d, v1beta1.RollbackHook)
	if run == nil {
		return false
	}
	for i, hook := range hooks {
		if run.Results[i].Verdict == v1beta1.CheckPassed {
			rollBack(d, release.ReasonRollbackAsked, "rollback hook "+hook.Name+" asks for it")
			return true
		}
	}
	callAgain(d, run, min(d.interval(), rollbackPoll))
	return false
}

// unknownSince has the hooks of a type asked once more before the release goes on, where
// their last answer is from before a moment.
func unknownSince(d *decider, kind v1beta1.HookType, since time.Time) bool {
	if len(d.hooks(kind)) == 0 {
		return false
	}
	run := called(d, kind)
	if run == nil || !run.At.Before(since) {
		return run == nil
	}
	d.out.CallHooks = append(d.out.CallHooks, run.ID)
	return true
}

// confirmRollout holds a new revision before it gets a pod of its own.
func confirmRollout(d *decider) {
	if reactToRevision(d) {
		return
	}
	needStep(d)
	if canaryLost(d) || primaryLost(d) || rollbackAsked(d) {
		return
	}
	d.waiting = "waiting to begin"
	if d.st.Paused {
		d.waiting = hands.Paused(d.st) + failedSoFar(d)
		return
	}
	if gate(d, v1beta1.ConfirmRolloutHook) != open {
		turns.Withdraw(d.st)
	} else if takesTurn(d) {
		d.st.Phase = v1beta1.PhaseProgressing
		d.st.Step.Since = metav1.NewMicroTime(d.Now)
		d.waiting = stepName(d)
	}
}

// takesTurn tells whether the release policies let the release begin. A gate that was open before it waited for that is
// asked again.
func takesTurn(d *decider) bool {
	approved := d.st.Step.Approved == v1beta1.ConfirmRolloutHook
	if turns.Calls(&d.Observation, d.st) && !approved && unknownSince(d, v1beta1.ConfirmRolloutHook, d.Now.Add(-d.interval())) {
		return false
	}
	a := turns.Take(&d.Observation, d.st)
	d.out.Events = append(d.out.Events, a.Events...)
	if a.Open {
		return true
	}
	d.waiting = a.Waiting
	if !a.Look.IsZero() {
		d.lookAgain(a.Look)
	}
	return false
}

// preRollout calls the pre-rollout hooks before the first request goes to the
// canary. A failure counts, and the hooks are called again after an interval.
func preRollout(d *decider) {
	hooks := d.hooks(v1beta1.PreRolloutHook)
	if len(hooks) == 0 || waitsToRaise(d) { // what waits has passed them
		raise(d, "The canary is ready")
		return
	}
	if due := d.st.Step.Since.Add(d.interval()); d.st.Step.PreRolloutFailures > 0 && d.Now.Before(due) {
		d.lookAgain(due)
		return
	}
	run := called(d, v1beta1.PreRolloutHook)
	if run == nil {
		d.blocked(d.st.Step.Since.Time, "the pre-rollout hooks have not answered yet")
		return
	}
	rounds.RecordHooks(d.st, run.Results)
	shut := gateClock(d).Shut(hooks, run.Results)
	holder, anew := gates.TakesOver(d.Canary.GetAnalysis().Sequential(v1beta1.PreRolloutHook), shut, d.st.Step.PreRolloutHook)
	if anew {
		d.st.Step.PreRolloutSince = nil
	}
	d.st.Step.PreRolloutHook = holder
	switch {
	case len(shut) == 0:
		raise(d, "The canary is ready")
	case gateOverdue(d, v1beta1.PreRolloutHook, shut):
	default:
		if d.st.Step.PreRolloutSince == nil {
			d.st.Step.PreRolloutSince = microTime(d.Now)
		}
		watchDeadlines(d, shut)
		if countFailure(d, gates.Messages(shut)) {
			d.st.Step.PreRolloutFailures++
			beginWindow(d)
			d.waiting = "waiting to call the pre-rollout hooks again" + failedSoFar(d)
		}
	}
}

// raise goes on to the next step. Before a step that gives the canary more
// traffic its gate must be open.
func raise(d *decider, because string) {
	if due := stepDue(d); !d.Now.Before(due) && unknownSince(d, v1beta1.RollbackHook, due) {
		return
	}
	p := d.plan()
	index := p.Next(d.st.Step)
	next := p.At(index)
	gated := p.Strategy == v1beta1.StrategyWeighted && next.Weight > 0 && next.Share != v1beta1.ShareMirror
	switch {
	case index > p.Len():
		if passes(d, v1beta1.ConfirmPromotionHook) {
			beginPromotion(d, because)
		}
	case next.Weight == 100 && next.Share == v1beta1.ShareAll && !canaryCarriesAll(d):
	case !gated || passes(d, v1beta1.ConfirmTrafficIncreaseHook):
		nextStep(d, because)
	}
}

// passes tells whether a gate is open. When it is first found closed, the
// present step begins to be checked once more, as traffic goes on in it.
func passes(d *decider, kind v1beta1.HookType) bool {
	waited := gates.At(d.st, kind)
	switch gate(d, kind) {
	case open:
		return true
	case closed:
		if kind == v1beta1.ConfirmPromotionHook {
			d.st.Phase = v1beta1.PhaseWaitingPromotion
		}
		if !waited && d.st.Step.Index > 0 {
			checkOnceMore(d)
		}
	case asking, ended:
	}
	return false
}

// checkOnceMore begins another round of checks in the present step.
func checkOnceMore(d *decider) {
	d.st.Step.Checks++
	beginWindow(d)
}

// beginWindow begins the time that the next round of checks is about.
func beginWindow(d *decider) {
	d.st.Step.Since, d.st.Step.Early = metav1.NewMicroTime(d.Now), false
	d.lookAgain(d.Now.Add(d.interval()))
}

// leaveGate goes back from a gate to the analysis. What a person has opened or ended counts no more: that was before
// something spoke against the release.
func leaveGate(d *decider) {
	d.st.Gate = nil
	if d.st.Step != nil {
		d.st.Step.Approved, d.st.Step.Ended = "", false
	}
	if d.st.Phase == v1beta1.PhaseWaitingPromotion {
		d.st.Phase = v1beta1.PhaseProgressing
	}
}

// waitsToRaise tells whether the checks of the present step have passed and a
// gate holds it.
func waitsToRaise(d *decider) bool {
	return gates.At(d.st, v1beta1.ConfirmTrafficIncreaseHook) || gates.At(d.st, v1beta1.ConfirmPromotionHook)
}

// callPostRollout has the post-rollout hooks called once the release has ended, or its
// promotion has failed.
func callPostRollout(d *decider) {
	if len(d.hooks(v1beta1.PostRolloutHook)) > 0 {
		d.st.PostRollout = microTime(d.Now)
		d.lookAgain(d.Now)
	}
}

// postRollout waits for the answers of the post-rollout hooks. The release has
// ended, so a failure is only told.
func postRollout(d *decider) {
	if d.st.PostRollout == nil {
		return
	}
	if len(d.hooks(v1beta1.PostRolloutHook)) == 0 {
		d.st.PostRollout = nil
		return
	}
	run := called(d, v1beta1.PostRolloutHook)
	if run == nil {
		return
	}
	d.st.PostRollout = nil
	if r := rounds.Judge(nil, nil, run.Results, 0); len(r.Failed)+len(r.Silent) > 0 {
		d.event(true, release.ReasonHookFailed, "Post-rollout hook failed: "+strings.Join(append(r.Failed, r.Silent...), "; "))
	}
}

// postRolloutOfFailed is postRollout for a promotion that has failed so far. Where it has not,
// the end of the release is what the hooks are called for.
func postRolloutOfFailed(d *decider) {
	if release.PromotionFailed(&d.Canary.Status) {
		postRollout(d)
	}
}

// hooks are the hooks of a type, in the order of the spec.
func (d *decider) hooks(kind v1beta1.HookType) []v1beta1.CanaryWebhook {
	return d.Canary.GetAnalysis().HooksOf(kind)
}

// callAgain has hooks called once more when their last answers are so old.
func callAgain(d *decider, run *release.CheckRun, every time.Duration) {
	if next := run.At.Add(every); d.Now.Before(next) {
		d.lookAgain(next)
		return
	}
	d.out.CallHooks = append(d.out.CallHooks, run.ID)
}

// called gives the answers of one call of the hooks of a type, and asks for
// that call where it has not been made.
func called(d *decider, kind v1beta1.HookType) *release.CheckRun {
	id := gates.CheckID(d.st, kind)
	run := d.Hooks[kind]
	if run == nil || run.ID != id || len(run.Results) != len(d.hooks(kind)) {
		d.out.CallHooks = append(d.out.CallHooks, id)
		return nil
	}
	return run
}
