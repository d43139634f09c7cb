package canary

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/providers"
)

// TestMeshUnreachable: nothing moves while nothing is known of the route, the status says
// why, and it is as before when the mesh can be asked again.
func TestMeshUnreachable(t *testing.T) {
	s := newInitialized(t)
	s.router.Fail(&providers.UnreachableError{System: "Consul", Err: errors.New("refused")})
	result := s.mustTurn()
	if result.RequeueAfter <= 0 || result.RequeueAfter > time.Minute {
		t.Errorf("it looks again after %s", result.RequeueAfter)
	}
	is := s.now().Status
	ready := is.GetCondition(v1beta1.ConditionReady)
	if is.Phase != v1beta1.PhaseInitialized || ready.Status != corev1.ConditionFalse || ready.Reason != release.ReasonMeshUnreachable || is.GetCondition(v1beta1.ConditionStalled) != nil {
		t.Errorf("status %+v", is)
	}
	s.writes = nil
	for range 3 {
		s.mustTurn()
	}
	if len(s.writes) > 0 || s.router.Writes() > 1 {
		t.Errorf("it wrote %v", s.writes)
	}
	s.router.Fail(nil)
	s.settleFully()
	if ready := s.now().Status.GetCondition(v1beta1.ConditionReady); ready.Status != corev1.ConditionTrue {
		t.Errorf("ready %+v", ready)
	}
}

// TestWaitsAreNoTrouble: a router that waits is called again when it says, and nobody is told
// of an error.
func TestWaitsAreNoTrouble(t *testing.T) {
	s := newScene(t, newCanary("podinfo").Canary, newTarget())
	s.rollOut()
	s.router.Wait(&providers.WaitError{For: "proxies", After: 7 * time.Second})
	waited := false
	for range 20 {
		result := s.mustTurn()
		s.rollOut()
		waited = waited || result.RequeueAfter == 7*time.Second
	}
	if !waited || s.now().Status.Phase != v1beta1.PhaseInitializing {
		t.Errorf("waited: %v, phase %s", waited, s.now().Status.Phase)
	}
	if ready := s.now().Status.GetCondition(v1beta1.ConditionReady); ready.Reason == release.ReasonApplyFailed {
		t.Errorf("ready %+v", ready)
	}
	s.router.Wait(nil)
	s.settleFully()
	if s.now().Status.Phase != v1beta1.PhaseInitialized {
		t.Errorf("phase %s", s.now().Status.Phase)
	}
}
