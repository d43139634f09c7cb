package rollout_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

// persisted is the scene after a turn in which nothing happened, so that its status is one that this
// version wrote.
func (s *scene) persisted() *scene {
	checks, actions := s.Checks, s.Actions
	s.Checks, s.Actions = nil, nil
	s.Canary.Status = rollout.Decide(s.Observation).Status
	s.Checks, s.Actions = checks, actions
	return s
}

func mistake(o *rollout.Observation) {
	o.Mistake = &rollout.Mistake{Reason: "InvalidSpec", Message: "spec.analysis.metrics[0].templateRef: there is no MetricTemplate errors"}
}

func suspended(o *rollout.Observation) { o.Canary.Spec.Suspend = true }

func targetGone(o *rollout.Observation) {
	o.Target = rollout.Workload{}
	o.Mistake = &rollout.Mistake{Reason: "TargetMissing", Message: "there is no Deployment podinfo"}
}

func canaryCrashed(o *rollout.Observation) { o.Target.Available, o.Target.Ready = 0, false }

// What holds a rollout stops its progress and never its safety.
func TestHeldReleasesStaySafe(t *testing.T) {
	const deadline = 10 * time.Minute
	for name, tc := range map[string]struct {
		scene      *scene
		wantPhase  v1beta1.CanaryPhase
		wantWeight int32
		wantEvent  string
	}{
		"a mistake":                        {newScene().step(2, 40, time.Second).persisted().with(mistake), v1beta1.PhaseProgressing, 40, "InvalidSpec"},
		"the target is deleted":            {newScene().step(2, 40, time.Second).persisted().with(targetGone), v1beta1.PhaseProgressing, 0, rollout.ReasonCanaryUnavailable},
		"a mistake and the canary crashes": {newScene().step(2, 40, time.Second).persisted().with(mistake).with(canaryCrashed), v1beta1.PhaseProgressing, 0, rollout.ReasonCanaryUnavailable},
		"suspended and the canary crashes": {newScene().step(2, 40, time.Second).persisted().with(suspended).with(canaryCrashed), v1beta1.PhaseProgressing, 0, rollout.ReasonCanaryUnavailable},
		"suspended and the primary is lost": {
			newScene().step(2, 40, time.Second).persisted().with(suspended).primaryAvailable(0), v1beta1.PhaseProgressing, 100, rollout.ReasonPrimaryUnavailable,
		},
		"a mistake and the primary is lost, at rest": {
			newScene().targetAt(revA, 2).persisted().with(mistake).primaryAvailable(0), v1beta1.PhaseInitialized, 100, rollout.ReasonPrimaryUnavailable,
		},
		"a mistake in a promotion, and the canary crashes": {
			newScene().promoting(60, time.Second).persisted().with(mistake).with(canaryCrashed), v1beta1.PhasePromoting, 0, rollout.ReasonCanaryUnavailable,
		},
		"a mistake for longer than the deadline": {newScene().step(2, 40, time.Hour).unwell(deadline).with(mistake), v1beta1.PhaseFailed, 0, rollout.ReasonDeadlineExceeded},
		"suspended for longer than the deadline": {newScene().step(2, 40, time.Hour).unwell(deadline).with(suspended), v1beta1.PhaseProgressing, 40, rollout.ReasonSuspended},
		"a rollback hook asks":                   {newScene().step(2, 40, time.Second).hooked(v1beta1.RollbackHook).answered(v1beta1.RollbackHook, 0, passed).with(mistake), v1beta1.PhaseFailed, 0, rollout.ReasonRollbackAsked},
		"a rollback hook asks, suspended":        {newScene().step(2, 40, time.Second).hooked(v1beta1.RollbackHook).answered(v1beta1.RollbackHook, 0, passed).with(suspended), v1beta1.PhaseFailed, 0, rollout.ReasonRollbackAsked},
		"somebody aborts":                        {newScene().step(2, 40, time.Second).asked(v1beta1.ActionAbort).with(mistake), v1beta1.PhaseFailed, 0, rollout.ReasonAborted},
		"somebody wants it promoted":             {newScene().step(2, 40, time.Second).asked(v1beta1.ActionPromote).with(mistake), v1beta1.PhaseProgressing, 40, "InvalidSpec"},
		"the target is set back":                 {newScene().step(2, 40, time.Second).targetAt(revA, 2).with(mistake), v1beta1.PhaseFinalising, 0, rollout.ReasonReverted},
		"checks that failed do not count":        {newScene().step(2, 40, 10*time.Second).failed(2).checked(v1beta1.CheckFailed, 0).with(mistake), v1beta1.PhaseProgressing, 40, "InvalidSpec"},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			if d.Status.Phase != tc.wantPhase || d.Status.CanaryWeight != tc.wantWeight {
				t.Errorf("%s with weight %d, want %s with %d", d.Status.Phase, d.Status.CanaryWeight, tc.wantPhase, tc.wantWeight)
			}
			if d.Desired.Hold || !d.Desired.Routed || d.Desired.Traffic.Canary != tc.wantWeight {
				t.Errorf("the mesh is asked for %+v (hold %t, routed %t)", d.Desired.Traffic, d.Desired.Hold, d.Desired.Routed)
			}
			if !slices.Contains(outcomeOf(d).Events, tc.wantEvent) {
				t.Errorf("events %v, want %s", outcomeOf(d).Events, tc.wantEvent)
			}
			if d.Desired.PrimaryRevision != "" || d.Desired.TargetReplicas != nil || d.RunChecks != nil {
				t.Errorf("it goes on: %+v, checks %v", d.Desired, d.RunChecks)
			}
			if tc.scene.Mistake == nil {
				return
			}
			if c := d.Status.GetCondition(v1beta1.ConditionStalled); c == nil || c.Reason != tc.scene.Mistake.Reason {
				t.Errorf("Stalled is %+v", c)
			}
		})
	}
}

