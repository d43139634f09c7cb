package rollout

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// beginPromotion has the primary become what the canary was found good as. In
// blue/green all users go to the canary first, and so they do where the primary
// can't serve while it changes.
func (d *decider) beginPromotion(because string) {
	d.st.Phase = v1beta1.PhasePromoting
	d.st.Gate = nil
	takeover := d.st.Step.Takeover
	d.st.Step = &v1beta1.StepStatus{Since: metav1.NewMicroTime(d.Now), From: d.st.Step.From, Takeover: takeover}
	what := "copying " + d.target() + " (" + d.Target.Images + ") to " + d.Canary.PrimaryName()
	if d.strategy() != v1beta1.StrategyWeighted {
		d.st.Iterations = d.Canary.GetAnalysis().Iterations
	}
	switch {
	case d.Target.Available == 0:
	case d.Primary.Interrupted:
		d.st.CanaryWeight, d.st.Step.Takeover = 100, true
		what = "all traffic goes to the canary, as " + d.Canary.PrimaryName() + " will be without a pod for a moment; then " + what
	case d.strategy() == v1beta1.StrategyBlueGreen && !d.Canary.Spec.SkipAnalysis:
		d.st.CanaryWeight = 100
		what = "all traffic goes to the canary; then " + what
	}
	d.event(false, ReasonPromoting, because+"; "+what)
	d.waiting = d.promotionName()
}

// promote waits for the primary to run the new revision, then gives traffic
// back to it. Until the primary is ready the canary keeps what it has.
func (d *decider) promote() {
	if d.reactToRevision() {
		return
	}
	d.needStep()
	d.st.Phase = v1beta1.PhasePromoting
	d.waiting = d.promotionName()
	if d.st.Paused {
		d.waiting = d.paused()
	}
	if d.primaryCarries(d.st.LastAppliedSpec) && d.Primary.Ready && d.primaryHasEnough() {
		if !d.st.Paused {
			d.handBack()
		}
		return
	}
	d.shareMeanwhile()
	halted := d.overdue(d.st.Step.Since.Time, ReasonPromotionHalted,
		d.halted()+": "+d.Canary.PrimaryName()+" did not become ready")
	if halted && !d.Primary.Ready && d.Target.Ready && d.Target.Available > 0 && !d.canaryHasAll() {
		// What is left of the primary could be flattened by its share.
		d.takeOver(d.Canary.PrimaryName() + " is not ready after its promotion")
	}
	if !d.st.Paused {
		d.waiting = d.promotionName()
		d.blocked(d.st.Step.Since.Time, d.Primary.Message)
	}
}

// shareMeanwhile moves traffic away from whoever can't serve it while the
// promotion is waited for.
func (d *decider) shareMeanwhile() {
	switch {
	case d.onlyCanaryServes() && !d.canaryHasAll():
		// The canary was found good: it takes everything rather than let the
		// primary's share fail.
		d.takeOver("no pod of " + d.Canary.PrimaryName() + " is available during its promotion")
	case d.Primary.Interrupted && !d.primaryCarries(d.st.LastAppliedSpec) && d.Target.Ready && !d.canaryHasAll():
		d.takeOver(d.Canary.PrimaryName() + " will be without a pod for a moment")
	case d.Target.Available == 0 && d.Primary.Available > 0 && d.st.CanaryWeight > 0:
		d.st.CanaryWeight, d.st.Step.Takeover = 0, false
		d.event(true, ReasonCanaryUnavailable, "The canary has no available pod during the promotion; "+d.Canary.PrimaryName()+" takes all traffic")
	}
}

// canaryHasAll is true when every request goes to the canary.
func (d *decider) canaryHasAll() bool {
	return d.st.CanaryWeight == 100 && !TrafficOf(d.Canary, d.st).Matched
}

// primaryHasEnough is true when the primary has as many pods as have served as
// canary, or all that it may have.
func (d *decider) primaryHasEnough() bool {
	return d.Primary.Available >= min(d.Target.Available, d.Primary.Replicas)
}

// handBack moves the traffic to the promoted primary, at once or by
// stepWeightPromotion an interval.
func (d *decider) handBack() {
	d.st.LastPromotedSpec = d.st.LastAppliedSpec
	if !d.Route.InSync {
		d.blocked(d.st.Step.Since.Time, d.unrouted())
		return
	}
	by := d.Canary.GetAnalysis().StepWeightPromotion
	if d.strategy() == v1beta1.StrategyABTesting {
		by = 0
	}
	// Step.Checks counts the steps back, so that the first one, which follows
	// the primary's readiness at once, is told from those that are paced.
	if d.st.Step.Checks > 0 {
		if due := d.stepBegan().Add(d.interval()); d.Now.Before(due) {
			d.lookAgain(due)
			return
		}
	}
	if by > 0 && d.st.CanaryWeight > by && d.Target.Available > 0 {
		d.st.CanaryWeight -= by
		d.st.Step.Takeover = false
		d.st.Step.Since = metav1.NewMicroTime(d.Now)
		d.st.Step.Checks++
		d.waiting = d.promotionName()
		d.event(false, ReasonWeightLowered, percent(d.st.CanaryWeight)+" of the traffic stays with the canary, "+d.Canary.PrimaryName()+" has the rest")
		d.lookAgain(d.Now.Add(d.interval()))
		return
	}
	d.settle()
}

// settle has the primary serve everything, or go back to that as soon as it can.
func (d *decider) settle() {
	d.endSessions()
	if d.onlyCanaryServes() {
		d.st.Phase = v1beta1.PhasePromoting
		d.st.Step = &v1beta1.StepStatus{Since: metav1.NewMicroTime(d.Now)}
		d.takeOver("no pod of " + d.Canary.PrimaryName() + " is available")
		d.waiting = d.promotionName()
		return
	}
	d.st.CanaryWeight = 0
	d.st.Step = nil
	d.st.Paused = false
	d.st.Gate = nil
	d.st.Phase = v1beta1.PhaseFinalising
	d.waiting = "waiting for the mesh to lead to " + d.Canary.PrimaryName() + " alone"
}

// finalise waits for the mesh to have given everything to the primary.
func (d *decider) finalise() {
	if d.reactToRevision() {
		return
	}
	d.waiting = "waiting for the mesh to lead to " + d.Canary.PrimaryName() + " alone"
	switch {
	case d.onlyCanaryServes():
		d.settle()
	case d.Route.InSync:
		d.st.Phase = v1beta1.PhaseSucceeded
		d.callPostRollout()
		d.event(false, ReasonPromoted, "Promoted: "+d.Canary.PrimaryName()+" runs "+d.Primary.Images+" and serves all traffic")
	default:
		d.blocked(d.st.LastTransitionTime.Time, d.unrouted())
	}
}

func (d *decider) promotionName() string {
	stays := percent(d.st.CanaryWeight) + " of the traffic stays with the canary"
	switch {
	case d.canaryHasAll():
		stays = "all traffic stays with the canary"
	case TrafficOf(d.Canary, d.st).Matched:
		stays = "requests that match stay with the canary"
	}
	return "waiting for " + d.Canary.PrimaryName() + " to run the new revision, " + stays
}
