package rollout

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// maxRetry bounds how long unavailable checks wait before they are run again.
const maxRetry = 10 * time.Second

// progress is the analysis: from waiting for the canary's pods through the
// weights to the promotion or the rollback.
func (d *decider) progress() {
	if d.reactToRevision() {
		return
	}
	d.needStep()
	if !d.atGate(v1beta1.ConfirmPromotionHook) {
		d.st.Phase = v1beta1.PhaseProgressing
	}
	if d.canaryLost() || d.primaryLost() || d.tooLate() || d.rollbackAsked() {
		return
	}
	d.waiting = d.stepName()
	switch due := d.stepDue(); {
	case d.st.Paused:
		d.waiting = d.paused()
	case !d.Target.Ready:
		d.blocked(due, "the canary is not ready: "+d.Target.Message)
	case !d.Route.InSync:
		d.blocked(due, d.unrouted())
	case d.Canary.Spec.SkipAnalysis:
		d.beginPromotion("spec.skipAnalysis is true")
	case d.st.Step.Index == 0:
		d.preRollout()
	default:
		d.analyse()
	}
}

// canaryLost takes the weight from a canary that has no pod left to serve it.
// It starts again at the first step when it is back, and that counts as a
// failed check, so that a canary that keeps crashing is rolled back.
func (d *decider) canaryLost() bool {
	if d.st.CanaryWeight == 0 || d.Target.Available > 0 || d.Primary.Available == 0 {
		return false
	}
	d.st.FailedChecks++
	d.st.Step.Takeover = false
	why := "no pod of the canary is available"
	if d.thresholdReached() {
		d.rollBack(ReasonAnalysisFailed, d.failures(why))
		return true
	}
	d.event(true, ReasonCanaryUnavailable, sentence(d.failures(why))+"; "+d.Canary.PrimaryName()+" takes all traffic until it is back")
	d.leaveGate()
	d.enterStep(0, 0)
	d.waiting = d.stepName()
	return true
}

// primaryLost lets the canary serve while the primary can't. The analysis goes
// on: the release may be the one that mends the primary.
func (d *decider) primaryLost() bool {
	switch {
	case d.st.Step.Takeover && d.Primary.Ready:
		d.handOver(d.plannedWeight(d.steps()))
	case !d.st.Step.Takeover && d.Primary.Available == 0 && d.Target.Available > 0:
		d.takeOver("no pod of " + d.Canary.PrimaryName() + " is available")
	default:
		return false
	}
	d.waiting = d.stepName()
	return true
}

// tooLate rolls back a release that waits for its canary, or for the mesh, for
// longer than the deadline.
func (d *decider) tooLate() bool {
	if d.Target.Ready && d.Route.InSync || d.st.Paused {
		return false
	}
	deadline := d.stepDue().Add(d.Canary.GetProgressDeadline())
	if d.Now.Before(deadline) {
		d.lookAgain(deadline)
		return false
	}
	within := fmt.Sprintf(" within %s", d.Canary.GetProgressDeadline())
	if d.Target.Ready {
		detail := d.Route.Detail
		if detail != "" {
			detail = ": " + detail
		}
		d.rollBack(ReasonDeadlineExceeded, "the mesh did not show the route"+within+detail)
		return true
	}
	d.rollBack(ReasonDeadlineExceeded, "the canary was not ready"+within+": "+d.Target.Message)
	return true
}

// analyse runs the checks of a step when its interval has passed, and acts on
// their results.
func (d *decider) analyse() {
	if d.waitsToRaise() {
		if d.raise("The gate is open"); !d.waitsToRaise() {
			return
		}
	}
	due := d.stepDue()
	if d.Now.Before(due) {
		d.lookAgain(due)
		return
	}
	id := CheckID{Revision: d.st.LastAppliedSpec, Step: d.st.Step.Index, Number: d.st.Step.Checks + 1}
	run := d.Checks
	if len(d.Canary.GetAnalysis().Metrics)+len(d.hooks(v1beta1.RolloutHook)) == 0 {
		run = &CheckRun{ID: id, At: d.Now}
	}
	// A round of an earlier try of the same revision has the same name.
	if run == nil || run.ID != id || run.At.Before(d.st.Step.Since.Time) {
		d.out.RunChecks = &id
		return
	}
	r := d.judge(run)
	if r == nil {
		d.out.RunChecks = &id
		return
	}
	switch {
	case len(r.failed) > 0:
		d.checkFailed(r)
	case len(r.silent) > 0:
		d.checksUnavailable(run, r, due)
	case r.warming, d.waitsToRaise():
		d.record(r, v1beta1.CheckPassed, r.noted)
		d.checkOnceMore()
	default:
		d.record(r, v1beta1.CheckPassed, r.noted)
		d.raise(strings.Join(append([]string{"All checks passed"}, r.noted...), "; "))
	}
}

