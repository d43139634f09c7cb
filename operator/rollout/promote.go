package rollout

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/conditions"
	"github.com/sluice-delivery/sluice/operator/rollout/hands"
	"github.com/sluice-delivery/sluice/operator/rollout/plan"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
)

// beginPromotion has the primary become what the canary was found good as. In
// blue/green all users go to the canary first, and so they do where the primary
// can't serve while it changes: then the canary must have the pods for them.
func beginPromotion(d *decider, because string) {
	what := "copying " + d.Canary.TargetName() + " (" + d.Target.Images + ") to " + d.Canary.PrimaryName()
	all := false
	switch {
	case d.Target.Available == 0 || d.Route.Fixed:
	case d.Primary.Interrupted:
		all = true
		what = "all traffic goes to the canary, as " + d.Canary.PrimaryName() + " will be without a pod for a moment; then " + what
	case d.strategy() == v1beta1.StrategyBlueGreen && !d.Canary.Spec.SkipAnalysis:
		all = true
		what = "all traffic goes to the canary; then " + what
	}
	if all && !canaryCarriesAll(d) {
		return
	}
	d.st.Phase = v1beta1.PhasePromoting
	d.st.Gate, d.st.Rollback = nil, nil
	was := d.st.Step
	d.st.Step = &v1beta1.StepStatus{Since: metav1.NewMicroTime(d.Now), From: was.From, Plan: was.Plan, Weight: was.Weight, Share: was.Share}
	if d.strategy() != v1beta1.StrategyWeighted {
		d.st.Iterations = d.Canary.GetAnalysis().Iterations
	}
	if all {
		giveCanaryAll(d)
	}
	d.event(false, release.ReasonPromoting, because+"; "+what)
	d.waiting = conditions.Promotion(d.Canary, d.st)
}

// giveCanaryAll plans all requests for the canary.
func giveCanaryAll(d *decider) { d.st.Step.Weight, d.st.Step.Share = 100, v1beta1.ShareAll }

// canaryCarriesAll is true when the canary has as many pods as the primary serves
// everybody with. Where it has fewer it is given more, and the release waits for them.
func canaryCarriesAll(d *decider) bool {
	need, stay := d.Primary.Replicas, min(d.Target.Available, d.Target.Replicas) // the others are about to go
	if d.Primary.Available == 0 || stay >= need {
		return true
	}
	d.st.Step.Pods = need
	why := fmt.Sprintf("the canary has %d pods and needs %d to take all traffic", stay, need)
	d.waiting = why
	d.unwell(why)
	d.health.record = true
	if release.Analysing(d.st.Phase) && d.overdue() {
		rollBack(d, release.ReasonDeadlineExceeded, why+", and did not get them"+within(d)+"; does an autoscaler or Git keep its number down?")
	}
	return false
}

// promote waits for the primary to run the new revision, then gives traffic
// back to it. Until the primary is ready the canary keeps what it has.
func promote(d *decider) {
	if reactToRevision(d) {
		return
	}
	needStep(d)
	d.st.Phase = v1beta1.PhasePromoting
	canaryLostInPromotion(d)
	canaryShrunkInPromotion(d)
	postRolloutOfFailed(d)
	d.waiting = conditions.Promotion(d.Canary, d.st)
	if d.st.Paused {
		d.waiting = hands.Paused(d.st) + failedSoFar(d)
		d.well()
		return
	}
	if d.Primary.Carries(d.st.LastAppliedSpec) && d.Primary.Ready && primaryHasEnough(d) {
		handBack(d)
		return
	}
	awaitPrimary(d)
}

// awaitPrimary leaves the traffic with the canary, and gives it all where the primary is
// about to be without a pod, or has far too few for its share when the deadline is over.
func awaitPrimary(d *decider) {
	if d.Primary.Interrupted && !d.Primary.Carries(d.st.LastAppliedSpec) && d.Target.Ready && d.st.Step.Weight < 100 && canaryCarriesAll(d) {
		giveCanaryAll(d)
	}
	d.unwell(d.Primary.Message)
	if stalledFor(d, release.ReasonPromotionHalted, halted(d)+": "+d.Canary.PrimaryName()+" did not become ready") && serving.Overloaded(d.st, d.Primary) &&
		d.Target.Ready && d.Target.Available >= max(d.Primary.Replicas, 1) && !d.Route.Fixed {
		giveCanaryAll(d)
	}
	d.waiting = conditions.Promotion(d.Canary, d.st)
	d.blocked(d.st.Step.Since.Time, d.Primary.Message)
}

// canaryLostInPromotion takes the share of a canary for good that has no pod left while
// the primary can serve: when it is back, the weight would jump.
func canaryLostInPromotion(d *decider) {
	if serving.Planned(d.st).Weight == 0 || d.Target.Available > 0 || d.Primary.Available == 0 {
		return
	}
	d.st.Step.Weight, d.st.Step.Share = 0, v1beta1.ShareAll
	d.event(true, release.ReasonCanaryUnavailable, "The canary has no available pod during the promotion; "+d.Canary.PrimaryName()+" takes all traffic")
}

