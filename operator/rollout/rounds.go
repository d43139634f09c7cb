package rollout

import (
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/judgement"
	"github.com/sluice-delivery/sluice/operator/rollout/rounds"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
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
	if why := incomparable(d); why != "" {
		return rounds.Judge(metrics, d.st.Checks, judgement.Uncompared(d.Canary.GetAnalysis(), run.Results, why), release.Analysed(d.st.Step, d.Now))
	}
	serves := d.Primary.Available > 0 && !serving.StandsIn(d.st)
	return rounds.Judge(metrics, d.st.Checks, judgement.Compared(d.Canary.GetAnalysis(), d.st, question(d), run.Results, serves), release.Analysed(d.st.Step, d.Now))
}

// askedFor is how long the answer of hooks that are asked after a round may take.
func (d *decider) askedFor(run *release.CheckRun) time.Duration {
	if !rounds.Recorded(d.st, run) {
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