// A canary that stood without pods while the release was held begins again at weight 0.
func TestNoJumpAfterHold(t *testing.T) {
	for name, s := range map[string]*scene{
		"analysis":  newScene().step(3, 60, time.Second),
		"promotion": newScene().promoting(60, time.Second),
	} {
		t.Run(name, func(t *testing.T) {
			s.persisted().with(mistake).with(canaryCrashed).persisted()
			s.Target = ready(revB, 2)
			s.Mistake = nil
			if d := rollout.Decide(s.Observation); d.Status.CanaryWeight > 20 {
				t.Errorf("weight %d at once", d.Status.CanaryWeight)
			}
		})
	}
}

// TestDeadlinesStandStill: a deadline counts the time in which the release could have gone on.
func TestDeadlinesStandStill(t *testing.T) {
	const deadline = 10 * time.Minute
	gated := func(s *scene) *scene {
		s.atGate(v1beta1.ConfirmTrafficIncreaseHook)
		s.Canary.Status.Gate.Since = metav1.NewMicroTime(t0.Add(-time.Hour))
		return s
	}
	for name, tc := range map[string]struct {
		scene    *scene
		wantBack bool
	}{
		"unready for the deadline": {newScene().step(1, 20, time.Hour).unwell(deadline).targetAvailable(1), true},
		"unready for less":         {newScene().step(1, 20, time.Hour).unwell(deadline - time.Second).targetAvailable(1), false},
		"unready since now":        {newScene().step(1, 20, time.Hour).targetAvailable(1), false},
		"paused":                   {newScene().step(1, 20, time.Hour).unwell(deadline).targetAvailable(1).paused(), false},
		"resumed after two hours with one pod unready": {newScene().step(1, 20, 2*time.Hour).unwell(2 * time.Hour).targetAvailable(1).paused().asked(v1beta1.ActionResume), false},
		"resumed, and Prometheus was mended meanwhile": {
			newScene().step(1, 20, 20*time.Minute).unwell(20*time.Minute).checked(v1beta1.CheckUnavailable, 19*time.Minute).paused().asked(v1beta1.ActionResume), false,
		},
		"at a gate for an hour, then a pod moves": {gated(newScene().step(0, 0, time.Hour)).targetAvailable(1), false},
		"somebody has touched the route":          {newScene().step(1, 20, time.Hour).outOfSync(), false},
		"no operator was there": {newScene().step(1, 20, time.Hour).unwell(time.Hour).targetAvailable(1).with(func(o *rollout.Observation) {
			o.Absence = rollout.Absence{From: t0.Add(-55 * time.Minute), To: t0.Add(-time.Minute)}
		}), false},
		"no operator was there for a part of it": {newScene().step(1, 20, time.Hour).unwell(time.Hour).targetAvailable(1).with(func(o *rollout.Observation) {
			o.Absence = rollout.Absence{From: t0.Add(-50 * time.Minute), To: t0.Add(-time.Minute)}
		}), true},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			if back := d.Status.Phase == v1beta1.PhaseFailed; back != tc.wantBack {
				t.Errorf("rolled back: %t; %v", back, d.Events)
			}
		})
	}
}

