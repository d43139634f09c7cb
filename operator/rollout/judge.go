package rollout

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

const (
	// maxHistory is how many rounds a status tells of.
	maxHistory = 20
	// maxRoundMessage is how many bytes it tells of each.
	maxRoundMessage = 256
)

// round is what the results of a round say of the release.
type round struct {
	// results are those of the run with what the release adds to them.
	results []v1beta1.CheckStatus
	// failed are the messages of what is against the release, silent those of
	// what gives no verdict, noted those of what is for it without a value.
	failed, silent, noted []string
	// atLimit is why a metric ends the release whatever the threshold is.
	atLimit string
	// warming is true while a metric does not decide yet.
	warming bool
}

// ended is true when the round has come to a verdict. One that has not is run
// again and counts nothing.
func (r *round) ended() bool { return len(r.failed) > 0 || len(r.silent) == 0 }

// judge sorts the results of a round: first those of the metrics in the order of
// the spec, then those of hooks. Of a metric, before has what is known from
// earlier rounds; warm is for how long the canary has been warming up. What is
// only a dry run, or warms up, decides nothing.
func judge(metrics []v1beta1.CanaryMetric, before, results []v1beta1.CheckStatus, warm time.Duration) *round {
	out := &round{results: append([]v1beta1.CheckStatus(nil), results...)}
	for i := range out.results {
		r := &out.results[i]
		if i < len(metrics) {
			warmUp, _ := metrics[i].GetWarmUp() // one that can't be parsed is a Mistake, so it does not come here
			r.DryRun, r.WarmingUp = metrics[i].DryRun, warm < warmUp
			out.warming = out.warming || r.WarmingUp && !r.DryRun
		}
		if !r.DryRun && !r.WarmingUp {
			out.take(r)
		}
	}
	for i := range metrics[:min(len(metrics), len(results))] {
		out.count(&metrics[i], Before(before, metrics, i), &out.results[i])
	}
	return out
}

// take adds a result that decides.
func (r *round) take(of *v1beta1.CheckStatus) {
	switch {
	case of.Verdict == v1beta1.CheckUnavailable || of.Verdict == v1beta1.CheckWaiting:
		r.silent = append(r.silent, of.Message)
	case against(of.Verdict):
		message := of.Message
		if message == "" {
			message = fmt.Sprintf("%s: verdict %q", of.Name, of.Verdict)
		}
		r.failed = append(r.failed, message)
	case of.Window != "" && of.Value == "":
		r.noted = append(r.noted, of.Message)
	}
}

// against tells whether a verdict is against the release. One that is not known
// can't be for it.
func against(verdict v1beta1.CheckVerdict) bool {
	switch verdict {
	case v1beta1.CheckPassed, v1beta1.CheckUnavailable, v1beta1.CheckWaiting, v1beta1.CheckSkipped:
		return false
	case v1beta1.CheckFailed, v1beta1.CheckNoData:
		return true
	default:
		return true
	}
}

// count carries on what is known of a metric in this release.
func (r *round) count(metric *v1beta1.CanaryMetric, before, now *v1beta1.CheckStatus) {
	now.Failures = 0
	if before != nil {
		now.Failures = before.Failures
		now.HadValue = now.HadValue || before.HadValue
	}
	if !r.ended() || now.WarmingUp || !against(now.Verdict) {
		return
	}
	now.Failures++
	if limit := metric.FailureLimit; limit > 0 && now.Failures >= limit && !now.DryRun && r.atLimit == "" {
		r.atLimit = fmt.Sprintf("%s failed in %d rounds, its failure limit", metric.Name, now.Failures)
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

// judgeRun judges a finished run. It is nil for one of other metrics than the
// spec has by now.
func judgeRun(d *decider, run *CheckRun) *round {
	metrics := d.Canary.GetAnalysis().Metrics
	for i, m := range metrics {
		if i >= len(run.Results) || run.Results[i].Name != m.Name {
			return nil
		}
	}
	return judge(metrics, d.st.Checks, run.Results, warm(d))
}

// warm is how long ago the first step began: the present one, for a status from
// before that was noted.
func warm(d *decider) time.Duration {
	if began := d.st.Step.Began; began != nil {
		return d.Now.Sub(began.Time)
	}
	return d.Now.Sub(d.st.Step.Since.Time)
}

// record notes the results of a round that has ended, and its verdict.
func record(d *decider, r *round, verdict v1beta1.CheckVerdict, messages []string) {
	d.st.Checks = r.results
	d.st.History = append(d.st.History, v1beta1.RoundStatus{
		Step: d.st.Step.Index, Weight: d.st.CanaryWeight, Verdict: verdict,
		Message: cut(strings.Join(messages, "; "), maxRoundMessage), Time: metav1.NewMicroTime(d.Now),
	})
	if n := len(d.st.History); n > maxHistory {
		d.st.History = d.st.History[n-maxHistory:]
	}
}

// recordHooks notes the answers of hooks outside of rounds. What is known of
// metrics stays.
func recordHooks(d *decider, results []v1beta1.CheckStatus) {
	known := append([]v1beta1.CheckStatus(nil), results...)
	for _, c := range d.st.Checks {
		if c.Window != "" {
			known = append(known, c)
		}
	}
	d.st.Checks = known
}

// cut shortens a text to so many bytes.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	const more = "..."
	return strings.ToValidUTF8(s[:most-len(more)], "") + more
}
