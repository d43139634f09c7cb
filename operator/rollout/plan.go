package rollout

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// step is one step of an analysis: what the canary gets while it lasts.
type step struct {
	// weight is the canary's part of share in percent.
	weight int32
	share  v1beta1.Share
}

// plan is the steps of an analysis. Each lasts an interval and ends with a round
// of checks. It is as large for a billion iterations as for one.
type plan struct {
	strategy v1beta1.Strategy
	// matching is true when weights are shares of the requests that match.
	matching bool
	// mirror is the percentage of requests that are copied, first or in each iteration.
	mirror int32
	// weights are the steps with weight, in the order of the spec.
	weights []int32
	// iterations is how many steps there are without weights.
	iterations int32
}

func planOf(a *v1beta1.CanaryAnalysis) plan {
	p := plan{strategy: a.Strategy(), matching: len(a.Match) > 0, mirror: a.GetMirrorWeight()}
	switch p.strategy {
	case v1beta1.StrategyABTesting:
		p.iterations, p.mirror = a.Iterations, 0
	case v1beta1.StrategyBlueGreen:
		p.iterations = a.Iterations
	case v1beta1.StrategyWeighted:
		p.weights = a.Steps()
	}
	return p
}

// Steps is how many steps an analysis has.
func Steps(a *v1beta1.CanaryAnalysis) int32 { return planOf(a).len() }

// mirrorsFirst is true when copies come before users.
func (p plan) mirrorsFirst() bool { return p.strategy == v1beta1.StrategyWeighted && p.mirror > 0 }

func (p plan) len() int32 {
	if p.strategy != v1beta1.StrategyWeighted {
		return p.iterations
	}
	n := int32(len(p.weights)) //nolint:gosec // of the spec
	if p.mirrorsFirst() {
		n++
	}
	return n
}

// at is a step by its index, from 1; one without share outside of the plan.
func (p plan) at(index int32) step {
	switch {
	case index < 1 || index > p.len():
		return step{share: v1beta1.ShareAll}
	case p.strategy == v1beta1.StrategyABTesting:
		return step{weight: 100, share: v1beta1.ShareMatching}
	case p.strategy == v1beta1.StrategyBlueGreen && p.mirror > 0, p.mirrorsFirst() && index == 1:
		return step{weight: p.mirror, share: v1beta1.ShareMirror}
	case p.strategy == v1beta1.StrategyBlueGreen:
		return step{share: v1beta1.ShareAll}
	}
	if p.mirrorsFirst() {
		index--
	}
	return step{weight: p.weights[index-1], share: p.shareOfWeights()}
}

func (p plan) shareOfWeights() v1beta1.Share {
	if p.matching {
		return v1beta1.ShareMatching
	}
	return v1beta1.ShareAll
}

// firstAbove is the index of the first step with more than a weight, one more than
// there are steps if none has.
func (p plan) firstAbove(weight int32) int32 {
	i := slices.IndexFunc(p.weights, func(w int32) bool { return w > weight })
	if i < 0 {
		return p.len() + 1
	}
	if p.mirrorsFirst() {
		i++
	}
	return int32(i) + 1 //nolint:gosec // of the spec
}

// next is the index of the step after the one that a release is at, one more than
// there are steps when the analysis is complete. Where weights are raised, it is the
// weight that counts: one that is no more than the present one is not gone back to.
func (p plan) next(at *v1beta1.StepStatus) int32 {
	switch {
	case at.Index == 0:
		return 1
	case p.strategy == v1beta1.StrategyWeighted && at.Share == v1beta1.ShareMirror:
		return p.firstAbove(0)
	case p.strategy == v1beta1.StrategyWeighted:
		return p.firstAbove(at.Weight)
	default:
		return min(at.Index, p.iterations) + 1
	}
}

// hash names the plan in a status: the way in which it brings the canary in, of
// which the weights of two plans can be compared, then all that its steps are.
func (p plan) hash() string {
	h := fnv.New32a()
	fmt.Fprint(h, p.mirror, p.weights, p.iterations)
	return fmt.Sprintf("%s.%x", p.kind(), h.Sum32())
}

// kind is the same for plans of which one can go on where the other stands.
func (p plan) kind() string {
	switch {
	case p.strategy == v1beta1.StrategyABTesting:
		return "match"
	case p.strategy == v1beta1.StrategyBlueGreen:
		return "bluegreen"
	case p.matching:
		return "weights-of-match"
	default:
		return "weights"
	}
}

func kindOfHash(hash string) string {
	kind, _, _ := strings.Cut(hash, ".")
	return kind
}

// follow has a release go on in a plan that was edited meanwhile: from the weight
// that it has come to, or from the beginning where that means something else by now.
// It returns whether it begins anew.
func (d *decider) follow() bool {
	p, at := d.plan(), d.st.Step
	hash := p.hash()
	switch {
	case at.Plan == hash:
		return false
	case at.Index == 0 || at.Plan == "" || kindOfHash(at.Plan) == p.kind():
		at.Plan = hash
		if at.Index > 0 {
			at.Index = p.position(at)
		}
		return false
	}
	d.event(false, ReasonPlanChanged, "The strategy of the analysis was changed; it begins anew, the canary gets no traffic until it is ready")
	leaveGate(d)
	enterStep(d, 0)
	d.waiting = stepName(d)
	return true
}

// position is the index of the step that a release is at, by its weight.
func (p plan) position(at *v1beta1.StepStatus) int32 {
	if p.strategy != v1beta1.StrategyWeighted {
		return max(min(at.Index, p.iterations), 1)
	}
	if at.Share == v1beta1.ShareMirror {
		return 1
	}
	return max(p.firstAbove(at.Weight)-1, 1)
}

func (d *decider) plan() plan { return planOf(d.Canary.GetAnalysis()) }

func (d *decider) strategy() v1beta1.Strategy { return d.Canary.GetAnalysis().Strategy() }

// stepName says where the analysis is.
func stepName(d *decider) string {
	p := d.plan()
	if index := d.st.Step.Index; index >= 1 && index <= p.len() {
		return progressOf(p, index) + standsInFor(d) + failedSoFar(d)
	}
	return "waiting for the canary to be ready" + standsInFor(d) + failedSoFar(d)
}

// progressOf says which step it is and what traffic does in it.
func progressOf(p plan, index int32) string {
	word := "step"
	if p.strategy != v1beta1.StrategyWeighted {
		word = "iteration"
	}
	at := fmt.Sprintf("%s %d of %d: ", word, index, p.len())
	switch s := p.at(index); {
	case s.share == v1beta1.ShareMirror:
		return at + "the canary gets copies of " + percent(s.weight) + " of the traffic"
	case p.strategy == v1beta1.StrategyABTesting:
		return at + "requests that match go to the canary"
	case s.weight == 0:
		return at + "the canary gets no traffic yet"
	case s.share == v1beta1.ShareMatching:
		return at + percent(s.weight) + " of the requests that match go to the canary"
	default:
		return at + percent(s.weight) + " of the traffic goes to the canary"
	}
}

func standsInFor(d *decider) string {
	if !standsIn(d.st) {
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

func percent(weight int32) string { return fmt.Sprintf("%d%%", weight) }
