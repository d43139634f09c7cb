package simulation

import (
	"math"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// plans are the specs that the operator may go by: the present one, one that its cache may still have, and the one by which the
// present weight was decided, as a route whose write was refused gets that weight when it can be written.
func (o *oracle) plans() []v1beta1.CanarySpec {
	var out []v1beta1.CanarySpec
	for i, s := range o.specs {
		last := i == len(o.specs)-1
		if last || min(time.Since(o.specs[i+1].at), o.weighed.Sub(o.specs[i+1].at)) < o.window() {
			out = append(out, s.spec)
		}
	}
	return out
}

// asked is called for each change of a route that the operator asks for.
func (o *oracle) asked(m *mesh, of providers.Route, before, after providers.Traffic) {
	o.w.trace("operator asks mesh %s for %+v after %+v", m.name, after, before)
	// One that has lost its lease may go by an older status, which the present one makes good. It is looked at what comes of that.
	byFormer := o.w.asking != nil && o.w.asking == o.w.former
	undone := o.undone
	if o.undone = byFormer; byFormer || undone {
		return
	}
	_, primary, canary := of.Canary.ServiceNames()
	o.jump(primary, before, after)
	for _, side := range []struct {
		service, other string
		from, to       int32
	}{{primary, canary, unmatched(before, false), unmatched(after, false)}, {canary, primary, unmatched(before, true), unmatched(after, true)}} {
		// A canary grows with its share, so that only a switch to it needs the pods at once.
		if side.service == primary || side.to == 100 {
			o.capacity(side.service, side.other, side.from, side.to)
		}
	}
}

// unmatched is the share of all requests of the canary, or of the primary.
func unmatched(t providers.Traffic, canary bool) int32 {
	switch {
	case canary && t.Matched:
		return 0
	case canary:
		return t.Canary
	case t.Matched:
		return 100
	default:
		return t.Primary
	}
}

// jump finds raises by more than one step. The canary may stand in for a primary that can't carry its share, and for one
// that is without a pod while it changes.
func (o *oracle) jump(primary string, before, after providers.Traffic) {
	from, to := unmatched(before, true), unmatched(after, true)
	c := o.w.canary()
	if to <= from || c == nil {
		return
	}
	if standIn := o.least(primary) < max(1, (o.most(primary)+1)/2) || o.least(primary) == 0; standIn {
		return
	}
	if d := o.target; to == 100 && c.Status.Phase == v1beta1.PhasePromoting && d != nil && interrupted(d) {
		return
	}
	// A promotion that halts takes what is left of the primary out of the way where that is far from enough for its share.
	if d := o.w.deployment(c.PrimaryName()); to == 100 && c.Status.Phase == v1beta1.PhasePromoting && d != nil &&
		float64(o.least(primary)) < float64(*d.Spec.Replicas)*float64(100-from)/100*3/4 {
		return
	}
	for _, spec := range o.plans() {
		if to <= next(spec, from, c.Status.Phase) {
			return
		}
	}
	o.fail("the canary's weight jumps from %d to %d in phase %s", from, to, c.Status.Phase)
}

// next is the weight that may come after a weight.
func next(spec v1beta1.CanarySpec, from int32, phase v1beta1.CanaryPhase) int32 {
	a := (&v1beta1.Canary{Spec: spec}).GetAnalysis()
	switch a.Strategy() {
	case v1beta1.StrategyBlueGreen:
		if phase == v1beta1.PhasePromoting {
			return 100
		}
	case v1beta1.StrategyWeighted:
		for _, w := range a.Steps() {
			if w > from {
				return w
			}
		}
	case v1beta1.StrategyABTesting:
	}
	return from
}

// interrupted tells whether a Deployment may be without a pod while it changes.
func interrupted(d *appsv1.Deployment) bool {
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return true
	}
	one := d.DeepCopy()
	surge, unavailable := bounds(one)
	return surge == 0 && unavailable >= 1 || unavailable >= int(*d.Spec.Replicas)
}

// capacity finds a side that is given a share that it has not half the pods for, from a side that has them.
func (o *oracle) capacity(service, other string, from, to int32) {
	if to <= from {
		return
	}
	n := min(max(o.pods(service), o.pods(other)), o.allowed())
	need := func(share int32) float64 { return float64(n) * float64(share) / 100 }
	if c := o.w.canary(); c != nil && c.Status.Phase == v1beta1.PhaseFailed {
		return // what is bad is worse than what is small
	}
	enough := float64(o.most(service)) >= need(to)/2
	has := o.least(other)
	kept := float64(has) >= need(100-from)/2 && has > 0
	before := float64(o.most(service)) >= need(from)/2 // or it was too small for what it had
	if !enough && kept && before {
		o.fail("%s is given %d%% after %d%% of the requests with %d pods, while %s has %d", service, to, from, o.most(service), other, o.pods(other))
	}
}

// allowed is how many pods are enough for everything, whatever others there are: what people let the primary have at most, that is
// what somebody has scaled it to or has asked for in Git, as long as that is its number, and the maximum of its autoscaler; and where it has none, as many as
// have served everything.
func (o *oracle) allowed() int {
	w, most := o.w, math.MaxInt32
	if !w.plan.HPA && o.sufficed > 0 {
		most = o.sufficed
	}
	if d := w.deployment("podinfo-primary"); d != nil && w.byHand > 0 && *d.Spec.Replicas == w.byHand {
		most = min(most, int(w.byHand))
	}
	if d := w.deployment("podinfo-primary"); d != nil && w.asked > 0 && *d.Spec.Replicas == w.asked {
		most = min(most, int(w.asked))
	}
	if h := get[*autoscalingv2.HorizontalPodAutoscaler](w.store, "HorizontalPodAutoscaler", "podinfo"); h != nil {
		most = min(most, int(h.Spec.MaxReplicas))
	}
	return most
}
