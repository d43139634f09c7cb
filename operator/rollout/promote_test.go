package rollout_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

func TestCapacity(t *testing.T) {
	ten := func(o *release.Observation) { o.Primary.Replicas, o.Primary.Available = 10, 10 }
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
		"blue/green onto ten of which nine are about to go": {
			newScene().iterations(1, false).step(1, 0, time.Minute).with(ten).targetAt(revB, 10).with(func(o *release.Observation) { o.Target.Replicas = 1 }).
				checked(v1beta1.CheckPassed, 0), v1beta1.PhaseProgressing, 0, 10,
		},
		"a step with all traffic onto one pod": {
			newScene().step(3, 60, time.Minute).with(ten).with(func(o *release.Observation) {
				o.Canary.Spec.Analysis.StepWeights, o.Canary.Spec.Analysis.StepWeight, o.Canary.Spec.Analysis.MaxWeight = []int32{20, 40, 60, 100}, 0, 0
			}).targetAt(revB, 1).checked(v1beta1.CheckPassed, 0), v1beta1.PhaseProgressing, 60, 10,
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
			newScene().promoting(60, time.Hour).unwell(10*time.Minute).primaryAt(revB).targetAt(revB, 10).with(func(o *release.Observation) {
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

func TestEndThatIsNotShown(t *testing.T) {
	for name, s := range map[string]*scene{
		"finalising": newScene().promoting(0, time.Hour).phase(v1beta1.PhaseFinalising).primaryAt(revB).outOfSync().unwell(10 * time.Minute).with(func(o *release.Observation) {
			o.Canary.Status.LastPromotedSpec, o.Canary.Status.Step = revB, nil
		}),
		"promoting": newScene().promoting(60, time.Hour).primaryAt(revB).outOfSync().unwell(10 * time.Minute),
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(s.Observation)
			if c := d.Status.GetCondition(v1beta1.ConditionStalled); c == nil || c.Reason != release.ReasonDeadlineExceeded {
				t.Errorf("in %s nobody is told: %+v", d.Status.Phase, c)
			}
		})
	}
}

func TestPausedPromotion(t *testing.T) {
	s := newScene().promoting(60, time.Second).paused()
	d := rollout.Decide(s.Observation)
	if m := d.Status.GetCondition(v1beta1.ConditionReady).Message; d.Desired.PrimaryRevision != "" || !strings.Contains(m, "nothing moves") {
		t.Errorf("the primary gets %q, and the status says %q", d.Desired.PrimaryRevision, m)
	}
}

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

func TestPromotionKeepsUsersServed(t *testing.T) {
	big := func(available int32) func(*release.Observation) {
		return func(o *release.Observation) {
			o.Primary.Replicas, o.Primary.Available, o.Primary.Ready = 10, available, available == 10
		}
	}
	lostAndBack := newScene().promoting(60, time.Second).persisted().targetAvailable(0).persisted()
	lostAndBack.Target = ready(revB, 2)
	standsIn := newScene().promoting(60, time.Second).persisted().primaryAvailable(0).persisted().primaryAt(revB)
	standsIn.Primary.Available, standsIn.Primary.Ready = 2, true
	standsIn.Canary.Spec.Analysis.StepWeightPromotion = 30
	matched := newScene().iterations(2, true).promoting(100, time.Second).with(big(10)).targetAt(revB, 1)
	back := newScene().promoting(50, time.Second).phase(v1beta1.PhaseFinalising).primaryAt(revB).with(big(1))
	back.Canary.Status.Step, back.Canary.Status.LastPromotedSpec = nil, revB
	for name, tc := range map[string]struct {
		scene      *scene
		wantPhase  v1beta1.CanaryPhase
		wantWeight int32
	}{
		"halted, and neither side has the pods":            {newScene().promoting(50, time.Hour).unwell(10*time.Minute).primaryAt(revB).with(big(1)).targetAt(revB, 2), v1beta1.PhasePromoting, 50},
		"blue/green, one of the canary's ten pods is left": {newScene().promoting(100, time.Second).with(big(8)).targetAt(revB, 1), v1beta1.PhasePromoting, 20},
		"as well, and the primary has one of ten":          {newScene().promoting(100, time.Second).with(big(1)).targetAt(revB, 5), v1beta1.PhasePromoting, 90},
		"blue/green, eight of ten are left":                {newScene().promoting(100, time.Second).with(big(8)).targetAt(revB, 8), v1beta1.PhasePromoting, 100},
		"one pod that Flagger gave all":                    {newScene().promoting(100, time.Second).with(big(8)).targetAt(revB, 1).with(func(o *release.Observation) { o.Canary.Status.Step.From = 100 }), v1beta1.PhasePromoting, 100},
		"all that match, and one pod is left":              {matched, v1beta1.PhasePromoting, 100},
		"the primary will be without a pod for a moment":   {newScene().promoting(100, time.Second).with(big(10)).with(restarts).targetAt(revB, 1), v1beta1.PhasePromoting, 100},
		"the canary is lost and back":                      {lostAndBack, v1beta1.PhasePromoting, 0},
		"what stood in gives back part by part":            {standsIn, v1beta1.PhasePromoting, 70},
		"the primary can't take the traffic back yet":      {back, v1beta1.PhaseFinalising, 50},
	} {
		t.Run(name, func(t *testing.T) {
			if d := rollout.Decide(tc.scene.Observation); d.Status.Phase != tc.wantPhase || d.Status.CanaryWeight != tc.wantWeight {
				t.Errorf("%s with weight %d, want %s with %d; %v", d.Status.Phase, d.Status.CanaryWeight, tc.wantPhase, tc.wantWeight, d.Events)
			}
		})
	}
}

// The share of a canary that shrinks is not given to a primary without pods, not even in the plan.
func TestShrunkCanaryBesideNobody(t *testing.T) {
	s := newScene().promoting(100, time.Second).targetAt(revB, 1).with(func(o *release.Observation) {
		o.Primary.Replicas, o.Primary.Available, o.Primary.Ready = 10, 0, false
	})
	if d := rollout.Decide(s.Observation); d.Status.Step.Weight != 100 || d.Status.CanaryWeight != 100 {
		t.Errorf("the plan is %d%%, the canary has %d%%; %v", d.Status.Step.Weight, d.Status.CanaryWeight, d.Events)
	}
}

// A primary that is too small when the deadline is over keeps the share that it has the pods for: the canary
// does not take what the primary can carry.
func TestHaltedPromotionLeavesWhatThePrimaryCarries(t *testing.T) {
	for name, tc := range map[string]struct {
		available, canary, want int32
	}{
		"with pods for its share":        {1, 75, 75},
		"with half of those":             {1, 50, 100},
		"with none":                      {0, 50, 100},
		"with pods for what was planned": {2, 50, 50},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene().promoting(50, time.Hour).persisted().unwell(time.Hour).primaryAt(revB).targetAt(revB, 4).with(func(o *release.Observation) {
				o.Primary.Replicas, o.Primary.Available, o.Primary.Ready = 4, tc.available, false
				o.Canary.Status.CanaryWeight = tc.canary
			})
			if d := rollout.Decide(s.Observation); d.Status.CanaryWeight != tc.want {
				t.Errorf("the canary has %d%%, want %d%%: %+v", d.Status.CanaryWeight, tc.want, d.Status.Step)
			}
		})
	}
}

