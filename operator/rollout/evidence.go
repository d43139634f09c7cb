package rollout

import (
	"strings"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics/compare"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/gates"
	"github.com/sluice-delivery/sluice/operator/rollout/judgement"
	"github.com/sluice-delivery/sluice/operator/rollout/rounds"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
)

// count has the requests of canary and primary counted from the moment at which the step's weight came into effect.
func count(d *decider) {
	if !d.Canary.GetAnalysis().Compares() {
		d.st.Judgement = nil
		return
	}
	if from := weightBegan(d); !judgement.Begun(d.st, from) {
		judgement.Begin(d.st, from)
	}
}

// weightBegan is since when the mesh has the weight of the present step, as far as is known.
func weightBegan(d *decider) time.Time {
	if j := d.st.Judgement; j != nil && j.Step == d.st.Step.Index {
		return d.Route.Since // rounds of the same step do not change the weight
	}
	return d.stepBegan()
}

// lookBetween looks at what was counted before a step is due, so that a canary that is worse is rolled back between
// rounds too, and that a step may end early where the spec says so.
func lookBetween(d *decider, due time.Time) {
	d.lookAgain(due)
	if d.st.Judgement == nil {
		return
	}
	id := gates.CheckID(d.st, "")
	id.Look = d.st.Judgement.Counted.UnixMicro()
	next := d.st.Judgement.Counted.Add(judgement.LookEvery)
	if run := d.Checks; run != nil && run.ID == id {
		if takeCounts(d, run) {
			if v := verdict(d); v.Worse {
				judgement.NoteFailed(d.st, v, d.Now)
				rollBack(d, release.ReasonCanaryWorse, v.Because)
				return
			}
			if mayStepEarly(d) {
				d.st.Step.Early = true
				round := gates.CheckID(d.st, "")
				d.out.RunChecks = &round
				return
			}
			next = d.st.Judgement.Counted.Add(judgement.LookEvery)
		} else {
			next = run.At.Add(judgement.LookEvery)
		}
	}
	switch {
	case !next.Before(due):
	case d.Now.Before(next):
		d.lookAgain(next)
	default:
		d.out.RunChecks = &id
	}
}

// mayStepEarly is true where the spec lets a step end before its interval is over, and the evidence allows the next one. The
// last step is followed by the promotion, which is not to come early.
func mayStepEarly(d *decider) bool {
	a := d.Canary.GetAnalysis()
	return a.Judgement != nil && a.Judgement.StepEarly && d.st.Step.Index < d.plan().Len() && judgement.Allows(a, d.st, question(d))
}

// takeCounts adds what a run has counted to the evidence. It returns whether there was anything new.
func takeCounts(d *decider, run *release.CheckRun) bool {
	a := d.Canary.GetAnalysis()
	before := judgement.Prospect(a, d.st)
	taken := judgement.Take(a, d.st, run.Counted, release.Analysed(d.st.Step, d.Now))
	if now := judgement.Prospect(a, d.st); taken && before == "" && now != "" {
		d.event(false, release.ReasonComparing, "Canary and primary are compared. "+now)
	}
	return taken
}

// verdict is what the evidence says of what the release wants to do next.
func verdict(d *decider) judgement.Verdict {
	return judgement.Judge(d.Canary.GetAnalysis(), d.st, question(d))
}

// question is what the release wants to do next. Where the primary will have no requests there is none to compare with.
func question(d *decider) compare.Question {
	return compare.Question{Promote: d.plan().LeavesNobody(d.st.Step), Overdue: evidenceOverdue(d)}
}

// evidenceOverdue is true once the release has waited for evidence for as long as its spec has it wait.
func evidenceOverdue(d *decider) bool {
	most, _ := d.Canary.GetAnalysis().GetMaxDuration() // one that can't be parsed is a Mistake, so it does not come here
	return release.Analysed(d.st.Step, d.Now) >= most
}

// incomparable says why there is nothing to compare the canary with, and will be nothing as far as anybody can tell: the primary
// is gone, or the canary has served everybody in its place for as long as the deadline, so that it has no requests. Empty where there is something, where
// the limit of the canary alone is asked for, and where evidence from before speaks against the canary: nobody but a person goes on with that.
func incomparable(d *decider) string {
	switch {
	case !d.Canary.GetAnalysis().Comparable():
		return ""
	case !d.Primary.Exists:
		return "the primary is gone"
	case !serving.StandsIn(d.st) || d.elapsed(d.st.LastTransitionTime.Time) < d.Canary.GetProgressDeadline() || verdict(d).Suspected:
		return ""
	default:
		return "the primary could not serve for " + d.Canary.GetProgressDeadline().String()
	}
}

// evidenceMissing has a release with too little evidence wait for more, or does what its spec says when it has waited for
// its longest. A canary that evidence speaks against is not promoted for want of more.
func evidenceMissing(d *decider, run *release.CheckRun, r *rounds.Round) {
	message := strings.Join(r.Open, "; ")
	a := d.Canary.GetAnalysis()
	overdue := evidenceOverdue(d)
	switch action := a.GetOnNoEvidence(); {
	case overdue && action == v1beta1.NoEvidenceRollback:
		rounds.Record(d.st, run, r, v1beta1.CheckUndecided, r.Open)
		rollBack(d, release.ReasonNoEvidence, "too little evidence for "+judgement.Longest(a)+": "+message)
		return
	case overdue && action == v1beta1.NoEvidencePromote && !verdict(d).Suspected:
		rounds.Record(d.st, run, r, v1beta1.CheckPassed, append(r.Noted, r.Open...))
		raise(d, "Too little evidence for "+judgement.Longest(a)+", and spec.analysis.judgement.onNoEvidence is Promote: "+message)
		return
	}
	leaveGate(d)
	if !judgement.SameVerdicts(d.st.Checks, r.Results) || overdue && !judgement.WasOverdue(a, d.st) {
		what := "Too little evidence to go on; the weight stays where it is: "
		if overdue {
			what = "Too little evidence for " + judgement.Longest(a) + "; the weight stays where it is until there is more: "
		}
		d.out.Events = append(d.out.Events, release.Event{Warning: overdue, Reason: release.ReasonNoEvidence, Message: what + message, Muted: !overdue})
	}
	rounds.Record(d.st, run, r, v1beta1.CheckUndecided, r.Open)
	checkOnceMore(d)
	d.waiting = stepName(d)
}
