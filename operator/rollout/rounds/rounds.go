// Package rounds judges rounds of checks: what the results of metrics and hooks say of a release.
package rounds

import (
	"fmt"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Round is what the results of a round say of the release.
type Round struct {
	// Results are those of the run with what the release adds to them.
	Results []v1beta1.CheckStatus
	// Failed are the messages of what is against the release, Silent those of
	// what gives no verdict, Noted those of what is for it without a value.
	Failed, Silent, Noted []string
	// Open are the messages of comparisons with too little evidence for either verdict.
	Open []string
	// AtLimit is why a metric ends the release whatever the threshold is.
	AtLimit string
	// Warming is true while a metric does not decide yet.
	Warming bool
}

// ended is true when the round has come to a verdict. One that has not is run
// again and counts nothing.
func (r *Round) ended() bool { return len(r.Failed) > 0 || len(r.Silent) == 0 }

// Judge sorts the results of a round: first those of the metrics in the order of
// the spec, then those of hooks. Of a metric, before has what is known from
// earlier rounds; warm is for how long the canary has been warming up. What is
// only a dry run, or warms up, decides nothing.
func Judge(metrics []v1beta1.CanaryMetric, before, results []v1beta1.CheckStatus, warm time.Duration) *Round {
	out := &Round{Results: append([]v1beta1.CheckStatus(nil), results...)}
	for i := range out.Results {
		r := &out.Results[i]
		if i < len(metrics) {
			warmUp, _ := metrics[i].GetWarmUp() // one that can't be parsed is a Mistake, so it does not come here
			r.DryRun, r.WarmingUp = metrics[i].DryRun, warm < warmUp
			out.Warming = out.Warming || r.WarmingUp && !r.DryRun
		}
		if !r.DryRun && !r.WarmingUp {
			out.take(r)
		}
	}
	for i := range metrics[:min(len(metrics), len(results))] {
		out.count(&metrics[i], Before(before, metrics, i), &out.Results[i])
	}
	return out
}

// take adds a result that decides.
func (r *Round) take(of *v1beta1.CheckStatus) {
	switch {
	case of.Verdict == v1beta1.CheckUndecided:
		r.Open = append(r.Open, of.Message)
	case undecided(of.Verdict):
		r.Silent = append(r.Silent, of.Message)
	case against(of.Verdict):
		message := of.Message
		if message == "" {
			message = fmt.Sprintf("%s: verdict %q", of.Name, of.Verdict)
		}
		r.Failed = append(r.Failed, message)
	case of.Window != "" && of.Value == "":
		r.Noted = append(r.Noted, of.Message)
	}
}

// undecided tells whether a verdict is neither for a release nor against it.
func undecided(verdict v1beta1.CheckVerdict) bool {
	switch verdict {
	case v1beta1.CheckUnavailable, v1beta1.CheckWaiting, v1beta1.CheckUnmeasured:
		return true
	case v1beta1.CheckPassed, v1beta1.CheckFailed, v1beta1.CheckNoData, v1beta1.CheckSkipped, v1beta1.CheckUndecided:
		return false
	default:
		return false
	}
}

// against tells whether a verdict is against the release. One that is not known
// can't be for it.
func against(verdict v1beta1.CheckVerdict) bool {
	switch verdict {
	case v1beta1.CheckPassed, v1beta1.CheckUnavailable, v1beta1.CheckWaiting, v1beta1.CheckUnmeasured, v1beta1.CheckSkipped, v1beta1.CheckUndecided:
		return false
	case v1beta1.CheckFailed, v1beta1.CheckNoData:
		return true
	default:
		return true
	}
}

// count carries on what is known of a metric in this release.
func (r *Round) count(metric *v1beta1.CanaryMetric, before, now *v1beta1.CheckStatus) {
	now.Failures = 0
	if before != nil {
		now.Failures = before.Failures
		now.HadValue = now.HadValue || before.HadValue
	}
	if !r.ended() || now.WarmingUp || !against(now.Verdict) {
		return
	}
	now.Failures++
	if limit := metric.FailureLimit; limit > 0 && now.Failures >= limit && !now.DryRun && r.AtLimit == "" {
		r.AtLimit = fmt.Sprintf("%s failed in %d rounds, its failure limit", metric.Name, now.Failures)
	}
}

// Before finds the result of a metric of the spec among the checks of a status:
// of several metrics of one name, the first in the spec is the first there. Nil
// if there is none.
func Before(checks []v1beta1.CheckStatus, metrics []v1beta1.CanaryMetric, index int) *v1beta1.CheckStatus {
	nth := 0
	for _, m := range metrics[:index] {
		if m.Name == metrics[index].Name {
			nth++
		}
	}
	for i := range checks {
		if checks[i].Window == "" || checks[i].Name != metrics[index].Name { // hooks have no window
			continue
		}
		if nth == 0 {
			return &checks[i]
		}
		nth--
	}
	return nil
}

// Unmeasured are the messages of the checks that decide and whose application is not known
// to be measured.
func Unmeasured(checks []v1beta1.CheckStatus) []string {
	var out []string
	for _, c := range checks {
		if c.Verdict == v1beta1.CheckUnmeasured && !c.DryRun {
			out = append(out, c.Message)
		}
	}
	return out
}

// Same compares results apart from their times and values.
func Same(a, b []v1beta1.CheckStatus) bool {
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