// TestOldAnswersDoNotCount: a check is about the window of the present step, and about now.
func TestOldAnswersDoNotCount(t *testing.T) {
	for name, s := range map[string]*scene{
		"passed eight hours ago, resumed now": newScene().step(1, 20, 8*time.Hour).checked(v1beta1.CheckPassed, 8*time.Hour-10*time.Second).paused().asked(v1beta1.ActionResume),
		"passed eight hours ago, suspended":   newScene().step(1, 20, 8*time.Hour).checked(v1beta1.CheckPassed, 8*time.Hour-10*time.Second),
		"of before the route was there": newScene().step(1, 20, time.Minute).checked(v1beta1.CheckPassed, 15*time.Second).with(func(o *rollout.Observation) {
			o.Route.Since = t0.Add(-11 * time.Second)
		}),
		"of another window": newScene().step(1, 20, 10*time.Second).checked(v1beta1.CheckPassed, 0).with(func(o *rollout.Observation) { o.Checks.ID.Window-- }),
		"of another try":    newScene().step(1, 20, 10*time.Second).checked(v1beta1.CheckPassed, 0).with(func(o *rollout.Observation) { o.Checks.ID.Attempt-- }),
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(s.Observation)
			if d.Status.CanaryWeight != 20 || d.Status.Step.Index != 1 {
				t.Errorf("step %d with weight %d", d.Status.Step.Index, d.Status.CanaryWeight)
			}
		})
	}
}

// A leader whose clock is behind that of the one before calls no hook twice.
func TestClockBehind(t *testing.T) {
	s := newScene().step(0, 0, -5*time.Second).hooked(v1beta1.PreRolloutHook)
	calls := 0
	for range 100 {
		d := rollout.Decide(s.Observation)
		for _, id := range d.CallHooks {
			calls++
			s.Hooks = map[v1beta1.HookType]*rollout.CheckRun{id.Hooks: {ID: id, At: s.Now, Results: []v1beta1.CheckStatus{{Name: "h", Verdict: v1beta1.CheckPassed}}}}
		}
		s.Canary.Status = d.Status
		s.Now = s.Now.Add(2 * time.Millisecond)
	}
	if calls != 1 {
		t.Errorf("the pre-rollout hook, which answers with success, was called %d times in 200 ms", calls)
	}
}

// A failed round is judged before the gate that the release waits at is found open.
func TestFailedRoundAtAnOpenGate(t *testing.T) {
	s := newScene().rounds(1, 20, failed).atGate(v1beta1.ConfirmTrafficIncreaseHook).answered(v1beta1.ConfirmTrafficIncreaseHook, 0, passed)
	if d := rollout.Decide(s.Observation); d.Status.CanaryWeight > 20 || d.Status.FailedChecks != 1 {
		t.Errorf("weight %d with %d failed checks", d.Status.CanaryWeight, d.Status.FailedChecks)
	}
}

