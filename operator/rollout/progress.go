package rollout

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/gates"
	"github.com/sluice-delivery/sluice/operator/rollout/hands"
	"github.com/sluice-delivery/sluice/operator/rollout/judgement"
	"github.com/sluice-delivery/sluice/operator/rollout/plan"
	"github.com/sluice-delivery/sluice/operator/rollout/rounds"
	"github.com/sluice-delivery/sluice/operator/rollout/scaling"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
	"github.com/sluice-delivery/sluice/operator/rollout/text"
	"github.com/sluice-delivery/sluice/operator/rollout/turns"
)

// maxRetry bounds how long unavailable checks wait before they are run again.
const maxRetry = 10 * time.Second

// progress is the analysis: from waiting for the canary's pods through the
// weights to the promotion or the rollback.
func progress(d *decider) {
	if reactToRevision(d) {
		return
	}
	needStep(d)
	if !gates.At(d.st, v1beta1.ConfirmPromotionHook) {
		d.st.Phase = v1beta1.PhaseProgressing
	}
	if setBack(d) {
		return
	}
	replaced(d)
	d.waiting = stepName(d)
	if e, yields := turns.Yield(&d.Observation, d.st); yields {
		d.out.Events = append(d.out.Events, e)
		d.waiting = "waiting for its turn"
		return
	}
	switch due := stepDue(d); {
	case d.st.Paused:
		d.waiting = hands.Paused(d.st) + failedSoFar(d)
	case d.st.Step.Replacing:
		d.blocked(due, "its pods are being replaced: "+d.Target.Message)
	case !d.Target.Ready:
		d.blocked(due, "the canary is not ready: "+d.Target.Message)
	case !d.Route.InSync:
		d.blocked(due, d.Route.Unshown())
	case d.Canary.Spec.SkipAnalysis:
		beginPromotion(d, "spec.skipAnalysis is true")
	case d.st.Step.Index == 0 && awaitsStart(d):
	case d.st.Step.Index == 0:
		preRollout(d)
	default:
		analyse(d)
	}
}

// setBack tells whether the analysis begins anew or has ended in a rollback.
func setBack(d *decider) bool {
	return d.follow() || canaryLost(d) || tooManyFailed(d) || refused(d) || tooLate(d) || rollbackAsked(d)
}

// canaryLost begins again at the first step when a canary that has traffic has no
// pod left to serve it. That counts as a failed check, so that a canary that keeps
// crashing is rolled back.
func canaryLost(d *decider) bool {
	planned := serving.Planned(d.st)
	if planned.Weight == 0 || d.Target.Available > 0 || d.Primary.Available == 0 {
		return false
	}
	d.st.FailedChecks++
	why := "no pod of the canary is available"
	if thresholdReached(d) {
		rollBack(d, release.ReasonAnalysisFailed, failures(d, why))
		return true
	}
	d.event(true, release.ReasonCanaryUnavailable, text.Sentence(failures(d, why))+"; "+d.Canary.PrimaryName()+" takes all traffic until it is back")
	leaveGate(d)
	enterStep(d, 0)
	d.waiting = stepName(d)
	return true
}

// tooManyFailed rolls back when the threshold was lowered to what has failed already.
func tooManyFailed(d *decider) bool {
	if d.st.FailedChecks == 0 || !thresholdReached(d) {
		return false
	}
	rollBack(d, release.ReasonAnalysisFailed, fmt.Sprintf("%d checks have failed, and spec.analysis.threshold is %d by now",
		d.st.FailedChecks, d.Canary.GetAnalysis().GetThreshold()))
	return true
}

// refused rolls back a release whose step the mesh will not carry out: what it does with the
// requests of such a route, an error for each of them perhaps, is not what was asked for. A
// route by which nobody reaches the canary yet may still be taken, and is waited for.
func refused(d *decider) bool {
	if !d.Route.Refused || serving.Planned(d.st) == (serving.Split{}) {
		return false
	}
	rollBack(d, release.ReasonRouteRefused, "the mesh refuses the route: "+d.Route.Detail)
	return true
}

