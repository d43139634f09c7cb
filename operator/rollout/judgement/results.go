package judgement

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics/compare"
)

// NoteFailed puts what a look has found against the canary among the checks: the last round did not know of it.
func NoteFailed(st *v1beta1.CanaryStatus, v Verdict, now time.Time) {
	for _, m := range v.Metrics {
		if m.Verdict != v1beta1.CheckFailed {
			continue
		}
		failed := v1beta1.CheckStatus{Name: m.Name, Window: v1beta1.DefaultMetricInterval, Verdict: m.Verdict, Message: m.Message, Time: metav1.NewMicroTime(now)}
		i := slices.IndexFunc(st.Checks, func(c v1beta1.CheckStatus) bool { return c.Name == m.Name && c.Window != "" })
		if i < 0 {
			st.Checks = append(st.Checks, failed)
			continue
		}
		st.Checks[i].Verdict, st.Checks[i].Message, st.Checks[i].Time = failed.Verdict, failed.Message, failed.Time
	}
}

// Compared puts the verdicts of the comparison into the results of a round. A metric that was out of its range, or that
// nobody could tell of, keeps that verdict. serves says whether the primary has requests that can be compared with.
func Compared(a *v1beta1.CanaryAnalysis, st *v1beta1.CanaryStatus, q compare.Question, results []v1beta1.CheckStatus, serves bool) []v1beta1.CheckStatus {
	if !a.Compares() {
		return results
	}
	out := append([]v1beta1.CheckStatus(nil), results...)
	verdicts := Judge(a, st, q).Metrics
	next := 0
	for i, m := range a.Metrics {
		if m.Comparison == nil {
			continue
		}
		v := verdicts[next]
		noteMissing(st, next, v.Missing)
		next++
		if out[i].Verdict != v1beta1.CheckPassed {
			continue
		}
		out[i].Verdict, out[i].Message = v.Verdict, v.Message
		if !serves && v.Verdict == v1beta1.CheckUndecided && a.Comparable() {
			out[i].Message = m.Name + ": the primary serves nobody, so that there is nothing to compare with"
		}
	}
	return out
}

// Uncompared are the results of a round where there is nothing to compare with, why says as what: the primary is gone, or can't
// serve for long. Users have the canary already: a metric that has a range of values beside its comparison judges by that,
// and a promotion makes a primary of the canary. One that has none can't judge, and a person has to.
func Uncompared(a *v1beta1.CanaryAnalysis, results []v1beta1.CheckStatus, why string) []v1beta1.CheckStatus {
	out := append([]v1beta1.CheckStatus(nil), results...)
	for i, m := range a.Metrics {
		switch {
		case m.Comparison == nil || out[i].Verdict != v1beta1.CheckPassed:
		case m.ThresholdRange != nil || m.Threshold != nil:
			out[i].Message = m.Name + ": not compared, as " + why
		default:
			out[i].Verdict = v1beta1.CheckUndecided
			out[i].Message = m.Name + ": " + why + ", so that there is nothing to compare with; promote the canary, which serves everybody, by hand, or bring the primary's revision back to the target"
		}
	}
	return out
}

// noteMissing tells in the status how many requests a metric lacks.
func noteMissing(st *v1beta1.CanaryStatus, i int, missing int64) {
	if st.Judgement != nil && i < len(st.Judgement.Metrics) {
		st.Judgement.Metrics[i].Missing = missing
	}
}

// WasOverdue is true where the round before this one was overdue already.
func WasOverdue(a *v1beta1.CanaryAnalysis, st *v1beta1.CanaryStatus) bool {
	most, _ := a.GetMaxDuration() // one that can't be parsed is a Mistake, so it does not come here
	n, began := len(st.History), st.Step.Began
	return n > 0 && began != nil && st.History[n-1].Time.Sub(began.Time) >= most
}

// SameVerdicts compares results apart from what they counted.
func SameVerdicts(a, b []v1beta1.CheckStatus) bool {
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

// Longest is how long a release waits for evidence, for people to read.
func Longest(a *v1beta1.CanaryAnalysis) string {
	d, _ := a.GetMaxDuration()
	return d.String()
}

// WaitsFor says what a release with too little evidence waits for, empty where it does not wait for any.
func WaitsFor(a *v1beta1.CanaryAnalysis, st *v1beta1.CanaryStatus, now time.Time) string {
	if !a.Compares() {
		return ""
	}
	var lacking []string
	for _, c := range st.Checks {
		if c.Verdict == v1beta1.CheckUndecided && !c.DryRun && !c.WarmingUp {
			lacking = append(lacking, c.Message)
		}
	}
	if len(lacking) == 0 || st.Step == nil || st.Step.Index == 0 {
		return ""
	}
	until := ""
	if began := st.Step.Began; began != nil {
		most, _ := a.GetMaxDuration()
		if end := began.Add(most); now.Before(end) {
			until = " (until " + end.UTC().Format("15:04:05 MST") + ", then onNoEvidence: " + string(a.GetOnNoEvidence()) + ")"
		}
	}
	return ", waiting for evidence" + until + ": " + strings.Join(lacking, "; ")
}