// TestEditedPlans edits the analysis in mid-release: the weight goes on from where it is, or the analysis
// begins anew where the edit means something else.
func TestEditedPlans(t *testing.T) {
	weights := func(w ...int32) func(*v1beta1.CanaryAnalysis) {
		return func(a *v1beta1.CanaryAnalysis) { a.StepWeights, a.StepWeight, a.MaxWeight, a.Iterations = w, 0, 0, 0 }
	}
	plan := func(edit func(*v1beta1.CanaryAnalysis)) *scene {
		return newScene().with(func(o *rollout.Observation) { edit(o.Canary.Spec.Analysis) })
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

// What stood in for the primary gives back what its step plans, in the plan that there is by now.
func TestHandOverToAnEditedPlan(t *testing.T) {
	s := newScene().with(func(o *rollout.Observation) {
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

// A threshold that is lowered to what has failed already rolls back at the next look, as people know it.
func TestThresholdLowered(t *testing.T) {
	s := newScene().step(1, 20, 10*time.Second).failed(2).persisted()
	s.Canary.Spec.Analysis.Threshold = 2
	s.checked(v1beta1.CheckPassed, 0)
	if d := rollout.Decide(s.Observation); d.Status.Phase != v1beta1.PhaseFailed || d.Status.CanaryWeight != 0 {
		t.Errorf("%s with weight %d", d.Status.Phase, d.Status.CanaryWeight)
	}
}

// TestCapacity: whoever is to take everything must have the pods for it.
func TestCapacity(t *testing.T) {
	ten := func(o *rollout.Observation) { o.Primary.Replicas, o.Primary.Available = 10, 10 }
	for name, tc := range map[string]struct {
		scene        *scene
		wantPhase    v1beta1.CanaryPhase
		wantWeight   int32
		wantReplicas int32 // -1: kept
	}{
		"blue/green onto one pod": {
			newScene().iterations(1, false).step(1, 0, time.Minute).with(ten).targetAt(revB, 1).checked(v1beta1.CheckPassed, 0), v1beta1.PhaseProgressing, 0, 10,
		},
		"blue/green onto ten": {
			newScene().iterations(1, false).step(1, 0, time.Minute).with(ten).targetAt(revB, 10).checked(v1beta1.CheckPassed, 0), v1beta1.PhasePromoting, 100, -1,
		},
		"Recreate onto one pod": {
			newScene().step(3, 60, time.Minute).with(ten).with(restarts).targetAt(revB, 1).checked(v1beta1.CheckPassed, 0), v1beta1.PhaseProgressing, 60, 10,
		},
		"for ever onto one pod": {
			newScene().iterations(1, false).step(1, 0, time.Hour).unwell(10*time.Minute).with(ten).targetAt(revB, 1).checked(v1beta1.CheckPassed, 0), v1beta1.PhaseFailed, 0, -1,
		},
		"a promotion halts with 9 of 10 pods, the canary has 2": {
			newScene().promoting(50, time.Hour).unwell(10*time.Minute).primaryAt(revB).with(ten).targetAt(revB, 2).primaryAvailable(9), v1beta1.PhasePromoting, 50, -1,
		},
		"a promotion halts with 1 of 10 pods, the canary has 10": {
			newScene().promoting(50, time.Hour).unwell(10*time.Minute).primaryAt(revB).with(ten).targetAt(revB, 10).primaryAvailable(1), v1beta1.PhasePromoting, 100, -1,
		},
		"another revision in a promotion with 1 of 10 pods": {
			newScene().promoting(50, time.Second).primaryAt(revB).with(ten).primaryAvailable(1).targetAt(revC, 10).targetAvailable(10), v1beta1.PhaseProgressing, 50, -1,
		},
		"a ready primary with 9 of 10 pods, by its threshold": {
			newScene().promoting(60, time.Hour).unwell(10*time.Minute).primaryAt(revB).targetAt(revB, 10).with(func(o *rollout.Observation) {
				o.Primary.Replicas, o.Primary.Available, o.Primary.Ready = 10, 9, true
			}), v1beta1.PhaseFinalising, 0, -1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			replicas := int32(-1)
			if d.Desired.TargetReplicas != nil {
				replicas = *d.Desired.TargetReplicas
			}
			if d.Status.Phase != tc.wantPhase || d.Status.CanaryWeight != tc.wantWeight || replicas != tc.wantReplicas {
				t.Errorf("%s with weight %d and %d pods wanted; want %s, %d, %d; %v", d.Status.Phase, d.Status.CanaryWeight, replicas,
					tc.wantPhase, tc.wantWeight, tc.wantReplicas, d.Events)
			}
		})
	}
}

// TestPrimaryDeleted: whoever deletes the primary gets it back as it was, or is told that it can't be had.
func TestPrimaryDeleted(t *testing.T) {
	lost := func(o *rollout.Observation) {
		o.Canary.Status.PrimaryReplicas = 10
		o.Primary = rollout.Workload{}
		o.Route.Has = &rollout.Traffic{Canary: o.Canary.Status.CanaryWeight}
	}
	failedRelease := func() *scene {
		s := newScene().step(0, 0, 0).phase(v1beta1.PhaseFailed).failed(3).targetAt(revB, 0)
		s.Canary.Status.Step = nil
		return s
	}
	for name, tc := range map[string]struct {
		scene       *scene
		wantPhase   v1beta1.CanaryPhase
		wantWeight  int32
		wantPrimary string
		wantStalled string
		wantPods    int32 // of the target; -1: kept
	}{
		"in mid-release": {newScene().step(1, 20, time.Second).persisted().with(lost), v1beta1.PhaseProgressing, 100, "", "", 10},
		"at rest":        {newScene().persisted().with(lost), v1beta1.PhaseInitializing, 0, revA, "", -1},
		"at rest, before the drain": {
			newScene().targetAt(revA, 2).persisted().with(lost), v1beta1.PhaseInitializing, 100, revA, "", -1,
		},
		"after a rollback": {failedRelease().persisted().with(lost), v1beta1.PhaseFailed, 0, "", rollout.ReasonPrimaryMissing, -1},
		"after a rollback, the target set back": {
			failedRelease().persisted().with(lost).targetAt(revA, 0), v1beta1.PhaseInitializing, 0, revA, "", -1,
		},
		"after a rollback, another revision": {failedRelease().persisted().with(lost).targetAt(revC, 0), v1beta1.PhaseProgressing, 0, "", "", 10},
		"in a promotion":                     {newScene().promoting(60, time.Second).persisted().with(lost), v1beta1.PhasePromoting, 100, revB, "", 10},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			replicas := int32(-1)
			if d.Desired.TargetReplicas != nil {
				replicas = *d.Desired.TargetReplicas
			}
			if d.Status.Phase != tc.wantPhase || d.Desired.Traffic.Canary != tc.wantWeight || d.Desired.PrimaryRevision != tc.wantPrimary || replicas != tc.wantPods {
				t.Errorf("%s, weight %d, primary %q, %d pods; want %s, %d, %q, %d", d.Status.Phase, d.Desired.Traffic.Canary, d.Desired.PrimaryRevision, replicas,
					tc.wantPhase, tc.wantWeight, tc.wantPrimary, tc.wantPods)
			}
			if !d.Desired.Routed {
				t.Error("the route is left alone")
			}
			if n := d.Desired.PrimaryReplicas; n == nil || *n != 10 {
				t.Errorf("the primary is to have %v pods", n)
			}
			stalled := ""
			if c := d.Status.GetCondition(v1beta1.ConditionStalled); c != nil {
				stalled = c.Reason
			}
			if stalled != tc.wantStalled {
				t.Errorf("Stalled for %q, want %q", stalled, tc.wantStalled)
			}
		})
	}
}

// A status that was lost is made again from what is there: nothing is overwritten with what nobody has judged.
func TestStatusLost(t *testing.T) {
	for name, s := range map[string]*scene{
		"all pods up":  newScene().targetAt(revB, 2),
		"one pod up":   newScene().targetAt(revB, 2).primaryAvailable(1),
		"none up yet":  newScene().targetAt(revB, 2).primaryAvailable(0),
		"none is left": newScene().targetAt(revB, 0).primaryAvailable(0),
	} {
		t.Run(name, func(t *testing.T) {
			s.Canary.Status = v1beta1.CanaryStatus{}
			for range 5 {
				d := rollout.Decide(s.Observation)
				if d.Desired.PrimaryRevision == revB {
					t.Fatalf("the primary, %d of 2 pods up, is overwritten with a revision that nobody has judged", s.Primary.Available)
				}
				s.Canary.Status = d.Status
				s.Now = s.Now.Add(time.Second)
			}
			s.Primary = settled(s.Primary)
			for range 5 {
				s.Canary.Status = rollout.Decide(s.Observation).Status
			}
			if st := s.Canary.Status; st.Phase != v1beta1.PhaseProgressing || st.LastPromotedSpec != revA || st.LastAppliedSpec != revB {
				t.Errorf("%s of %q, promoted %q", st.Phase, st.LastAppliedSpec, st.LastPromotedSpec)
			}
		})
	}
}

// TestTargetChanges: what is no release, and what is one.
func TestTargetChanges(t *testing.T) {
	known := func(generation int64) func(*rollout.Observation) {
		return func(o *rollout.Observation) {
			o.Canary.Status.AppliedTarget = &v1beta1.AppliedTarget{UID: "u", Generation: 7}
			o.Target.UID, o.Target.Generation = "u", generation
		}
	}
	for name, tc := range map[string]struct {
		scene     *scene
		wantPhase v1beta1.CanaryPhase
	}{
		"a cache that is older than the status": {newScene().step(2, 40, time.Second).targetAt(revA, 0).with(known(6)), v1beta1.PhaseProgressing},
		"an image and no replicas at once, in place of the drain": {
			newScene().phase(v1beta1.PhaseSucceeded).targetAt(revC, 0).with(known(8)).with(func(o *rollout.Observation) { o.Canary.Status.DrainedGeneration = 7 }),
			v1beta1.PhaseProgressing,
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			if d.Status.Phase != tc.wantPhase {
				t.Errorf("%s, want %s; %v", d.Status.Phase, tc.wantPhase, d.Events)
			}
			if d.Desired.PrimaryRevision == tc.scene.Target.Revision {
				t.Errorf("the primary gets %s", d.Desired.PrimaryRevision)
			}
		})
	}
}

// The mesh never shows the last route: that is told.
func TestEndThatIsNotShown(t *testing.T) {
	for name, s := range map[string]*scene{
		"finalising": newScene().promoting(0, time.Hour).phase(v1beta1.PhaseFinalising).primaryAt(revB).outOfSync().unwell(10 * time.Minute).with(func(o *rollout.Observation) {
			o.Canary.Status.LastPromotedSpec, o.Canary.Status.Step = revB, nil
		}),
		"promoting": newScene().promoting(60, time.Hour).primaryAt(revB).outOfSync().unwell(10 * time.Minute),
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(s.Observation)
			if c := d.Status.GetCondition(v1beta1.ConditionStalled); c == nil || c.Reason != rollout.ReasonDeadlineExceeded {
				t.Errorf("in %s nobody is told: %+v", d.Status.Phase, c)
			}
		})
	}
}

