package rollout_test

import (
	"testing"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

func TestFewerPodsReleased(t *testing.T) {
	s := newScene().phase(v1beta1.PhaseSucceeded).targetAt(revA, 3)
	s.Primary.Replicas, s.Primary.Available = 6, 6
	s.Route.Seen = t0.Add(-time.Minute)
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

func TestFloorBesideIdlePods(t *testing.T) {
	s := Idle(2, 5)
	s.Primary.Replicas, s.Primary.Available = 50, 50
	if d := rollout.Decide(s.Observation); d.Desired.PrimaryFloor != 0 {
		t.Errorf("the primary's minimum is %d", d.Desired.PrimaryFloor)
	}
}

// While pods that were given to the idle target stand in for the primary, its autoscaler must not make that
// smaller, and it gets nothing back before it is as large as it was.
func TestStandInForAnAutoscaledPrimary(t *testing.T) {
	s := Idle(4, 5)
	s.Primary.Replicas, s.Primary.Available, s.Primary.Ready, s.Primary.MaxReplicas = 10, 0, false, 20
	d := rollout.Decide(s.Observation)
	if d.Status.CanaryWeight != 100 || d.Desired.PrimaryFloor != 10 || d.Status.PrimaryReplicas != 10 {
		t.Fatalf("the canary has %d%%, the primary's minimum is %d, it had %d", d.Status.CanaryWeight, d.Desired.PrimaryFloor, d.Status.PrimaryReplicas)
	}
	s.Canary.Status = d.Status
	s.Primary.Replicas, s.Primary.Available, s.Primary.Ready = 1, 1, true
	d = rollout.Decide(s.Observation)
	if d.Status.CanaryWeight != 100 || d.Desired.PrimaryFloor != 10 || d.Status.PrimaryReplicas != 10 {
		t.Errorf("after one pod is back the canary has %d%%, the primary's minimum is %d, it had %d", d.Status.CanaryWeight, d.Desired.PrimaryFloor, d.Status.PrimaryReplicas)
	}
	s.Canary.Status = d.Status
	s.Primary.Replicas, s.Primary.Available = 10, 10
	d = rollout.Decide(s.Observation)
	if d.Status.CanaryWeight != 0 || d.Desired.PrimaryFloor != 0 {
		t.Errorf("after all are back the canary has %d%%, the primary's minimum is %d", d.Status.CanaryWeight, d.Desired.PrimaryFloor)
	}
}

// Without an autoscaler the primary has as many pods as people ask for, whoever stands in for it.
func TestStandInForAPrimaryOfFixedSize(t *testing.T) {
	s := Idle(8, 5)
	s.Primary.Replicas, s.Primary.Available, s.Primary.Ready = 3, 0, false
	d := rollout.Decide(s.Observation)
	if d.Status.CanaryWeight != 100 || d.Desired.PrimaryFloor != 0 {
		t.Errorf("the canary has %d%%, the primary's minimum is %d", d.Status.CanaryWeight, d.Desired.PrimaryFloor)
	}
}

func TestNothingIsDrainedThatMaySoonServe(t *testing.T) {
	s := newScene().phase(v1beta1.PhaseSucceeded).targetAt(revA, 2).targetAvailable(0).primaryAvailable(0)
	s.Route.Seen = t0.Add(-time.Hour)
	if n := rollout.Decide(s.Observation).Desired.TargetReplicas; n != nil {
		t.Errorf("the target is to have %d pods", *n)
	}
}

func TestFewerPodsBesideAnAutoscaler(t *testing.T) {
	s := newScene().phase(v1beta1.PhaseSucceeded).targetAt(revA, 3)
	s.Primary.Replicas, s.Primary.Available = 6, 6
	s.Route.Seen = t0.Add(-time.Minute)
	s.Canary.Spec.AutoscalerRef = &v1beta1.AutoscalerReference{Kind: "HorizontalPodAutoscaler", Name: "podinfo"}
	if n := rollout.Decide(s.Observation).Status.ReleasedReplicas; n != 0 {
		t.Errorf("the primary is to have %d pods", n)
	}
}