// canaryShrunkInPromotion leaves a canary that was given all requests, and has lost more
// than a quarter of the pods for them since, what the rest of them carry. The primary takes
// the others as far as it has the pods for them, which package serving sees to, but for one that has none or
// is without one at any moment now.
func canaryShrunkInPromotion(d *decider) {
	need := d.Primary.Replicas
	planned := serving.Planned(d.st)
	takenOver := d.st.Step.From == 100 // Flagger gave it all, with however many pods
	unable := d.Primary.Interrupted || d.Primary.Available == 0
	if planned.Matched || planned.Weight < 100 || takenOver || unable || d.Target.Available*4 >= need*3 {
		return
	}
	keeps := 100 * d.Target.Available / need
	d.st.Step.Weight = keeps
	d.event(true, release.ReasonCanaryUnavailable, fmt.Sprintf("The canary has %d pods left of the %d that all traffic needs; %s of it stays, %s takes the rest",
		d.Target.Available, need, plan.Percent(keeps), d.Canary.PrimaryName()))
}

// halted says what becomes of a promotion that does not get on.
func halted(d *decider) string {
	if d.Route.Fixed {
		return "promotion is halted"
	}
	return "promotion is halted and the canary goes on serving"
}

// primaryHasEnough is true when a primary that is ready has as many pods as have served as canary, or all that it may have, whatever its
// autoscaler, which sees little to do, asks for. It is not waited for longer than the deadline.
func primaryHasEnough(d *decider) bool {
	return d.Primary.Available >= min(d.Target.Available, max(d.Primary.Replicas, d.Primary.MaxReplicas)) || d.overdue()
}

// handBack moves the traffic to the promoted primary, at once or by
// stepWeightPromotion an interval.
func handBack(d *decider) {
	d.st.LastPromotedSpec = d.st.LastAppliedSpec
	if !d.Route.InSync {
		d.blocked(d.st.Step.Since.Time, d.Route.Unshown())
		d.unwell(d.Route.Unshown())
		stalledFor(d, release.ReasonDeadlineExceeded, "the mesh did not show the route of the promotion")
		return
	}
	d.well()
	by := d.Canary.GetAnalysis().StepWeightPromotion
	if d.strategy() == v1beta1.StrategyABTesting {
		by = 0
	}
	// The first part follows the primary's readiness at once.
	if d.st.Step.Lowered > 0 {
		if due := d.stepBegan().Add(d.interval()); d.Now.Before(due) {
			d.lookAgain(due)
			return
		}
	}
	if serving.StandsIn(d.st) {
		giveCanaryAll(d) // it has all, and gives it back part by part
	}
	if by > 0 && d.st.Step.Weight > by && d.Target.Available > 0 && d.st.Step.Share != v1beta1.ShareMirror {
		d.st.Step.Weight -= by
		d.st.Step.Since = metav1.NewMicroTime(d.Now)
		d.st.Step.Lowered++
		d.waiting = conditions.Promotion(d.Canary, d.st)
		d.event(false, release.ReasonWeightLowered, plan.Percent(d.st.Step.Weight)+" of the traffic stays with the canary, "+d.Canary.PrimaryName()+" has the rest")
		d.lookAgain(d.Now.Add(d.interval()))
		return
	}
	settle(d)
}

// settle plans everything for the primary.
func settle(d *decider) {
	serving.EndSessions(d.st)
	d.st.Step = nil
	d.st.Paused = false
	d.st.Gate = nil
	d.st.Phase = v1beta1.PhaseFinalising
	d.well()
	d.waiting = "waiting for the mesh to lead to " + d.Canary.PrimaryName() + " alone"
}

// finalise waits for the mesh to have given everything to the primary.
func finalise(d *decider) {
	if reactToRevision(d) {
		return
	}
	postRolloutOfFailed(d)
	d.waiting = "waiting for the mesh to lead to " + d.Canary.PrimaryName() + " alone"
	since := d.st.LastTransitionTime.Time
	switch {
	case d.st.CanaryWeight > 0:
		why := "the canary has " + plan.Percent(d.st.CanaryWeight) + " of the traffic until the primary can serve it: " + d.Primary.Message
		d.blocked(since, why)
		d.unwell(why)
		stalledFor(d, release.ReasonPromotionHalted, d.Canary.PrimaryName()+" could not take the traffic back")
	case d.Route.InSync:
		d.well()
		d.st.Phase = v1beta1.PhaseSucceeded
		callPostRollout(d)
		d.event(false, release.ReasonPromoted, "Promoted: "+d.Canary.PrimaryName()+" runs "+d.Primary.Images+" and serves all traffic")
	default:
		d.blocked(since, d.Route.Unshown())
		d.unwell(d.Route.Unshown())
		stalledFor(d, release.ReasonDeadlineExceeded, "the mesh did not show the last route of the release")
	}
}
