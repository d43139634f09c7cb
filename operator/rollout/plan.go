package rollout

import (
	"fmt"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// step is one step of an analysis: the traffic while it lasts.
type step struct {
	// weight is the canary's share in percent; in A/B testing of the requests
	// that match.
	weight int32
	// mirror is the percentage of the primary's requests that the canary gets a
	// copy of.
	mirror int32
}

// plan lists the steps of an analysis. Each lasts an interval and ends with a
// round of checks.
func plan(a *v1beta1.CanaryAnalysis) []step {
	mirror := a.GetMirrorWeight()
	switch a.Strategy() {
	case v1beta1.StrategyABTesting:
		return repeat(step{weight: 100}, a.Iterations)
	case v1beta1.StrategyBlueGreen:
		return repeat(step{mirror: mirror}, a.Iterations)
	case v1beta1.StrategyWeighted:
	}
	var steps []step
	if mirror > 0 {
		steps = append(steps, step{mirror: mirror}) // copies come before users
	}
	for _, weight := range a.Steps() {
		steps = append(steps, step{weight: weight})
	}
	return steps
}

// Steps is how many steps an analysis has.
func Steps(a *v1beta1.CanaryAnalysis) int32 { return int32(len(plan(a))) } //nolint:gosec // of the spec

func repeat(s step, n int32) []step {
	steps := make([]step, n)
	for i := range steps {
		steps[i] = s
	}
	return steps
}

// next is the index, from 1, of the step after the present one; one more than
// there are steps when the analysis is complete. The spec may have been edited
// in mid-analysis: weights that were already passed are not gone back to.
func (d *decider) next(steps []step) int32 {
	index := d.st.Step.Index
	passed := d.plannedWeight(steps)
	if d.strategy() == v1beta1.StrategyWeighted && passed > 0 {
		for int(index) < len(steps) && steps[index].weight <= passed {
			index++
		}
	}
	return index + 1
}

// plannedWeight is the weight of the present step, whatever takeover has made
// of it.
func (d *decider) plannedWeight(steps []step) int32 {
	if !d.st.Step.Takeover {
		return d.st.CanaryWeight
	}
	if i := int(d.st.Step.Index); i >= 1 && i <= len(steps) {
		return steps[i-1].weight
	}
	return 0
}

// indexOf finds the step that a status without one is at, as another operator
// has written it: the step whose traffic it has is gone through once more. Its
// iterations count those that were begun.
func (d *decider) indexOf() int32 {
	steps := d.steps()
	if d.strategy() != v1beta1.StrategyWeighted {
		if d.st.CanaryWeight == 0 && d.st.Iterations == 0 {
			return 0
		}
		return min(max(d.st.Iterations, 1), int32(len(steps))) //nolint:gosec // spec.analysis.iterations
	}
	index := int32(0)
	for i, s := range steps {
		if s.weight > 0 && s.weight <= d.st.CanaryWeight {
			index = int32(i) + 1 //nolint:gosec // at most 101 steps
		}
	}
	if d.st.CanaryWeight > 0 {
		index = max(index, 1)
	}
	return index
}

func (d *decider) steps() []step { return plan(d.Canary.GetAnalysis()) }

func (d *decider) strategy() v1beta1.Strategy { return d.Canary.GetAnalysis().Strategy() }

// stepName says where the analysis is.
func (d *decider) stepName() string {
	steps := d.steps()
	index := d.st.Step.Index
	if index < 1 || int(index) > len(steps) {
		return "waiting for the canary to be ready" + d.allToCanary() + d.failedSoFar()
	}
	return d.progressOf(index, steps) + d.allToCanary() + d.failedSoFar()
}

// progressOf says which step it is and what traffic does in it.
func (d *decider) progressOf(index int32, steps []step) string {
	word := "step"
	if d.strategy() != v1beta1.StrategyWeighted {
		word = "iteration"
	}
	at := fmt.Sprintf("%s %d of %d: ", word, index, len(steps))
	switch s := steps[index-1]; {
	case s.mirror > 0:
		return at + "the canary gets copies of " + percent(s.mirror) + " of the traffic"
	case d.strategy() == v1beta1.StrategyABTesting:
		return at + "requests that match go to the canary"
	case s.weight == 0:
		return at + "the canary gets no traffic yet"
	case len(d.Canary.GetAnalysis().Match) > 0:
		return at + percent(s.weight) + " of the requests that match go to the canary"
	default:
		return at + percent(s.weight) + " of the traffic goes to the canary"
	}
}

func (d *decider) allToCanary() string {
	if !d.st.Step.Takeover {
		return ""
	}
	return ", all traffic goes to the canary as " + d.Canary.PrimaryName() + " can't serve"
}

func (d *decider) failedSoFar() string {
	if d.st.FailedChecks == 0 {
		return ""
	}
	return fmt.Sprintf(", %d of %d failed checks", d.st.FailedChecks, d.Canary.GetAnalysis().GetThreshold())
}

func percent(weight int32) string { return fmt.Sprintf("%d%%", weight) }