// tooLate rolls back a release that waits for its canary, or for the mesh, for
// longer than the deadline.
func tooLate(d *decider) bool {
	var what, detail string
	switch {
	case d.st.Paused || d.st.Gate != nil:
		d.well()
		return false
	case d.st.Step.Replacing:
		what, detail = "the canary's pods were not replaced", d.Target.Message
	case !d.Target.Ready:
		what, detail = "the canary was not ready", d.Target.Message
	case !d.Route.InSync:
		what, detail = "the mesh did not show the route", d.Route.Detail
	default:
		d.well() // unless the checks find out otherwise
		return false
	}
	d.unwell(what + ": " + detail)
	if !d.overdue() {
		return false
	}
	if detail != "" {
		detail = ": " + detail
	}
	rollBack(d, release.ReasonDeadlineExceeded, what+within(d)+detail)
	return true
}

// analyse runs the checks of a step when its interval has passed, and acts on
// their results.
func analyse(d *decider) {
	count(d)
	ended := d.Checks != nil && d.Checks.ID == gates.CheckID(d.st, "")
	if ended {
		takeCounts(d, d.Checks)
	}
	if goesOn(d) {
		return
	}
	if ended && d.Checks.At.Before(d.Route.Since) {
		// The mesh had another route meanwhile. What was asked then is asked for by another name when the step is due, so
		// that no hook is called twice by one.
		d.health.known = false
		beginWindow(d)
		return
	}
	due := stepDue(d)
	if d.Now.Before(due) {
		lookBetween(d, due)
		return
	}
	id := gates.CheckID(d.st, "")
	run := d.Checks
	if len(d.Canary.GetAnalysis().Metrics)+len(d.hooks(v1beta1.RolloutHook)) == 0 {
		run = &release.CheckRun{ID: id, At: due}
	}
	if run == nil || run.ID != id {
		d.health.known = false // what was wrong with the checks may still be
		d.out.RunChecks = &id
		return
	}
	if d.Now.Sub(run.At) > max(d.interval(), maxRetry)+d.askedFor(run) {
		// It says nothing of now, as when a person has held the release meanwhile.
		d.health.known = false
		beginWindow(d)
		return
	}
	r := judgeRun(d, run)
	if r == nil {
		d.health.known = false
		d.out.RunChecks = &id
		return
	}
	actOn(d, run, r)
}

// actOn does what follows from a round.
func actOn(d *decider, run *release.CheckRun, r *rounds.Round) {
	switch v := verdict(d); {
	case v.Worse:
		rounds.Record(d.st, run, r, v1beta1.CheckFailed, []string{v.Because})
		d.st.FailedChecks++
		rollBack(d, release.ReasonCanaryWorse, v.Because)
	case len(r.Failed) > 0:
		checkFailed(d, run, r)
	case len(r.Silent) > 0:
		checksUnavailable(d, run, r)
	case len(r.Open) > 0 && !r.Warming:
		evidenceMissing(d, run, r)
	case r.Warming, waitsToRaise(d):
		rounds.Record(d.st, run, r, v1beta1.CheckPassed, r.Noted)
		checkOnceMore(d)
	default:
		rounds.Record(d.st, run, r, v1beta1.CheckPassed, r.Noted)
		because := "All checks passed"
		if d.st.Step.Early {
			because += " before the interval was over"
		}
		raise(d, strings.Join(append([]string{because}, r.Noted...), "; "))
	}
}

// goesOn tells whether a release that waits at a gate, or whose step a person has ended, leaves the step without the
// checks of it.
func goesOn(d *decider) bool {
	switch {
	case speaksAgainst(d):
		return false
	case waitsToRaise(d):
		raise(d, "The gate is open")
		return !waitsToRaise(d)
	case d.st.Step.Ended:
		raise(d, "The step was ended by hand")
		return true
	}
	return false
}

// speaksAgainst is true when the round that ran while a release waited at a gate has not
// passed: then it is judged before the gate is asked.
func speaksAgainst(d *decider) bool {
	if d.Checks == nil || d.Checks.ID != gates.CheckID(d.st, "") {
		return false
	}
	r := judgeRun(d, d.Checks)
	return r != nil && len(r.Failed)+len(r.Silent)+len(r.Open) > 0
}

// checkFailed keeps the weight where it is, or rolls back at the threshold. A
// gate that the release waits at is asked again after the next round that passes.
func checkFailed(d *decider, run *release.CheckRun, r *rounds.Round) {
	rounds.Record(d.st, run, r, v1beta1.CheckFailed, r.Failed)
	leaveGate(d)
	if r.AtLimit != "" {
		d.st.FailedChecks++
		rollBack(d, release.ReasonAnalysisFailed, r.AtLimit+": "+strings.Join(r.Failed, "; "))
		return
	}
	if countFailure(d, r.Failed) {
		checkOnceMore(d)
		d.waiting = stepName(d)
	}
}