// Pods that its autoscaler took from a primary that the canary helped out are no reason to give that its share back.
func TestPrimaryThatIsHelpedNeedsWhatItHad(t *testing.T) {
	for name, tc := range map[string]struct{ most, want int32 }{"by an autoscaler": {10, 90}, "by a person": {0, 50}} {
		t.Run(name, func(t *testing.T) {
			s := newScene().promoting(50, time.Second).persisted().primaryAt(revB).targetAt(revB, 10).with(func(o *release.Observation) {
				o.Primary.Replicas, o.Primary.Available, o.Primary.MaxReplicas, o.Primary.Ready = 1, 1, tc.most, false
				o.Canary.Status.PrimaryReplicas, o.Canary.Status.CanaryWeight = 10, 90
				o.Canary.Status.Traffic = &v1beta1.TrafficStatus{Reason: v1beta1.TrafficPrimaryTooSmall}
			})
			if d := rollout.Decide(s.Observation); d.Status.CanaryWeight != tc.want {
				t.Errorf("the canary has %d%%, want %d%%: %+v", d.Status.CanaryWeight, tc.want, d.Status.Traffic)
			}
		})
	}
}

// An autoscaler that takes pods of a primary that the canary relieves, as its bounds could not be written, has not said how many everything needs.
func TestPromotedPrimaryGetsThePodsOfTheCanaryFirst(t *testing.T) {
	for name, tc := range map[string]struct {
		most  int32
		since time.Duration
		want  int32
	}{
		"its autoscaler may give it as many":              {10, time.Second, 60},
		"and has not for as long as the deadline":         {10, time.Hour, 0},
		"it has all that its autoscaler may give it":      {1, time.Second, 0},
		"it has none, and a person asked for one of them": {0, time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene().promoting(60, tc.since).persisted().primaryAt(revB).targetAt(revB, 3).with(func(o *release.Observation) {
				o.Primary.Replicas, o.Primary.Available, o.Primary.MaxReplicas, o.Primary.Ready = 1, 1, tc.most, true
			})
			if tc.since > time.Minute {
				s = s.unwell(tc.since)
			}
			if d := rollout.Decide(s.Observation); d.Status.CanaryWeight != tc.want {
				t.Errorf("the canary has %d%%, want %d%%: %+v", d.Status.CanaryWeight, tc.want, d.Status.Traffic)
			}
		})
	}
}
