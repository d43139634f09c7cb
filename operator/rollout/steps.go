package rollout

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/judgement"
	"github.com/sluice-delivery/sluice/operator/rollout/plan"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
)

// follow has a release go on in a plan that was edited meanwhile: from the weight
// that it has come to, or from the beginning where that means something else by now.
// It returns whether it begins anew.
func (d *decider) follow() bool {
	p, at := d.plan(), d.st.Step
	hash := p.Hash()
	switch {
	case at.Plan == hash:
		return false
	case at.Index == 0 || at.Plan == "" || plan.KindOfHash(at.Plan) == p.Kind():
		at.Plan = hash
		if at.Index > 0 {
			at.Index = p.Position(at)
		}
		return false
	}
	d.event(false, release.ReasonPlanChanged, "The strategy of the analysis was changed; it begins anew, the canary gets no traffic until it is ready")
	leaveGate(d)
	enterStep(d, 0)
	d.waiting = stepName(d)
	return true
}

func (d *decider) plan() plan.Plan { return plan.Of(d.Canary.GetAnalysis()) }

func (d *decider) strategy() v1beta1.Strategy { return d.Canary.GetAnalysis().Strategy() }

// stepName says where the analysis is.
func stepName(d *decider) string {
	p := d.plan()
	if index := d.st.Step.Index; index >= 1 && index <= p.Len() {
		return p.Describe(index) + standsInFor(d) + failedSoFar(d) + judgement.WaitsFor(d.Canary.GetAnalysis(), d.st, d.Now)
	}
	if d.st.Step.Replacing {
		return "waiting for the canary's pods to be replaced, as they may have read ConfigMaps and Secrets as these were before" + standsInFor(d) + failedSoFar(d)
	}
	return "waiting for the canary to be ready" + standsInFor(d) + failedSoFar(d)
}

func standsInFor(d *decider) string {
	if !serving.StandsIn(d.st) {
		return ""
	}
	return ", all traffic goes to the canary as " + d.Canary.PrimaryName() + " can't serve"
}

func failedSoFar(d *decider) string {
	if d.st.FailedChecks == 0 {
		return ""
	}
	return fmt.Sprintf(", %d of %d failed checks", d.st.FailedChecks, d.Canary.GetAnalysis().GetThreshold())
}

// enterStep begins a step of the plan: 0 waits for the canary.
func enterStep(d *decider, index int32) {
	p := d.plan()
	s := p.At(index)
	next := &v1beta1.StepStatus{
		Index: index, Since: metav1.NewMicroTime(d.Now), Plan: p.Hash(), Weight: s.Weight, Share: s.Share, From: serving.Planned(d.st).Weight,
	}
	switch {
	case index == 0: // nothing warms up before it is ready
	case d.st.Step != nil && d.st.Step.Began != nil:
		next.Began = d.st.Step.Began
	default:
		next.Began = microTime(d.Now)
	}
	if index == 0 && d.st.Step != nil && d.st.Step.Replacing {
		next.Replacing, next.Pods = true, d.st.Step.Pods
	}
	d.st.Step = next
	d.st.Gate = nil
	if p.Strategy != v1beta1.StrategyWeighted {
		d.st.Iterations = max(index-1, 0)
	}
	serving.KeepSessions(d.Canary, d.st, d.Now)
}