// checkFailed keeps the weight where it is, or rolls back at the threshold. A
// gate that the release waits at is asked again after the next round that passes.
func (d *decider) checkFailed(r *round) {
	d.record(r, v1beta1.CheckFailed, r.failed)
	d.leaveGate()
	if r.atLimit != "" {
		d.st.FailedChecks++
		d.rollBack(ReasonAnalysisFailed, r.atLimit+": "+strings.Join(r.failed, "; "))
		return
	}
	d.countFailure(r.failed)
}

// countFailure counts a failed round, and tries again after an interval or
// rolls back.
func (d *decider) countFailure(failed []string) {
	d.st.FailedChecks++
	why := strings.Join(failed, "; ")
	if d.thresholdReached() {
		d.rollBack(ReasonAnalysisFailed, d.failures(why))
		return
	}
	d.event(true, ReasonCheckFailed, sentence(d.failures(why))+"; the weight stays at "+percent(d.st.CanaryWeight))
	d.checkOnceMore()
	d.waiting = d.stepName()
}

// checksUnavailable holds the rollout where it is: what gives no verdict
// speaks neither for nor against a release. Only when none comes within the
// progress deadline is the release rolled back, as it can't be watched.
func (d *decider) checksUnavailable(run *CheckRun, r *round, due time.Time) {
	message := strings.Join(r.silent, "; ")
	deadline := due.Add(d.Canary.GetProgressDeadline())
	if !d.Now.Before(deadline) {
		d.record(r, v1beta1.CheckUnavailable, r.silent)
		d.rollBack(ReasonChecksUnavailable, "the checks gave no verdict for "+d.Canary.GetProgressDeadline().String()+": "+message)
		return
	}
	d.waiting += "; nothing moves until the checks give a verdict: " + message
	if !sameChecks(d.st.Checks, r.results) {
		d.st.Checks = r.results
		d.event(true, ReasonChecksUnavailable, "The checks give no verdict; nothing moves until they do: "+message)
	}
	next := run.At.Add(min(d.interval(), maxRetry))
	if !d.Now.Before(next) {
		d.out.RunChecks = &run.ID
		return
	}
	d.lookAgain(next)
	d.lookAgain(deadline)
}

// sameChecks compares results apart from their times and values.
func sameChecks(a, b []v1beta1.CheckStatus) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name || a[i].Verdict != b[i].Verdict || a[i].Message != b[i].Message {
			return false
		}
	}
	return true
}

// nextStep goes on to the next step, or to the promotion after the last.
func (d *decider) nextStep(because string) {
	steps := d.steps()
	index := d.next(steps)
	if int(index) > len(steps) {
		d.beginPromotion(because)
		return
	}
	s := steps[index-1]
	d.enterStep(index, s.weight)
	reason := ReasonStepStarted
	if s.weight > 0 && d.strategy() == v1beta1.StrategyWeighted {
		reason = ReasonWeightRaised
	}
	d.event(false, reason, because+"; "+d.progressOf(index, steps))
	d.waiting = d.stepName()
	d.lookAgain(d.stepDue())
}

func (d *decider) thresholdReached() bool {
	return d.st.FailedChecks >= d.Canary.GetAnalysis().GetThreshold()
}

func (d *decider) failures(why string) string {
	return fmt.Sprintf("failed check %d of %d: %s", d.st.FailedChecks, d.Canary.GetAnalysis().GetThreshold(), why)
}

// interval is the pace of the analysis. One that can't be parsed is a Mistake,
// so it does not come here.
func (d *decider) interval() time.Duration {
	interval, _ := d.Canary.GetAnalysis().GetInterval()
	return interval
}

// stepDue is when the step has lasted its interval. Waiting for the canary,
// which is step 0, has none.
func (d *decider) stepDue() time.Time {
	if d.st.Step.Index == 0 {
		return d.st.Step.Since.Time
	}
	return d.stepBegan().Add(d.interval())
}
