package rollout_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

// Scale to zero (KEDA's minReplicaCount: 0): a primary that has no pods as it has nothing to do is no outage. It is started before
// the canary gets its first request, and no revision that nobody has checked stands in for it.
func TestPrimaryThatScalesToZero(t *testing.T) {
	const none = -1
	idle := func(pods, available int32) func(*release.Observation) {
		return func(o *release.Observation) {
			o.Primary.ScalesToZero, o.Primary.Replicas, o.Primary.Available = true, pods, available
			o.Primary.Ready = pods > 0 && available == pods
		}
	}
	between := func(phase v1beta1.CanaryPhase) *scene { return newScene().phase(phase) }
	for name, tc := range map[string]struct {
		scene  *scene
		phase  v1beta1.CanaryPhase
		weight int32
		floor  int32
		step   int32
	}{
		"between releases": {between(v1beta1.PhaseSucceeded).targetAt(revA, 0).primaryAt(revA).with(idle(0, 0)), v1beta1.PhaseSucceeded, 0, 0, none},
		"the canary is ready, the primary is not started yet": {newScene().step(0, 0, 0).with(idle(0, 0)), v1beta1.PhaseProgressing, 0, 1, 0},
		"the primary is being started":                        {newScene().step(0, 0, 0).with(idle(1, 0)), v1beta1.PhaseProgressing, 0, 1, 0},
		"the primary has started":                             {newScene().step(0, 0, 0).with(idle(1, 1)), v1beta1.PhaseProgressing, 20, 1, 1},
		"it does not start in time":                           {newScene().step(0, 0, time.Hour).unwell(time.Hour).with(idle(1, 0)), v1beta1.PhaseProgressing, 100, 1, 1},
		"it is lost in mid-release":                           {newScene().step(1, 20, time.Second).with(idle(1, 0)), v1beta1.PhaseProgressing, 100, 1, 1},
		"a bad canary goes, the primary has nothing to do":    {between(v1beta1.PhaseFailed).with(idle(0, 0)), v1beta1.PhaseFailed, 0, 0, none},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			step := int32(none)
			if d.Status.Step != nil {
				step = d.Status.Step.Index
			}
			if d.Status.Phase != tc.phase || d.Status.CanaryWeight != tc.weight || step != tc.step {
				t.Errorf("%s, step %d, %d%% for the canary; want %s, %d, %d%%", d.Status.Phase, step, d.Status.CanaryWeight, tc.phase, tc.step, tc.weight)
			}
			if d.Desired.PrimaryFloor < tc.floor {
				t.Errorf("the primary may have %d pods, want at least %d", d.Desired.PrimaryFloor, tc.floor)
			}
			for _, e := range d.Events {
				if e.Reason == release.ReasonPrimaryUnavailable && tc.weight != 100 {
					t.Errorf("it is told that %s", e.Message)
				}
			}
		})
	}
}

// A deletion waits for no pods that nothing asks for.
func TestDeletionOfWhatScalesToZero(t *testing.T) {
	s := newScene().phase(v1beta1.PhaseSucceeded).targetAt(revA, 0).primaryAt(revA).with(func(o *release.Observation) {
		now := metav1.NewTime(t0)
		o.Canary.DeletionTimestamp = &now
		o.Target.ScalesToZero, o.Primary.ScalesToZero = true, true
		o.Primary.Replicas, o.Primary.Available, o.Primary.Ready = 0, 0, false
	})
	if d := rollout.Decide(s.Observation); !d.Desired.Released || d.Desired.KeepPrimary || d.Desired.TargetReplicas != nil {
		t.Errorf("with nothing to do: %+v", d.Desired)
	}
	s.Primary.Replicas, s.Primary.Available, s.Primary.Ready = 3, 3, true
	if d := rollout.Decide(s.Observation); d.Desired.Released || valueOr(d.Desired.TargetPaused, -1) != 3 || valueOr(d.Desired.TargetReplicas, -1) != 3 {
		t.Errorf("while the primary serves: %+v", d.Desired)
	}
}

func valueOr(n *int32, missing int32) int32 {
	if n == nil {
		return missing
	}
	return *n
}