// A deleted Canary ends with pods that serve, in the number that served, within a bounded time.
func TestDeletionEnds(t *testing.T) {
	const deadline = 10 * time.Minute
	terminating := func(ago time.Duration) *scene {
		return newScene().step(0, 0, ago).phase(v1beta1.PhaseTerminating).with(deleted)
	}
	for name, tc := range map[string]struct {
		scene                     *scene
		wantPods                  int32 // -1: kept
		released, finished, keeps bool
		wantStalled               string
	}{
		"onto one pod": {
			terminating(time.Second).targetAt(revA, 1).with(func(o *rollout.Observation) { o.Primary.Replicas, o.Primary.Available = 10, 10 }), 10, false, false, false, "",
		},
		"onto ten": {
			terminating(time.Minute).targetAt(revA, 10).with(func(o *rollout.Observation) { o.Primary.Replicas, o.Primary.Available = 10, 10 }), -1, true, true, false, "",
		},
		"the target is gone":       {terminating(time.Minute).with(targetGone), -1, true, true, true, rollout.ReasonLeftBehind},
		"the target does not come": {terminating(deadline).targetAvailable(0), -1, true, true, true, rollout.ReasonLeftBehind},
		"the target comes in part": {terminating(deadline).targetAvailable(1), -1, true, true, false, ""},
		"the mesh is gone": {
			terminating(deadline).outOfSync().with(func(o *rollout.Observation) { o.Outage = "Consul can't be asked" }), -1, true, false, false, rollout.ReasonMeshUnreachable,
		},
		"the mesh is gone for good": {
			terminating(2 * deadline).outOfSync().with(func(o *rollout.Observation) { o.Outage = "Consul can't be asked" }), -1, true, true, true, "",
		},
		"a mistake": {terminating(time.Minute).with(mistake), -1, true, true, false, ""},
		"objects of another": {terminating(time.Minute).with(func(o *rollout.Observation) {
			o.Mistake, o.Canary.Status.LastPromotedSpec = &rollout.Mistake{Foreign: true}, ""
		}), -1, false, true, false, ""},
		"a primary without pods": {terminating(time.Minute).primaryAvailable(0).with(func(o *rollout.Observation) { o.Primary.Replicas = 2 }), -1, true, true, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			want := d.Desired
			replicas := int32(-1)
			if want.TargetReplicas != nil {
				replicas = *want.TargetReplicas
			}
			got := fmt.Sprintf("%d pods, released %t, finished %t, keeps the primary %t", replicas, want.Released, want.Finished, want.KeepPrimary)
			if wanted := fmt.Sprintf("%d pods, released %t, finished %t, keeps the primary %t", tc.wantPods, tc.released, tc.finished, tc.keeps); got != wanted {
				t.Errorf("%s; want %s", got, wanted)
			}
			stalled := ""
			if c := d.Status.GetCondition(v1beta1.ConditionStalled); c != nil {
				stalled = c.Reason
			}
			if stalled != tc.wantStalled {
				t.Errorf("Stalled for %q, want %q", stalled, tc.wantStalled)
			}
		})
	}
}