// countFailure counts a failed round, and rolls back at the threshold. It returns
// whether the release goes on.
func countFailure(d *decider, failed []string) bool {
	d.st.FailedChecks++
	why := strings.Join(failed, "; ")
	if thresholdReached(d) {
		rollBack(d, release.ReasonAnalysisFailed, failures(d, why))
		return false
	}
	d.event(true, release.ReasonCheckFailed, text.Sentence(failures(d, why))+"; the weight stays at "+plan.Percent(d.st.CanaryWeight))
	return true
}

// checksUnavailable holds the rollout where it is: what gives no verdict
// speaks neither for nor against a release. Only when none comes within the
// progress deadline is the release rolled back, as it can't be watched.
func checksUnavailable(d *decider, run *release.CheckRun, r *rounds.Round) {
	message := strings.Join(r.Silent, "; ")
	d.unwell("the checks give no verdict: " + message)
	d.health.record = true
	if d.overdue() {
		rounds.Record(d.st, run, r, v1beta1.CheckUnavailable, r.Silent)
		rollBack(d, rounds.ReasonOfSilence(r.Results), "the checks gave no verdict for "+d.Canary.GetProgressDeadline().String()+": "+message)
		return
	}
	leaveGate(d) // it is asked again after a round that passes
	d.waiting += "; nothing moves until the checks give a verdict: " + message
	if !rounds.Same(d.st.Checks, r.Results) {
		d.st.Checks = r.Results
		d.event(true, rounds.ReasonOfSilence(r.Results), "The checks give no verdict; nothing moves until they do: "+message)
	}
	next := run.At.Add(min(d.interval(), maxRetry))
	if d.Now.Before(next) {
		d.lookAgain(next)
		return
	}
	id := run.ID
	if len(d.hooks(v1beta1.RolloutHook)) > 0 {
		// A hook that has answered would take the same name for the same call.
		d.st.Step.Checks++
		id = gates.CheckID(d.st, "")
	}
	d.out.RunChecks = &id
}

// nextStep goes on to the next step.
func nextStep(d *decider, because string) {
	p := d.plan()
	index := p.Next(d.st.Step)
	enterStep(d, index)
	reason := release.ReasonStepStarted
	if p.At(index).Share != v1beta1.ShareMirror && d.strategy() == v1beta1.StrategyWeighted {
		reason = release.ReasonWeightRaised
	}
	d.event(false, reason, because+"; "+p.Describe(index))
	d.waiting = stepName(d)
	d.lookAgain(stepDue(d))
	if d.Canary.GetAnalysis().Compares() {
		d.lookAgain(d.Now.Add(judgement.LookEvery))
	}
}

func thresholdReached(d *decider) bool {
	return d.st.FailedChecks >= d.Canary.GetAnalysis().GetThreshold()
}

func failures(d *decider, why string) string {
	return fmt.Sprintf("failed check %d of %d: %s", d.st.FailedChecks, d.Canary.GetAnalysis().GetThreshold(), why)
}

// interval is the pace of the analysis. One that can't be parsed is a Mistake,
// so it does not come here.
func (d *decider) interval() time.Duration {
	interval, _ := d.Canary.GetAnalysis().GetInterval()
	return interval
}

// stepDue is when the step has lasted its interval, or is let end early. Waiting for the canary,
// which is step 0, has none.
func stepDue(d *decider) time.Time {
	switch {
	case d.st.Step.Index == 0:
		return d.st.Step.Since.Time
	case d.st.Step.Early:
		return d.stepBegan()
	}
	return d.stepBegan().Add(d.interval())
}

// awaitsStart tells whether a release waits for a primary that had no pods. It does not for longer than
// the deadline: the release may be what mends it.
func awaitsStart(d *decider) bool {
	if !scaling.ToZero(d.st, d.Primary) {
		return false
	}
	why := d.Canary.PrimaryName() + " had no pods and is being started: " + d.Primary.Message
	d.unwell(why)
	if d.overdue() {
		return false
	}
	d.blocked(stepDue(d), why)
	return true
}
