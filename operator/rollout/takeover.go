package rollout

import "github.com/sluice-delivery/sluice/api/v1beta1"

// adoptStatus takes over a status that Flagger wrote in the middle of a release,
// so that traffic stays where it is and the analysis goes on from there.
//
// Such a status does not say what traffic does: its weight is 0 in A/B testing,
// and in every phase after the analysis while the canary still has its share. What
// the mesh has is what counts. It is read once; from then on the status leads.
func (d *decider) adoptStatus() {
	has := d.Route.Has
	if !d.flaggers() || !d.running() || d.st.Phase == v1beta1.PhaseFinalising || has == nil {
		return
	}
	d.st.CanaryWeight = has.Canary
	steps := d.steps()
	switch d.st.Phase { //nolint:exhaustive // the others have no step of the analysis
	case v1beta1.PhaseProgressing, v1beta1.PhaseWaiting:
		if d.strategy() == v1beta1.StrategyBlueGreen && has.Canary == 100 {
			d.st.Phase = v1beta1.PhasePromoting // its users have been moved
		}
	case v1beta1.PhaseWaitingPromotion:
		// The analysis is done and the promotion was not allowed yet: the last step
		// is gone through once more, after which it is asked for again.
		d.st.Phase = v1beta1.PhaseProgressing
	}
	was := d.Canary.Status.Phase
	d.needStep()
	switch {
	case !analyses(d.st.Phase):
	case was == v1beta1.PhaseWaitingPromotion:
		d.st.Step.Index = int32(len(steps)) //nolint:gosec // at most 101 steps, or spec.analysis.iterations
	case has.Mirror > 0 && d.st.Step.Index == 0 && len(steps) > 0:
		d.st.Step.Index = 1
	}
	d.st.Step.From = has.Canary
	d.keepSessions()
}

// flaggers is true for a status that Flagger wrote and nobody has taken over:
// its hashes have no format.
func (d *decider) flaggers() bool {
	return d.st.LastAppliedSpec != "" && format(d.st.LastAppliedSpec) == "" && d.st.Step == nil
}