// A deletion in mid-release takes no traffic to pods that are gone.
func TestDeletionInMidRelease(t *testing.T) {
	s := newScene().step(2, 40, time.Second).persisted().with(deleted).targetAvailable(0)
	d := rollout.Decide(s.Observation)
	if !d.Desired.Routed || d.Desired.Traffic.Canary != 0 {
		t.Errorf("routed %t, %+v", d.Desired.Routed, d.Desired.Traffic)
	}
}

// A release that asks for fewer pods, without an autoscaler, leaves the primary with as many, once nobody
// is at the canary any more.
func TestFewerPodsReleased(t *testing.T) {
	s := newScene().phase(v1beta1.PhaseSucceeded).targetAt(revA, 3)
	s.Primary.Replicas, s.Primary.Available = 6, 6
	s.Route.Since = t0.Add(-time.Minute)
	d := rollout.Decide(s.Observation)
	if d.Status.ReleasedReplicas != 3 || d.Desired.PrimaryReplicas != nil {
		t.Fatalf("released %d, wanted %v", d.Status.ReleasedReplicas, d.Desired.PrimaryReplicas)
	}
	s.Canary.Status = d.Status
	s.targetAt(revA, 0)
	d = rollout.Decide(s.Observation)
	if n := d.Desired.PrimaryReplicas; n == nil || *n != 3 {
		t.Fatalf("the primary is to have %v pods", n)
	}
	s.Canary.Status = d.Status
	s.Primary.Replicas, s.Primary.Available = 3, 3
	s.Canary.Status = rollout.Decide(s.Observation).Status
	s.Primary.Replicas, s.Primary.Available = 8, 8 // somebody scales it
	if d := rollout.Decide(s.Observation); d.Desired.PrimaryReplicas != nil || d.Status.ReleasedReplicas != 0 {
		t.Errorf("it is scaled back to %v", d.Desired.PrimaryReplicas)
	}
}

