package rollout_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

// Idle is at rest, with so many pods of the target, of a generation that is so
// much newer than the one at which their removal was asked for; -1: it was not.
func Idle(pods int32, newer int64) *scene {
	s := newScene().targetAt(revA, pods)
	s.Target.Generation = 7
	if newer >= 0 {
		s.Canary.Status.DrainedGeneration = s.Target.Generation - newer
	}
	return s
}

// TestDrainOnce is pain 10: pods that somebody else gives the idle target are
// left alone, as Git would bring them back again and again.
func TestDrainOnce(t *testing.T) {
	promoted := v1beta1.PhaseSucceeded
	kept := func(s *scene) *scene {
		s.Canary.Status.SetCondition(v1beta1.CanaryCondition{Type: v1beta1.ConditionTargetScaledUp, Status: "True"}, t0)
		return s
	}
	for name, tc := range map[string]struct {
		scene       *scene
		wantDrain   bool
		wantDrained int64
		wantKept    bool
		wantEvents  []string
	}{
		"not asked for yet":                      {scene: Idle(2, -1), wantDrain: true, wantDrained: 7},
		"asked for, and not done":                {scene: Idle(2, 0), wantDrain: true, wantDrained: 7},
		"changed before it was done":             {scene: Idle(3, 1), wantDrain: true, wantDrained: 7},
		"done":                                   {scene: Idle(0, 1), wantDrained: 6},
		"done, then changed otherwise":           {scene: Idle(0, 4), wantDrained: 3},
		"done, then given pods again":            {scene: Idle(2, 2), wantDrained: 5, wantKept: true, wantEvents: []string{release.ReasonTargetScaledUp}},
		"done, then given pods again, promoted":  {scene: Idle(2, 9).phase(promoted), wantDrained: -2, wantKept: true, wantEvents: []string{release.ReasonTargetScaledUp}},
		"told already":                           {scene: kept(Idle(2, 2)), wantDrained: 5, wantKept: true},
		"taken back":                             {scene: kept(Idle(0, 3)), wantDrained: 4},
		"a target of that name that is made new": {scene: Idle(2, -3), wantDrain: true, wantDrained: 7},
		"a generation that is not known": {
			scene:     Idle(2, 2).with(func(o *release.Observation) { o.Target.Generation, o.Canary.Status.DrainedGeneration = 0, 0 }),
			wantDrain: true,
		},
		"pods still get requests": {scene: Idle(2, -1).outOfSync()},
		"a new revision": {
			scene:      kept(Idle(2, 2)).with(func(o *release.Observation) { o.Target.Revision = revB }),
			wantEvents: []string{release.ReasonNewRevision},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "a target of that name that is made new" {
				tc.scene.Canary.Status.DrainedGeneration = 20
			}
			d := rollout.Decide(tc.scene.Observation)
			if drain := d.Desired.TargetReplicas != nil && *d.Desired.TargetReplicas == 0; drain != tc.wantDrain {
				t.Errorf("drain: %t", drain)
			}
			if got := d.Status.DrainedGeneration; got != tc.wantDrained {
				t.Errorf("drained at %d, want %d", got, tc.wantDrained)
			}
			c := d.Status.GetCondition(v1beta1.ConditionTargetScaledUp)
			if (c != nil) != tc.wantKept {
				t.Errorf("condition %+v", c)
			}
			if tc.wantKept && d.RequeueAfter != 0 {
				t.Errorf("it looks again after %s", d.RequeueAfter)
			}
			if diff := cmp.Diff(tc.wantEvents, outcomeOf(d).Events); diff != "" {
				t.Errorf("events (-want +got)\n%s", diff)
			}
			if ready := d.Status.GetCondition(v1beta1.ConditionReady); tc.wantKept && (ready == nil || ready.Status != "True") {
				t.Errorf("Ready is %+v", ready)
			}
		})
	}
}

// TestDrainFights has somebody scale the idle target up whenever it is at
// zero, with turns lost, repeated and cut short in between: it is scaled down
// once.
func TestDrainFights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Idle(2, -1)
		drains := 0
		scale := func(replicas int32) {
			if s.Target.Replicas == replicas {
				return
			}
			generation := s.Target.Generation + 1
			s.targetAt(revA, replicas).Target.Generation = generation
		}
		t.Repeat(map[string]func(*rapid.T){
			"turn": func(t *rapid.T) {
				s.Now = s.Now.Add(time.Second)
				d := rollout.Decide(s.Observation)
				s.Canary.Status = d.Status
				if d.Desired.TargetReplicas == nil || rapid.Bool().Draw(t, "crash") {
					return
				}
				scale(*d.Desired.TargetReplicas)
				drains++
			},
			"Git": func(*rapid.T) {
				if s.Target.Replicas == 0 {
					scale(2)
				}
			},
			"": func(t *rapid.T) {
				if drains > 1 {
					t.Fatalf("it was scaled down %d times", drains)
				}
			},
		})
	})
}
