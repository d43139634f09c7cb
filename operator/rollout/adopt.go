package rollout

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// adoptStatus takes over a status that an older version or Flagger wrote, so that
// traffic stays where it is and the release goes on from there. From then on the
// status says all of it.
func adoptStatus(d *decider) {
	if d.st.Traffic != nil || d.st.LastAppliedSpec == "" {
		return
	}
	if flaggers(d) && d.running() && d.st.Phase != v1beta1.PhaseFinalising && d.Route.Has != nil {
		adoptFlaggers(d)
	} else {
		*d.st = *withTraffic(d.Canary, d.st)
		adoptStep(d)
	}
	adoptGate(d)
}

// withTraffic is a status that says which traffic it asks for: one of an older version
// does so by its phase and step.
func withTraffic(c *v1beta1.Canary, st *v1beta1.CanaryStatus) *v1beta1.CanaryStatus {
	if st.Traffic != nil {
		return st
	}
	out := *st
	a := c.GetAnalysis()
	stoodIn := st.Step != nil && st.Step.Takeover
	of := &v1beta1.TrafficStatus{Reason: v1beta1.TrafficPlanned}
	switch {
	case stoodIn, idle(st.Phase) && st.CanaryWeight == 100:
		of.Reason = v1beta1.TrafficPrimaryUnavailable
	case analyses(st.Phase) || st.Phase == v1beta1.PhasePromoting:
		of.Matched = len(a.Match) > 0 && st.CanaryWeight > 0
	}
	if s := st.Step; s != nil && !stoodIn && analyses(st.Phase) {
		if at := planOf(a).at(s.Index); at.share == v1beta1.ShareMirror {
			of.Mirror = at.weight
		}
	}
	out.Traffic = of
	return &out
}

// adoptStep completes the step of an older version, which did not say what it plans.
func adoptStep(d *decider) {
	at := d.st.Step
	if at == nil || at.Plan != "" {
		return
	}
	p := d.plan()
	planned := p.at(at.Index)
	at.Plan, at.Weight, at.Share = p.hash(), planned.weight, planned.share
	switch {
	case at.Takeover:
	case d.st.Traffic.Matched:
		at.Weight, at.Share = d.st.CanaryWeight, v1beta1.ShareMatching
	case at.Share != v1beta1.ShareMirror:
		at.Weight, at.Share = d.st.CanaryWeight, v1beta1.ShareAll
	}
	if d.st.Phase == v1beta1.PhasePromoting && at.Takeover {
		at.Weight, at.Share = 100, v1beta1.ShareAll
	}
	if d.st.Phase == v1beta1.PhasePromoting {
		at.Lowered, at.Checks = at.Checks, 0
	}
	at.Takeover = false
}

// adoptGate tells apart what an older version had in one field.
func adoptGate(d *decider) {
	if d.st.Gate == nil {
		return
	}
	since := d.st.Gate.Since
	switch d.st.Gate.Type { //nolint:exhaustive // the others are gates still
	case v1beta1.PostRolloutHook:
		d.st.PostRollout, d.st.Gate = &since, nil
	case v1beta1.PreRolloutHook:
		if d.st.Step != nil {
			d.st.Step.PreRolloutSince, d.st.Step.PreRolloutFailures = &since, max(d.st.Step.Checks, 1)
		}
		d.st.Gate = nil
	}
}

// adoptFlaggers takes over a status that Flagger wrote in the middle of a release.
//
// Such a status does not say what traffic does: its weight is 0 in A/B testing,
// and in every phase after the analysis while the canary still has its share. What
// the mesh has is what counts.
func adoptFlaggers(d *decider) {
	has, p, was := d.Route.Has, d.plan(), d.st.Phase
	d.st.CanaryWeight = has.Canary
	d.st.Traffic = &v1beta1.TrafficStatus{Matched: has.Matched, Mirror: has.Mirror, Reason: v1beta1.TrafficPlanned}
	switch was { //nolint:exhaustive // the others have no step of the analysis
	case v1beta1.PhaseProgressing, v1beta1.PhaseWaiting:
		if p.strategy == v1beta1.StrategyBlueGreen && has.Canary == 100 {
			d.st.Phase = v1beta1.PhasePromoting // its users have been moved
		}
	case v1beta1.PhaseWaitingPromotion:
		// The analysis is done and the promotion was not allowed yet: the last step
		// is gone through once more, after which it is asked for again.
		d.st.Phase = v1beta1.PhaseProgressing
	}
	at := &v1beta1.StepStatus{Since: metav1.NewMicroTime(d.Now), Plan: p.hash(), Weight: has.Canary, Share: v1beta1.ShareAll, From: has.Canary}
	if analyses(d.st.Phase) {
		at.Index = indexOf(d)
	}
	switch {
	case !analyses(d.st.Phase):
	case was == v1beta1.PhaseWaitingPromotion:
		at.Index = p.len()
	case has.Mirror > 0 && at.Index == 0 && p.len() > 0:
		at.Index = 1
	}
	switch {
	case has.Matched:
		at.Share = v1beta1.ShareMatching
	case has.Mirror > 0 && has.Canary == 0:
		at.Weight, at.Share = has.Mirror, v1beta1.ShareMirror
	}
	d.st.Step = at
	keepSessions(d)
}

// flaggers is true for a status that Flagger wrote and nobody has taken over:
// its hashes have no format.
func flaggers(d *decider) bool {
	return format(d.st.LastAppliedSpec) == "" && d.st.Step == nil
}

// indexOf finds the step that a status without one is at, as another operator
// has written it: the step whose traffic it has is gone through once more. Its
// iterations count those that were begun.
func indexOf(d *decider) int32 {
	p := d.plan()
	if p.strategy != v1beta1.StrategyWeighted {
		if d.st.CanaryWeight == 0 && d.st.Iterations == 0 {
			return 0
		}
		return min(max(d.st.Iterations, 1), p.len())
	}
	if d.st.CanaryWeight == 0 {
		return 0
	}
	return max(p.firstAbove(d.st.CanaryWeight)-1, 1)
}