// Idle pods that Git keeps up do not pin the primary's minimum at its peak.
func TestFloorBesideIdlePods(t *testing.T) {
	s := idle(2, 5)
	s.Primary.Replicas, s.Primary.Available = 50, 50
	if d := rollout.Decide(s.Observation); d.Desired.PrimaryFloor != 0 {
		t.Errorf("the primary's minimum is %d", d.Desired.PrimaryFloor)
	}
}

// A promotion that is paused does not touch a primary that was not touched yet.
func TestPausedPromotion(t *testing.T) {
	s := newScene().promoting(60, time.Second).paused()
	d := rollout.Decide(s.Observation)
	if m := d.Status.GetCondition(v1beta1.ConditionReady).Message; d.Desired.PrimaryRevision != "" || !strings.Contains(m, "nothing moves") {
		t.Errorf("the primary gets %q, and the status says %q", d.Desired.PrimaryRevision, m)
	}
}

// No number in a spec makes a decision larger.
func TestHugeIterations(t *testing.T) {
	for name, s := range map[string]*scene{
		"blue/green": newScene().iterations(2147483647, false).step(1, 0, time.Second),
		"A/B":        newScene().iterations(2147483647, true).step(2147483646, 100, 10*time.Second).checked(v1beta1.CheckPassed, 0),
	} {
		t.Run(name, func(t *testing.T) {
			if n := testing.AllocsPerRun(1, func() { rollout.Decide(s.Observation) }); n > 1000 {
				t.Errorf("%.0f allocations", n)
			}
			if steps := rollout.Steps(s.Canary.Spec.Analysis); steps != 2147483647 {
				t.Errorf("%d steps", steps)
			}
		})
	}
}

// TestRollbackDoesNotWait: a canary that was found bad keeps nothing as soon as the primary has one pod.
func TestRollbackDoesNotWait(t *testing.T) {
	for name, s := range map[string]*scene{
		"the last check fails": newScene().step(2, 40, 10*time.Second).failed(2).checked(v1beta1.CheckFailed, 0).primaryAvailable(1),
		"it stood in":          newScene().step(0, 100, time.Second).phase(v1beta1.PhaseFailed).primaryAvailable(1),
	} {
		t.Run(name, func(t *testing.T) {
			s.Primary.Replicas = 10
			if d := rollout.Decide(s.Observation); d.Status.Phase != v1beta1.PhaseFailed || d.Status.CanaryWeight != 0 {
				t.Errorf("%s with weight %d", d.Status.Phase, d.Status.CanaryWeight)
			}
		})
	}
}

// Nothing is copied to a canary whose revision the primary is getting.
func TestPromotionMirrorsNothing(t *testing.T) {
	s := newScene().iterations(2, false).mirror(30).step(2, 0, 10*time.Second).persisted()
	s.checked(v1beta1.CheckPassed, 0)
	s.Route.Fixed = false
	s.Target.Available = 0 // so that it does not get all requests first
	s.Canary.Status.Phase = v1beta1.PhasePromoting
	if d := rollout.Decide(s.Observation); d.Desired.Traffic.Mirror != 0 {
		t.Errorf("the mesh is asked for %+v", d.Desired.Traffic)
	}
	s.Target.Available = 2
	if d := rollout.Decide(s.Observation); d.Desired.Traffic.Mirror != 0 {
		t.Errorf("the mesh is asked for %+v", d.Desired.Traffic)
	}
}

// What the deadline ran for is forgotten when it is over, and stands still at a gate.
func TestDeadlineIsForgotten(t *testing.T) {
	if d := rollout.Decide(newScene().step(1, 20, time.Second).unwell(time.Minute).Observation); d.Status.Unwell != nil {
		t.Errorf("the deadline runs for %+v", d.Status.Unwell)
	}
	s := newScene().step(1, 20, time.Hour).unwell(time.Hour).atGate(v1beta1.ConfirmTrafficIncreaseHook).targetAvailable(1)
	if d := rollout.Decide(s.Observation); d.Status.Phase != v1beta1.PhaseProgressing || d.Status.Unwell != nil {
		t.Errorf("at a gate it is %s, the deadline runs for %+v", d.Status.Phase, d.Status.Unwell)
	}
}

