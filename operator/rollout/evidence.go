package rollout

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics/compare"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/judgement"
	"github.com/sluice-delivery/sluice/operator/rollout/rounds"
)

// count has the requests of canary and primary counted from the moment at which the step's weight came into effect.
func count(d *decider) {
	if !d.Canary.GetAnalysis().Compares() {
		d.st.Judgement = nil
		return
	}
	if from := d.weightBegan(); !judgement.Begun(d.st, from) {
		judgement.Begin(d.st, from)
	}
}

// weightBegan is since when the mesh has the weight of the present step, as far as is known.
func (d *decider) weightBegan() time.Time {
	if j := d.st.Judgement; j != nil && j.Step == d.st.Step.Index {
		return d.Route.Since // rounds of the same step do not change the weight
	}
	return d.stepBegan()
}

// lookBetween looks at what was counted before a step is due, so that a canary that is worse is rolled back between
// rounds too. Nothing else can come of it.
func lookBetween(d *decider, due time.Time) {
	d.lookAgain(due)
	if d.st.Judgement == nil {
		return
	}
	id := d.checkID("")
	id.Look = d.st.Judgement.Counted.UnixMicro()
	next := d.st.Judgement.Counted.Add(judgement.LookEvery)
	if run := d.Checks; run != nil && run.ID == id {
		if takeCounts(d, run) {
			if v := d.judgement(); v.Worse {
				noteFailed(d, v)
				rollBack(d, release.ReasonCanaryWorse, v.Because)
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

// noteFailed puts what a look has found against the canary among the checks: the last round did not know of it.
func noteFailed(d *decider, v judgement.Verdict) {
	for _, m := range v.Metrics {
		if m.Verdict != v1beta1.CheckFailed {
			continue
		}
		failed := v1beta1.CheckStatus{Name: m.Name, Window: v1beta1.DefaultMetricInterval, Verdict: m.Verdict, Message: m.Message, Time: metav1.NewMicroTime(d.Now)}
		i := slices.IndexFunc(d.st.Checks, func(c v1beta1.CheckStatus) bool { return c.Name == m.Name && c.Window != "" })
		if i < 0 {
			d.st.Checks = append(d.st.Checks, failed)
			continue
		}
		d.st.Checks[i].Verdict, d.st.Checks[i].Message, d.st.Checks[i].Time = failed.Verdict, failed.Message, failed.Time
	}
}

// takeCounts adds what a run has counted to the evidence. It returns whether there was anything new.
func takeCounts(d *decider, run *release.CheckRun) bool {
	a := d.Canary.GetAnalysis()
	before := judgement.Prospect(a, d.st)
	taken := judgement.Take(a, d.st, run.Counted, func(name string) bool {
		for _, m := range a.Metrics {
			if m.Name == name && m.Comparison != nil {
				warmUp, _ := m.GetWarmUp() // one that can't be parsed is a Mistake, so it does not come here
				return warm(d) < warmUp
			}
		}
		return false
	})
	if now := judgement.Prospect(a, d.st); taken && before == "" && now != "" {
		d.event(false, release.ReasonComparing, "Canary and primary are compared. "+now)
	}
	return taken
}

// judgement is what the evidence says of what the release wants to do next. A step in which the canary has all requests
// is as much as a promotion: from then on the primary has none to compare with.
func (d *decider) judgement() judgement.Verdict {
	p := d.plan()
	index := p.Next(d.st.Step)
	next := p.At(index)
	everything := index > p.Len() || next.Weight == 100 && next.Share == v1beta1.ShareAll
	return judgement.Judge(d.Canary.GetAnalysis(), d.st, compare.Question{Promote: everything, Overdue: d.evidenceOverdue()})
}

// evidenceOverdue is true once the release has waited for evidence for as long as its spec has it wait.
func (d *decider) evidenceOverdue() bool {
	most, _ := d.Canary.GetAnalysis().GetMaxDuration() // one that can't be parsed is a Mistake, so it does not come here
	return warm(d) >= most
}

// compared puts the verdicts of the comparison into the results of a round. A metric that was out of its range, or that
// nobody could tell of, keeps that verdict.
func compared(d *decider, results []v1beta1.CheckStatus) []v1beta1.CheckStatus {
	a := d.Canary.GetAnalysis()
	if !a.Compares() {
		return results
	}
	out := append([]v1beta1.CheckStatus(nil), results...)
	verdicts := d.judgement().Metrics
	next := 0
	for i, m := range a.Metrics {
		if m.Comparison == nil {
			continue
		}
		v := verdicts[next]
		d.noteMissing(next, v.Missing)
		next++
		if out[i].Verdict != v1beta1.CheckPassed {
			continue
		}
		out[i].Verdict, out[i].Message = v.Verdict, v.Message
	}
	return out
}

// noteMissing tells in the status how many requests a metric lacks.
func (d *decider) noteMissing(i int, missing int64) {
	if d.st.Judgement != nil && i < len(d.st.Judgement.Metrics) {
		d.st.Judgement.Metrics[i].Missing = missing
	}
}

// evidenceMissing has a release with too little evidence wait for more, or does what its spec says when it has waited for
// its longest. A canary that evidence speaks against is not promoted for want of more.
func evidenceMissing(d *decider, run *release.CheckRun, r *rounds.Round) {
	message := strings.Join(r.Open, "; ")
	a := d.Canary.GetAnalysis()
	overdue := d.evidenceOverdue()
	switch action := a.GetOnNoEvidence(); {
	case overdue && action == v1beta1.NoEvidenceRollback:
		record(d, run, r, v1beta1.CheckUndecided, r.Open)
		rollBack(d, release.ReasonNoEvidence, "too little evidence for "+longest(a)+": "+message)
		return
	case overdue && action == v1beta1.NoEvidencePromote && !d.judgement().Suspected:
		record(d, run, r, v1beta1.CheckPassed, append(r.Noted, r.Open...))
		raise(d, "Too little evidence for "+longest(a)+", and spec.analysis.judgement.onNoEvidence is Promote: "+message)
		return
	}
	leaveGate(d)
	if !sameVerdicts(d.st.Checks, r.Results) || overdue && !d.toldOverdue() {
		what := "Too little evidence to go on; the weight stays where it is: "
		if overdue {
			what = "Too little evidence for " + longest(a) + "; the weight stays where it is until there is more: "
		}
		d.out.Events = append(d.out.Events, release.Event{Warning: overdue, Reason: release.ReasonNoEvidence, Message: what + message, Muted: !overdue})
	}
	record(d, run, r, v1beta1.CheckUndecided, r.Open)
	checkOnceMore(d)
	d.waiting = stepName(d)
}

// toldOverdue is true where the round before this one was overdue already.
func (d *decider) toldOverdue() bool {
	most, _ := d.Canary.GetAnalysis().GetMaxDuration()
	n, began := len(d.st.History), d.st.Step.Began
	return n > 0 && began != nil && d.st.History[n-1].Time.Sub(began.Time) >= most
}

// sameVerdicts compares results apart from what they counted.
func sameVerdicts(a, b []v1beta1.CheckStatus) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name || a[i].Verdict != b[i].Verdict {
			return false
		}
	}
	return true
}

func longest(a *v1beta1.CanaryAnalysis) string {
	d, _ := a.GetMaxDuration()
	return d.String()
}

// waitsForEvidence says what a release with too little evidence waits for, empty where it does not wait for any.
func waitsForEvidence(d *decider) string {
	if !d.Canary.GetAnalysis().Compares() {
		return ""
	}
	var lacking []string
	for _, c := range d.st.Checks {
		if c.Verdict == v1beta1.CheckUndecided && !c.DryRun && !c.WarmingUp {
			lacking = append(lacking, c.Message)
		}
	}
	if len(lacking) == 0 || d.st.Step == nil || d.st.Step.Index == 0 {
		return ""
	}
	until := ""
	if began := d.st.Step.Began; began != nil {
		most, _ := d.Canary.GetAnalysis().GetMaxDuration()
		if end := began.Add(most); d.Now.Before(end) {
			until = " (until " + end.UTC().Format("15:04:05 MST") + ", then onNoEvidence: " + string(d.Canary.GetAnalysis().GetOnNoEvidence()) + ")"
		}
	}
	return ", waiting for evidence" + until + ": " + strings.Join(lacking, "; ")
}
