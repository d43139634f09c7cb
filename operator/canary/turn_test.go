package canary

import (
	"errors"
	"testing"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
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

// An operator that may not lead any more decides nothing, calls nobody and writes nothing.
func TestNoTurnOfWhoDoesNotLead(t *testing.T) {
	s := newInitialized(t)
	s.release("podinfo:6.0.1")
	before, errLost := s.now().ResourceVersion, errors.New("another one leads")
	s.reconciler.Leads = func() error { return errLost }
	if _, err := s.turn(); !errors.Is(err, errLost) || s.now().ResourceVersion != before {
		t.Errorf("error %v, and the version of the Canary %s was %s", err, s.now().ResourceVersion, before)
	}
	s.reconciler.Leads = func() error { return nil }
	if s.mustTurn(); s.now().ResourceVersion == before {
		t.Error("the leader has decided nothing")
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

// What may take a release back is urgent: a check that failed, whatever the threshold is, and a hook that asks for it.
func TestTakesBack(t *testing.T) {
	with := func(verdicts ...v1beta1.CheckVerdict) *release.CheckRun {
		run := &release.CheckRun{}
		for _, v := range verdicts {
			run.Results = append(run.Results, v1beta1.CheckStatus{Verdict: v})
		}
		return run
	}
	for name, tc := range map[string]struct {
		results fixedResults
		want    bool
	}{
		"nothing":            {fixedResults{}, false},
		"all passed":         {fixedResults{round: with(v1beta1.CheckPassed, v1beta1.CheckPassed)}, false},
		"one failed":         {fixedResults{round: with(v1beta1.CheckPassed, v1beta1.CheckFailed)}, true},
		"a hook asks for it": {fixedResults{round: with(v1beta1.CheckPassed), rollback: with(v1beta1.CheckPassed)}, true},
		"a hook does not":    {fixedResults{round: with(v1beta1.CheckPassed), rollback: with(v1beta1.CheckFailed)}, false},
	} {
		r := &Reconciler{Checker: tc.results}
		if got := r.takesBack(&v1beta1.Canary{}); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// fixedResults are those of a Checker that has no others.
type fixedResults struct {
	Checker

	round, rollback *release.CheckRun
}

func (f fixedResults) Results(*v1beta1.Canary) (*release.CheckRun, map[v1beta1.HookType]*release.CheckRun) {
	if f.rollback == nil {
		return f.round, nil
	}
	return f.round, map[v1beta1.HookType]*release.CheckRun{v1beta1.RollbackHook: f.rollback}
}
