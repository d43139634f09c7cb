package rollout

import (
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/rollout/conditions"
)

// A pod reads environment variables, and files of a volume by subPath, once, when it starts, and most applications read their other
// files only then. So pods that are there when a ConfigMap or a Secret changes go on with what that was before, and an
// analysis of them would be about what is not released. They are no different from those of a canary that starts when the
// target has no pods, which is what they are replaced by.

// haveReadOthers is true where the target's pods may have read other ConfigMaps and Secrets than those of the revision that begins to be analysed: these
// have changed, also for a while in which nobody looked or could begin, or had changed for a release before that failed or had its pods yet to be replaced.
func haveReadOthers(d *decider) bool {
	if d.Target.Replicas == 0 || d.Canary.Spec.SkipAnalysis || d.Target.Configs == "" {
		return false
	}
	same := func(revision string) bool { return strings.HasSuffix(revision, "-"+d.Target.Configs) }
	switch {
	case !same(d.st.LastAppliedSpec), d.Absence.HasJustEnded(d.Now, d.st.LastTransitionTime.Time), conditions.WasHeld(&d.Canary.Status):
		return true
	case same(d.st.LastPromotedSpec):
		return false
	default:
		return d.st.Phase == v1beta1.PhaseFailed || d.st.Step != nil && d.st.Step.Replacing
	}
}

// replaced ends the replacement of the canary's pods when none is left. Where the primary can't serve they stay until it does: people are
// served first, and what those pods run is not what is to be judged. Where there is no primary at all nobody else ever will, unless
// it is made from them.
func replaced(d *decider) {
	if d.Target.Empty || !d.Primary.Exists && d.Target.Available > 0 {
		d.st.Step.Replacing = false
	}
}

// emptyTarget removes the pods that are to be replaced, once nobody is led to them, or at once where neither they nor the primary's
// serve anybody.
func emptyTarget(d *decider) {
	if d.Target.Replicas == 0 || drained(d) || d.Target.Available == 0 && d.Primary.Available == 0 {
		d.out.Desired.TargetReplicas = new(int32)
	}
}
