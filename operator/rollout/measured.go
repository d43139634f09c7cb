package rollout

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// unmeasured are the messages of the checks that decide and whose application is not known
// to be measured.
func unmeasured(checks []v1beta1.CheckStatus) []string {
	var out []string
	for _, c := range checks {
		if c.Verdict == v1beta1.CheckUnmeasured && !c.DryRun {
			out = append(out, c.Message)
		}
	}
	return out
}

// reasonOfSilence is why checks give no verdict.
func reasonOfSilence(checks []v1beta1.CheckStatus) string {
	if len(unmeasured(checks)) > 0 {
		return release.ReasonNotMeasured
	}
	return release.ReasonChecksUnavailable
}

// describeMeasured says whether what the last round asked for is measured, and by whom.
func describeMeasured(d *decider) {
	if missing := unmeasured(d.st.Checks); len(missing) > 0 {
		d.set(v1beta1.ConditionMeasured, corev1.ConditionFalse, release.ReasonNotMeasured, cut(strings.Join(missing, "; "), failuresLength))
		return
	}
	var by []string
	for _, c := range d.st.Checks {
		if c.Source != "" && (c.Verdict == v1beta1.CheckPassed || c.Verdict == v1beta1.CheckFailed) {
			by = append(by, c.Name+" by "+c.Source)
		}
	}
	if len(by) == 0 {
		d.st.RemoveCondition(v1beta1.ConditionMeasured)
		return
	}
	d.set(v1beta1.ConditionMeasured, corev1.ConditionTrue, release.ReasonMeasured, "measured: "+strings.Join(slices.Compact(by), ", "))
}
