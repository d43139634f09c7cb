package conditions

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/rounds"
	"github.com/sluice-delivery/sluice/operator/rollout/text"
)

// measured says whether what the last round asked for is measured, and by whom.
func (w *writer) measured() {
	if missing := rounds.Unmeasured(w.st.Checks); len(missing) > 0 {
		w.set(v1beta1.ConditionMeasured, corev1.ConditionFalse, release.ReasonNotMeasured, text.Cut(strings.Join(missing, "; "), failuresLength))
		return
	}
	var by []string
	for _, c := range w.st.Checks {
		if c.Source != "" && (c.Verdict == v1beta1.CheckPassed || c.Verdict == v1beta1.CheckFailed) {
			by = append(by, c.Name+" by "+c.Source)
		}
	}
	if len(by) == 0 {
		w.st.RemoveCondition(v1beta1.ConditionMeasured)
		return
	}
	w.set(v1beta1.ConditionMeasured, corev1.ConditionTrue, release.ReasonMeasured, "measured: "+strings.Join(slices.Compact(by), ", "))
}
