package rollout_test

import (
	"testing"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/operator/rollout/plan"
)

func TestEditedPlans(t *testing.T) {
	weights := func(w ...int32) func(*v1beta1.CanaryAnalysis) {
		return func(a *v1beta1.CanaryAnalysis) { a.StepWeights, a.StepWeight, a.MaxWeight, a.Iterations = w, 0, 0, 0 }
	}
	plan := func(edit func(*v1beta1.CanaryAnalysis)) *scene {
		return newScene().with(func(o *release.Observation) { edit(o.Canary.Spec.Analysis) })
	}
	for name, tc := range map[string]struct {
		scene      *scene
		edit       func(*v1beta1.CanaryAnalysis)
		wantWeight int32
		wantStep   int32 // -1: promoted
		matched    bool
	}{
		"fewer, larger steps": {
			plan(weights(1, 2, 3, 4, 5, 10, 20, 50)).step(3, 3, 10*time.Second),
			func(a *v1beta1.CanaryAnalysis) { a.StepWeights, a.StepWeight, a.MaxWeight = nil, 25, 100 }, 25, 1, false,
		},
		"three larger steps":   {plan(weights(1, 2, 3, 4, 5, 6, 7, 8, 9)).step(8, 8, 10*time.Second), weights(10, 50, 100), 10, 1, false},
		"more, smaller steps":  {plan(weights(30, 60)).step(1, 30, 10*time.Second), weights(10, 20, 30, 40, 50), 40, 4, false},
		"all steps are passed": {plan(weights(30, 60)).step(2, 60, 10*time.Second), weights(10, 20, 50), 60, -1, false},
		"blue/green to weights": {
			newScene().iterations(10, false).step(5, 0, 10*time.Second), weights(10, 20), 0, 0, false,
		},
		"weights to blue/green": {
			newScene().step(2, 40, 10*time.Second), func(a *v1beta1.CanaryAnalysis) { a.StepWeight, a.MaxWeight, a.Iterations = 0, 0, 5 }, 0, 0, false,
		},
		"A/B test to blue/green": {newScene().iterations(10, true).step(1, 100, 10*time.Second), func(a *v1beta1.CanaryAnalysis) { a.Match = nil }, 0, 0, false},
		"A/B test to weights": {
			newScene().iterations(10, true).step(1, 100, 10*time.Second), func(a *v1beta1.CanaryAnalysis) { a.Match, a.Iterations, a.StepWeight = nil, 0, 10 }, 0, 0, false,
		},
		"weights to an A/B test": {
			newScene().step(2, 40, 10*time.Second), func(a *v1beta1.CanaryAnalysis) { a.Iterations, a.Match = 3, []v1beta1.RawObject{{}} }, 0, 0, false,
		},
		"all to those that match": {newScene().step(2, 40, 10*time.Second), func(a *v1beta1.CanaryAnalysis) { a.Match = []v1beta1.RawObject{{}} }, 0, 0, false},
		"more iterations": {
			newScene().iterations(5, true).step(4, 100, 10*time.Second), func(a *v1beta1.CanaryAnalysis) { a.Iterations = 2147483647 }, 100, 5, true,
		},
		"fewer iterations": {newScene().iterations(9, true).step(6, 100, 10*time.Second), func(a *v1beta1.CanaryAnalysis) { a.Iterations = 3 }, 100, -1, true},
		"a mirror before":  {newScene().step(2, 40, 10*time.Second), func(a *v1beta1.CanaryAnalysis) { a.Mirror = true }, 60, 4, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := tc.scene.persisted()
			tc.edit(s.Canary.Spec.Analysis)
			if tc.wantStep != 0 { // the edit is seen, and the next round is of the step as it is now
				s.persisted()
			}
			s.checked(v1beta1.CheckPassed, 0)
			d := rollout.Decide(s.Observation)
			step := int32(-1)
			if d.Status.Phase == v1beta1.PhaseProgressing {
				step = d.Status.Step.Index
			}
			if d.Status.CanaryWeight != tc.wantWeight || step != tc.wantStep || d.Desired.Traffic.Matched != tc.matched {
				t.Errorf("%s at step %d with weight %d, matched %t; want step %d with %d, %t; %v", d.Status.Phase, step, d.Status.CanaryWeight,
					d.Desired.Traffic.Matched, tc.wantStep, tc.wantWeight, tc.matched, d.Events)
			}
		})
	}
}

func TestHandOverToAnEditedPlan(t *testing.T) {
	s := newScene().with(func(o *release.Observation) {
		a := o.Canary.Spec.Analysis
		a.StepWeights, a.StepWeight, a.MaxWeight = []int32{1, 2, 3, 4, 5, 50}, 0, 0
	}).step(3, 3, time.Second).persisted().primaryAvailable(0).persisted()
	if s.Canary.Status.CanaryWeight != 100 {
		t.Fatalf("weight %d", s.Canary.Status.CanaryWeight)
	}
	s.Canary.Spec.Analysis.StepWeights = []int32{30, 60, 90, 100}
	s.Primary.Available, s.Primary.Ready = 2, true
	if d := rollout.Decide(s.Observation); d.Status.CanaryWeight != 3 {
		t.Errorf("the primary is back and gets %d%%; before it was lost it had 97%%", 100-d.Status.CanaryWeight)
	}
}

func TestHugeIterations(t *testing.T) {
	for name, s := range map[string]*scene{
		"blue/green": newScene().iterations(2147483647, false).step(1, 0, time.Second),
		"A/B":        newScene().iterations(2147483647, true).step(2147483646, 100, 10*time.Second).checked(v1beta1.CheckPassed, 0),
	} {
		t.Run(name, func(t *testing.T) {
			if n := testing.AllocsPerRun(1, func() { rollout.Decide(s.Observation) }); n > 1000 {
				t.Errorf("%.0f allocations", n)
			}
			if steps := plan.Steps(s.Canary.Spec.Analysis); steps != 2147483647 {
				t.Errorf("%d steps", steps)
			}
		})
	}
}