// While nobody can serve, nothing counts against the release.
func TestNobodyServes(t *testing.T) {
	d := rollout.Decide(newScene().step(2, 40, time.Second).persisted().targetAvailable(0).primaryAvailable(0).Observation)
	if d.Status.CanaryWeight != 40 || d.Status.FailedChecks != 0 || d.Status.Step.Index != 2 {
		t.Errorf("step %d with weight %d, %d failed checks", d.Status.Step.Index, d.Status.CanaryWeight, d.Status.FailedChecks)
	}
}

// A round that ended while the mesh had another route is not the step's, however short its interval is.
func TestRoundOfAnotherRoute(t *testing.T) {
	s := newScene().step(1, 20, time.Minute).checked(v1beta1.CheckPassed, 3*time.Second)
	s.Canary.Spec.Analysis.Interval = "1s"
	s.Route.Since = t0.Add(-2 * time.Second)
	if d := rollout.Decide(s.Observation); d.Status.CanaryWeight > 20 {
		t.Errorf("weight %d", d.Status.CanaryWeight)
	}
}

// A round that is run again has a name of its own where hooks may have answered in it, and a gate that the
// release waits at is asked again only after a round that passes.
func TestUnansweredRound(t *testing.T) {
	s := newScene().step(1, 20, 30*time.Second).hooked(v1beta1.RolloutHook).checked(v1beta1.CheckUnavailable, 10*time.Second)
	s.Checks.Results = append(s.Checks.Results, v1beta1.CheckStatus{Name: string(v1beta1.RolloutHook), Verdict: v1beta1.CheckPassed})
	d := rollout.Decide(s.Observation)
	if d.RunChecks == nil || *d.RunChecks == s.Checks.ID {
		t.Errorf("it is run again as %+v", d.RunChecks)
	}
	s = newScene().step(1, 20, 10*time.Second).checked(v1beta1.CheckUnavailable, 0).atGate(v1beta1.ConfirmTrafficIncreaseHook).
		answered(v1beta1.ConfirmTrafficIncreaseHook, 0, passed)
	if d := rollout.Decide(s.Observation); d.Status.Gate != nil || d.Status.CanaryWeight != 20 {
		t.Errorf("weight %d at gate %+v", d.Status.CanaryWeight, d.Status.Gate)
	}
}

// TestPromotionKeepsUsersServed: what goes wrong while the primary gets the new revision.
func TestPromotionKeepsUsersServed(t *testing.T) {
	big := func(available int32) func(*rollout.Observation) {
		return func(o *rollout.Observation) {
			o.Primary.Replicas, o.Primary.Available, o.Primary.Ready = 10, available, available == 10
		}
	}
	lostAndBack := newScene().promoting(60, time.Second).persisted().targetAvailable(0).persisted()
	lostAndBack.Target = ready(revB, 2)
	standsIn := newScene().promoting(60, time.Second).persisted().primaryAvailable(0).persisted().primaryAt(revB)
	standsIn.Primary.Available, standsIn.Primary.Ready = 2, true
	standsIn.Canary.Spec.Analysis.StepWeightPromotion = 30
	back := newScene().promoting(50, time.Second).phase(v1beta1.PhaseFinalising).primaryAt(revB).with(big(1))
	back.Canary.Status.Step, back.Canary.Status.LastPromotedSpec = nil, revB
	for name, tc := range map[string]struct {
		scene      *scene
		wantPhase  v1beta1.CanaryPhase
		wantWeight int32
	}{
		"halted, and neither side has the pods":       {newScene().promoting(50, time.Hour).unwell(10*time.Minute).primaryAt(revB).with(big(1)).targetAt(revB, 2), v1beta1.PhasePromoting, 50},
		"the canary is lost and back":                 {lostAndBack, v1beta1.PhasePromoting, 0},
		"what stood in gives back part by part":       {standsIn, v1beta1.PhasePromoting, 70},
		"the primary can't take the traffic back yet": {back, v1beta1.PhaseFinalising, 50},
	} {
		t.Run(name, func(t *testing.T) {
			if d := rollout.Decide(tc.scene.Observation); d.Status.Phase != tc.wantPhase || d.Status.CanaryWeight != tc.wantWeight {
				t.Errorf("%s with weight %d, want %s with %d; %v", d.Status.Phase, d.Status.CanaryWeight, tc.wantPhase, tc.wantWeight, d.Events)
			}
		})
	}
}
