package canary

import (
	"testing"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sluice-delivery/sluice/operator/wake"
)

// Where the API server is all that a route needs, a step takes one turn, lasts
// its interval from when it was written, and needs no other turn to see it.
func TestStepTakesOneTurn(t *testing.T) {
	for name, acknowledged := range map[string]bool{"acknowledged": true, "to be seen": false} {
		t.Run(name, func(t *testing.T) {
			s := newInitialized(t)
			s.router.Acks = acknowledged
			s.release("podinfo:6.0.1")
			var result ctrl.Result
			for s.now().Status.CanaryWeight == 0 {
				result = s.mustTurn()
				s.rollOut()
			}
			if !acknowledged {
				if result.RequeueAfter > time.Second {
					t.Errorf("whether the route is there is looked at after %s", result.RequeueAfter)
				}
				return
			}
			if result.RequeueAfter != 10*time.Second {
				t.Errorf("the checks of step 1 are made after %s", result.RequeueAfter)
			}
			s.wait(result)
			if result = s.mustTurn(); s.now().Status.CanaryWeight != 40 {
				t.Fatalf("weight %d after step 1", s.now().Status.CanaryWeight)
			}
			if result.RequeueAfter != 10*time.Second {
				t.Errorf("the checks of step 2 are made after %s", result.RequeueAfter)
			}
		})
	}
}

// What was seen of the endpoints is compared with the pods that count.
func TestEndpointsReached(t *testing.T) {
	s := newInitialized(t)
	reached := func() bool {
		s.mustTurn()
		return s.reconciler.turns.Last(s.canary).Reached
	}
	if !reached() {
		t.Error("missing endpoints with all of them there")
	}
	s.endpointsLag = true
	s.release("podinfo:6.0.1")
	s.mustTurn()
	if !reached() {
		t.Error("missing endpoints of pods that are not available")
	}
	s.rollOut()
	if reached() {
		t.Error("no endpoint is missing of pods that are available and have none")
	}
	s.endpointsLag = false
	s.rollOut()
	if !reached() {
		t.Error("missing endpoints that are there now")
	}
}

func TestNext(t *testing.T) {
	for name, tc := range map[string]struct {
		wrote       bool
		after, want time.Duration
	}{
		"nothing to wait for":       {},
		"a wait":                    {after: time.Minute, want: time.Minute},
		"written":                   {wrote: true, want: wake.EchoDelay},
		"written, and a wait":       {wrote: true, after: time.Minute, want: wake.EchoDelay},
		"written, and a short wait": {wrote: true, after: time.Millisecond, want: time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			if got := next(tc.wrote, tc.after).RequeueAfter; got != tc.want {
				t.Errorf("again after %s", got)
			}
		})
	}
}
