// Package plan is how an analysis brings a canary in: its steps, and where in them a release is.
// It allocates nothing by a number in a spec.
package plan

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Step is one step of an analysis: what the canary gets while it lasts.
type Step struct {
	// Weight is the canary's part of share in percent.
	Weight int32
	// Share is what the weight is a part of: all requests, those that match, or copies.
	Share v1beta1.Share
}

// Plan is the steps of an analysis. Each lasts an interval and ends with a round
// of checks. It is as large for a billion iterations as for one.
type Plan struct {
	// Strategy is how the canary is brought in.
	Strategy v1beta1.Strategy
	// matching is true when weights are shares of the requests that match.
	matching bool
	// mirror is the percentage of requests that are copied, first or in each iteration.
	mirror int32
	// weights are the steps with weight, in the order of the spec.
	weights []int32
	// iterations is how many steps there are without weights.
	iterations int32
}

// Of is the plan of an analysis.
func Of(a *v1beta1.CanaryAnalysis) Plan {
	p := Plan{Strategy: a.Strategy(), matching: len(a.Match) > 0, mirror: a.GetMirrorWeight()}
	switch p.Strategy {
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
func Steps(a *v1beta1.CanaryAnalysis) int32 { return Of(a).Len() }

// mirrorsFirst is true when copies come before users.
func (p Plan) mirrorsFirst() bool { return p.Strategy == v1beta1.StrategyWeighted && p.mirror > 0 }

// Len is how many steps there are.
func (p Plan) Len() int32 {
	if p.Strategy != v1beta1.StrategyWeighted {
		return p.iterations
	}
	n := int32(len(p.weights)) //nolint:gosec // of the spec
	if p.mirrorsFirst() {
		n++
	}
	return n
}

// At is a step by its index, from 1; one without share outside of the plan.
func (p Plan) At(index int32) Step {
	switch {
	case index < 1 || index > p.Len():
		return Step{Share: v1beta1.ShareAll}
	case p.Strategy == v1beta1.StrategyABTesting:
		return Step{Weight: 100, Share: v1beta1.ShareMatching}
	case p.Strategy == v1beta1.StrategyBlueGreen && p.mirror > 0, p.mirrorsFirst() && index == 1:
		return Step{Weight: p.mirror, Share: v1beta1.ShareMirror}
	case p.Strategy == v1beta1.StrategyBlueGreen:
		return Step{Share: v1beta1.ShareAll}
	}
	if p.mirrorsFirst() {
		index--
	}
	return Step{Weight: p.weights[index-1], Share: p.shareOfWeights()}
}

func (p Plan) shareOfWeights() v1beta1.Share {
	if p.matching {
		return v1beta1.ShareMatching
	}
	return v1beta1.ShareAll
}

// FirstAbove is the index of the first step with more than a weight, one more than
// there are steps if none has.
func (p Plan) FirstAbove(weight int32) int32 {
	i := slices.IndexFunc(p.weights, func(w int32) bool { return w > weight })
	if i < 0 {
		return p.Len() + 1
	}
	if p.mirrorsFirst() {
		i++
	}
	return int32(i) + 1 //nolint:gosec // of the spec
}

// Next is the index of the step after the one that a release is at, one more than
// there are steps when the analysis is complete. Where weights are raised, it is the
// weight that counts: one that is no more than the present one is not gone back to.
func (p Plan) Next(at *v1beta1.StepStatus) int32 {
	switch {
	case at.Index == 0:
		return 1
	case p.Strategy == v1beta1.StrategyWeighted && at.Share == v1beta1.ShareMirror:
		return p.FirstAbove(0)
	case p.Strategy == v1beta1.StrategyWeighted:
		return p.FirstAbove(at.Weight)
	default:
		return min(at.Index, p.iterations) + 1
	}
}

// LeavesNobody tells whether what comes after the step that a release is at leaves the primary no requests: a promotion, and as
// much a step in which the canary has all of them.
func (p Plan) LeavesNobody(at *v1beta1.StepStatus) bool {
	index := p.Next(at)
	next := p.At(index)
	return index > p.Len() || next.Weight == 100 && next.Share == v1beta1.ShareAll
}

// Hash names the plan in a status: the way in which it brings the canary in, of
// which the weights of two plans can be compared, then all that its steps are.
func (p Plan) Hash() string {
	h := fnv.New32a()
	fmt.Fprint(h, p.mirror, p.weights, p.iterations)
	return fmt.Sprintf("%s.%x", p.Kind(), h.Sum32())
}

// Kind is the same for plans of which one can go on where the other stands.
func (p Plan) Kind() string {
	switch {
	case p.Strategy == v1beta1.StrategyABTesting:
		return "match"
	case p.Strategy == v1beta1.StrategyBlueGreen:
		return "bluegreen"
	case p.matching:
		return "weights-of-match"
	default:
		return "weights"
	}
}

// KindOfHash is the Kind of the plan that a Hash names.
func KindOfHash(hash string) string {
	kind, _, _ := strings.Cut(hash, ".")
	return kind
}

// Position is the index of the step that a release is at, by its weight.
func (p Plan) Position(at *v1beta1.StepStatus) int32 {
	if p.Strategy != v1beta1.StrategyWeighted {
		return max(min(at.Index, p.iterations), 1)
	}
	if at.Share == v1beta1.ShareMirror {
		return 1
	}
	return max(p.FirstAbove(at.Weight)-1, 1)
}

// Describe says which step it is and what traffic does in it, for people.
func (p Plan) Describe(index int32) string {
	word := "step"
	if p.Strategy != v1beta1.StrategyWeighted {
		word = "iteration"
	}
	at := fmt.Sprintf("%s %d of %d: ", word, index, p.Len())
	switch s := p.At(index); {
	case s.Share == v1beta1.ShareMirror:
		return at + "the canary gets copies of " + Percent(s.Weight) + " of the traffic"
	case p.Strategy == v1beta1.StrategyABTesting:
		return at + "requests that match go to the canary"
	case s.Weight == 0:
		return at + "the canary gets no traffic yet"
	case s.Share == v1beta1.ShareMatching:
		return at + Percent(s.Weight) + " of the requests that match go to the canary"
	default:
		return at + Percent(s.Weight) + " of the traffic goes to the canary"
	}
}

// Percent writes a weight for people.
func Percent(weight int32) string { return fmt.Sprintf("%d%%", weight) }
