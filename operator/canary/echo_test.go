package canary

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
)

// An update of the route wakes a Canary once at most, and not if its own turn made it.
func TestEchoes(t *testing.T) {
	c := newCanary("podinfo").Canary
	type step struct {
		turn, rests, end bool
		hear             string
	}
	for name, tc := range map[string]struct {
		steps []step
		want  int
	}{
		"nothing is known of the Canary":           {steps: []step{{hear: "8"}}, want: 1},
		"after a turn that rests":                  {steps: []step{{turn: true}, {end: true, rests: true}, {hear: "8"}}},
		"after one that does not":                  {steps: []step{{turn: true}, {end: true}, {hear: "8"}}, want: 1},
		"in a turn that rests":                     {steps: []step{{turn: true}, {hear: "8"}, {end: true, rests: true}}},
		"in one that does not":                     {steps: []step{{turn: true}, {hear: "8"}, {end: true}}, want: 1},
		"somebody else's, after":                   {steps: []step{{turn: true}, {end: true, rests: true}, {hear: "9"}}, want: 1},
		"somebody else's, in a turn":               {steps: []step{{turn: true}, {hear: "9"}, {hear: "8"}, {end: true, rests: true}}, want: 1},
		"the turn after the one that rests began":  {steps: []step{{turn: true}, {end: true, rests: true}, {turn: true}, {hear: "8"}, {end: true}}, want: 1},
		"what was heard in a turn is not for ever": {steps: []step{{turn: true}, {hear: "9"}, {end: true}, {turn: true}, {end: true}}, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			var m memory
			echoes := func(version string) func(outcome) bool {
				return func(last outcome) bool { return last.rests && version == "8" }
			}
			woken := 0
			for _, s := range tc.steps {
				switch {
				case s.turn:
					m.turn(c)
				case s.end:
					m.ended(c, outcome{rests: s.rests})
				default:
					m.hear(types.NamespacedName{Namespace: c.Namespace, Name: c.Name}, heard{echoes: echoes(s.hear), wake: func() { woken++ }})
				}
			}
			if woken != tc.want {
				t.Errorf("woken %d times", woken)
			}
		})
	}
}

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
