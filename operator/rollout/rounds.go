package rollout

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/judgement"
	"github.com/sluice-delivery/sluice/operator/rollout/rounds"
	"github.com/sluice-delivery/sluice/operator/rollout/text"
)

const (
	// maxHistory is how many rounds a status tells of.
	maxHistory = 20
	// maxRoundMessage is how many bytes it tells of each.
	maxRoundMessage = 256
)

// judgeRun judges a finished run. It is nil for one of other metrics than the
// spec has by now.
func judgeRun(d *decider, run *release.CheckRun) *rounds.Round {
	metrics := d.Canary.GetAnalysis().Metrics
	for i, m := range metrics {
		if i >= len(run.Results) || run.Results[i].Name != m.Name {
			return nil
		}
	}
	return rounds.Judge(metrics, d.st.Checks, judgement.Compared(d.Canary.GetAnalysis(), d.st, question(d), run.Results), warm(d))
}

// warm is how long ago the first step began: the present one, for a status from
// Before that was noted.
func warm(d *decider) time.Duration {
	if began := d.st.Step.Began; began != nil {
		return d.Now.Sub(began.Time)
	}
	return d.Now.Sub(d.st.Step.Since.Time)
}

// record notes the results of a round that has ended, and its verdict, once.
func record(d *decider, run *release.CheckRun, r *rounds.Round, verdict v1beta1.CheckVerdict, messages []string) {
	if d.recorded(run) {
		return
	}
	d.st.Checks = r.Results
	d.st.History = append(d.st.History, v1beta1.RoundStatus{
		Step: d.st.Step.Index, Weight: d.st.CanaryWeight, Verdict: verdict,
		Message: text.Cut(strings.Join(messages, "; "), maxRoundMessage), Time: metav1.NewMicroTime(run.At),
	})
	if n := len(d.st.History); n > maxHistory {
		d.st.History = d.st.History[n-maxHistory:]
	}
}

// recorded tells whether a round is the last that the status tells of. It still counts while
// hooks are asked whether the release may go on.
func (d *decider) recorded(run *release.CheckRun) bool {
	n := len(d.st.History)
	return n > 0 && d.st.History[n-1].Time.UnixMicro() == run.At.UnixMicro()
}

// askedFor is how long the answer of hooks that are asked after a round may take.
func (d *decider) askedFor(run *release.CheckRun) time.Duration {
	if !d.recorded(run) {
		return 0
	}
	longest := time.Duration(0)
	for _, kind := range []v1beta1.HookType{v1beta1.RollbackHook, v1beta1.ConfirmTrafficIncreaseHook, v1beta1.ConfirmPromotionHook} {
		for _, hook := range d.hooks(kind) {
			timeout, _ := hook.GetTimeout() // one that can't be parsed is a Mistake, so it does not come here
			longest = max(longest, timeout)
		}
	}
	return longest
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

// reasonOfSilence is why checks give no verdict.
func reasonOfSilence(checks []v1beta1.CheckStatus) string {
	if len(rounds.Unmeasured(checks)) > 0 {
		return release.ReasonNotMeasured
	}
	return release.ReasonChecksUnavailable
}
