package rollout

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	d.st.Phase = v1beta1.PhaseProgressing
	if d.canaryLost() || d.canaryLate() {
		return
	}
	d.waiting = d.stepName()
	switch due := d.stepDue(); {
	case !d.Target.Ready:
		d.blocked(due, "the canary is not ready: "+d.Target.Message)
	case !d.Route.InSync:
		d.blocked(due, "the mesh does not show the route yet")
	case !d.Primary.Ready:
		d.blocked(due, d.Canary.PrimaryName()+" is not ready: "+d.Primary.Message)
	case d.Canary.Spec.SkipAnalysis:
		d.beginPromotion("spec.skipAnalysis is true")
	case d.st.Step.Index == 0:
		d.nextStep("The canary is ready")
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
	why := "no pod of the canary is available"
	if d.thresholdReached() {
		d.rollBack(ReasonAnalysisFailed, d.failures(why))
		return true
	}
	d.event(true, ReasonCanaryUnavailable, sentence(d.failures(why))+"; "+d.Canary.PrimaryName()+" takes all traffic until it is back")
	d.enterStep(0, 0)
	d.waiting = d.stepName()
	return true
}

// canaryLate rolls back a canary that was not ready within the deadline.
func (d *decider) canaryLate() bool {
	if d.Target.Ready {
		return false
	}
	deadline := d.st.Step.Since.Add(d.Canary.GetProgressDeadline())
	if d.Now.Before(deadline) {
		d.lookAgain(deadline)
		return false
	}
	d.rollBack(ReasonDeadlineExceeded, fmt.Sprintf("the canary was not ready within %s: %s", d.Canary.GetProgressDeadline(), d.Target.Message))
	return true
}

// analyse runs the checks of a step when its interval has passed, and acts on
// their results.
func (d *decider) analyse() {
	due := d.stepDue()
	if d.Now.Before(due) {
		d.lookAgain(due)
		return
	}
	id := CheckID{Revision: d.st.LastAppliedSpec, Step: d.st.Step.Index, Number: d.st.Step.Checks + 1}
	run := d.Checks
	if len(d.Canary.GetAnalysis().Metrics) == 0 {
		run = &CheckRun{ID: id, At: d.Now}
	}
	if run == nil || run.ID != id {
		d.out.RunChecks = &id
		return
	}
	switch failed, unavailable := sort(run.Results); {
	case len(failed) > 0:
		d.checkFailed(run, failed)
	case len(unavailable) > 0:
		d.checksUnavailable(run, unavailable, due)
	default:
		d.st.Checks = run.Results
		d.nextStep("All checks passed")
	}
}

// sort picks the results that are against the release and those that say
// nothing.
func sort(results []v1beta1.CheckStatus) (failed, unavailable []string) {
	for _, r := range results {
		switch r.Verdict {
		case v1beta1.CheckPassed:
		case v1beta1.CheckUnavailable:
			unavailable = append(unavailable, r.Message)
		case v1beta1.CheckFailed, v1beta1.CheckNoData:
			failed = append(failed, r.Message)
		default: // a verdict that is not known can't be for the release
			failed = append(failed, fmt.Sprintf("%s: unknown verdict %q", r.Name, r.Verdict))
		}
	}
	return failed, unavailable
}

func (d *decider) checkFailed(run *CheckRun, failed []string) {
	d.st.Checks = run.Results
	d.st.FailedChecks++
	why := strings.Join(failed, "; ")
	if d.thresholdReached() {
		d.rollBack(ReasonAnalysisFailed, d.failures(why))
		return
	}
	d.event(true, ReasonCheckFailed, sentence(d.failures(why))+"; the weight stays at "+percent(d.st.CanaryWeight))
	d.st.Step.Since = metav1.NewMicroTime(d.Now)
	d.st.Step.Checks++
	d.waiting = d.stepName()
	d.lookAgain(d.stepDue())
}

// checksUnavailable holds the rollout where it is: an answer that can't be had
// speaks neither for nor against a release. Only when none comes within the
// progress deadline is the release rolled back, as it can't be watched.
func (d *decider) checksUnavailable(run *CheckRun, why []string, due time.Time) {
	message := strings.Join(why, "; ")
	deadline := due.Add(d.Canary.GetProgressDeadline())
	if !d.Now.Before(deadline) {
		d.st.Checks = run.Results
		d.rollBack(ReasonChecksUnavailable, "the checks could not be answered for "+d.Canary.GetProgressDeadline().String()+": "+message)
		return
	}
	d.waiting += "; nothing moves until the checks can be answered: " + message
	if !sameChecks(d.st.Checks, run.Results) {
		d.st.Checks = run.Results
		d.event(true, ReasonChecksUnavailable, "Checks can't be answered; nothing moves until they are: "+message)
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

// nextStep goes on to the next weight, or to the promotion after the last.
func (d *decider) nextStep(because string) {
	steps := d.Canary.GetAnalysis().Steps()
	index := d.st.Step.Index
	// The spec may have been edited in mid-analysis: weights that were already
	// passed are not gone back to.
	for int(index) < len(steps) && steps[index] <= d.st.CanaryWeight {
		index++
	}
	if int(index) >= len(steps) {
		d.beginPromotion(because)
		return
	}
	d.enterStep(index+1, steps[index])
	d.event(false, ReasonWeightRaised, fmt.Sprintf("%s; step %d of %d: %s of the traffic goes to the canary", because, index+1, len(steps), percent(steps[index])))
	d.waiting = d.stepName()
	d.lookAgain(d.stepDue())
}

func (d *decider) beginPromotion(because string) {
	d.st.Phase = v1beta1.PhasePromoting
	d.st.Step = &v1beta1.StepStatus{Since: metav1.NewMicroTime(d.Now)}
	d.event(false, ReasonPromoting, because+"; copying "+d.target()+" ("+d.Target.Images+") to "+d.Canary.PrimaryName())
	d.waiting = d.promotionName()
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

// stepName says where the analysis is.
func (d *decider) stepName() string {
	if d.st.Step.Index == 0 {
		return "waiting for the canary to be ready" + d.failedSoFar()
	}
	return fmt.Sprintf("step %d of %d, %s of the traffic goes to the canary%s",
		d.st.Step.Index, len(d.Canary.GetAnalysis().Steps()), percent(d.st.CanaryWeight), d.failedSoFar())
}

func (d *decider) failedSoFar() string {
	if d.st.FailedChecks == 0 {
		return ""
	}
	return fmt.Sprintf(", %d of %d failed checks", d.st.FailedChecks, d.Canary.GetAnalysis().GetThreshold())
}

func percent(weight int32) string { return fmt.Sprintf("%d%%", weight) }
