// Package routertest is the conformance suite that every router passes,
// whatever it writes to: a fake client, a real API server, a mesh's own server.
package routertest

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// World is a router and what is around it. The suite asks for a new one, with
// nothing in the mesh, for each of its tests.
type World struct {
	Router providers.Router
	// Canary exists, where the router needs it to. The suite may change its copy of it.
	Canary *v1beta1.Canary
	// Writes returns how many requests that change something the router has sent.
	Writes func() int
	// Drift makes the mesh route as given, as somebody else would do it.
	Drift func(t *testing.T, traffic providers.Traffic)
	// Deadline is how long the router may take to observe a write; 0 means 10 s.
	Deadline time.Duration
}

// Setup makes a world. It cleans up by t.Cleanup.
type Setup func(t *testing.T) World

// Run runs the suite.
func Run(t *testing.T, setup Setup) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, World){
		"nothing there":           nothingThere,
		"weights 0 to 100":        weights,
		"repeated apply is quiet": repeated,
		"drift is healed":         drift,
		"bad traffic is refused":  badTraffic,
		"release":                 release,
		"A/B testing":             matched,
		"mirroring":               mirrored,
		"session affinity":        sessions,
	} {
		t.Run(name, func(t *testing.T) { test(t, setup(t)) })
	}
}

func nothingThere(t *testing.T, w World) {
	state, err := w.Router.Observe(t.Context(), w.route(0))
	if err != nil || state != (providers.State{}) {
		t.Errorf("observed %+v, %v before anything was applied", state, err)
	}
	if n := w.Writes(); n != 0 {
		t.Errorf("observing wrote %d times", n)
	}
}

func weights(t *testing.T, w World) {
	for _, weight := range []int32{0, 1, 10, 50, 99, 100, 50, 0} {
		w.apply(t, weight)
		w.settle(t, weight)
	}
}

func repeated(t *testing.T, w World) {
	w.apply(t, 30)
	w.settle(t, 30)
	before := w.Writes()
	for range 3 {
		w.apply(t, 30)
		w.settle(t, 30)
	}
	if n := w.Writes() - before; n != 0 {
		t.Errorf("applying the same again wrote %d times", n)
	}
	w.apply(t, 31)
	if w.Writes() == before {
		t.Error("applying another weight wrote nothing")
	}
}

func drift(t *testing.T, w World) {
	w.apply(t, 20)
	w.settle(t, 20)
	w.Drift(t, providers.Traffic{Primary: 35, Canary: 65})
	w.eventually(t, "sees the drift", func() bool {
		state := w.observe(t, 20)
		return !state.InSync && state.Traffic == (providers.Traffic{Primary: 35, Canary: 65})
	})
	w.apply(t, 20)
	w.settle(t, 20)
}

func badTraffic(t *testing.T, w World) {
	for name, tc := range map[string]providers.Traffic{
		"sum below 100": {Primary: 50, Canary: 10},
		"sum above 100": {Primary: 100, Canary: 10},
		"negative":      {Primary: 110, Canary: -10},
		"zero value":    {},
	} {
		t.Run(name, func(t *testing.T) {
			if err := w.Router.Apply(t.Context(), providers.Route{Canary: w.Canary, Traffic: tc}); err == nil {
				t.Error("no error")
			}
			if n := w.Writes(); n != 0 {
				t.Errorf("it wrote %d times", n)
			}
		})
	}
}

func release(t *testing.T, w World) {
	w.apply(t, 40)
	w.settle(t, 40)
	now := metav1.Now()
	w.Canary = w.Canary.DeepCopy()
	w.Canary.DeletionTimestamp = &now
	w.release(t)
	w.eventually(t, "sees that the route is gone", func() bool { return !w.observe(t, 0).Exists })
	before := w.Writes()
	w.release(t)
	if n := w.Writes() - before; n != 0 {
		t.Errorf("releasing again wrote %d times", n)
	}
}

func matched(t *testing.T, w World) {
	w.Canary = w.Canary.DeepCopy()
	w.Canary.Spec.Analysis = &v1beta1.CanaryAnalysis{
		Iterations: 3, Match: []v1beta1.RawObject{{Raw: []byte(`{"headers":{"x-canary":{"exact":"yes"}}}`)}},
	}
	w.walk(t, w.Router.Capabilities().HeaderMatch,
		providers.Traffic{Primary: 100},
		providers.Traffic{Canary: 100, Matched: true},
		providers.Traffic{Primary: 50, Canary: 50, Matched: true},
		providers.Traffic{Primary: 50, Canary: 50},
		providers.Traffic{Canary: 100},
		providers.Traffic{Primary: 100},
	)
}

func mirrored(t *testing.T, w World) {
	w.Canary = w.Canary.DeepCopy()
	w.Canary.Spec.Analysis = &v1beta1.CanaryAnalysis{StepWeight: 10, Mirror: true}
	w.walk(t, w.Router.Capabilities().Mirror,
		providers.Traffic{Primary: 100},
		providers.Traffic{Primary: 100, Mirror: 100},
		providers.Traffic{Primary: 100, Mirror: 1},
		providers.Traffic{Primary: 90, Canary: 10},
		providers.Traffic{Primary: 100},
	)
	if !w.Router.Capabilities().Mirror {
		return
	}
	for _, mirror := range []int32{-1, 101} {
		if err := w.Router.Apply(t.Context(), w.with(providers.Traffic{Primary: 100, Mirror: mirror})); err == nil {
			t.Errorf("it mirrors %d%%", mirror)
		}
	}
}

func sessions(t *testing.T, w World) {
	w.Canary = w.Canary.DeepCopy()
	w.Canary.Spec.Analysis = &v1beta1.CanaryAnalysis{StepWeight: 10, SessionAffinity: &v1beta1.SessionAffinity{CookieName: "version"}}
	w.walk(t, w.Router.Capabilities().SessionAffinity,
		providers.Traffic{Primary: 100},
		providers.Traffic{Primary: 90, Canary: 10, Sessions: providers.Sessions{Canary: "a", Primary: "1", Raised: 10}},
		providers.Traffic{Primary: 80, Canary: 20, Sessions: providers.Sessions{Canary: "a", Primary: "2", Raised: 10}},
		providers.Traffic{Canary: 100, Sessions: providers.Sessions{Canary: "a", Primary: "3", Raised: 80}},
		providers.Traffic{Primary: 100, Sessions: providers.Sessions{Ended: "a"}},
		providers.Traffic{Primary: 100},
	)
}

// walk applies one kind of traffic after the other, or has the router refuse the
// spec that it is for, if it can't.
func (w World) walk(t *testing.T, can bool, traffic ...providers.Traffic) {
	t.Helper()
	if !can {
		for _, call := range []func() error{
			func() error { return w.Router.Apply(t.Context(), w.with(traffic[0])) },
			func() error { _, err := w.Router.Observe(t.Context(), w.with(traffic[0])); return err },
		} {
			if err := call(); !providers.IsUnsupported(err) {
				t.Errorf("a spec that needs what it cannot do: %v", err)
			}
		}
		if n := w.Writes(); n != 0 {
			t.Errorf("it wrote %d times", n)
		}
		return
	}
	for _, tr := range traffic {
		for range 2 {
			if err := w.Router.Apply(t.Context(), w.with(tr)); err != nil {
				t.Fatalf("apply %+v: %v", tr, err)
			}
			w.settleAt(t, tr)
		}
		before := w.Writes()
		if err := w.Router.Apply(t.Context(), w.with(tr)); err != nil || w.Writes() != before {
			t.Fatalf("applying %+v again wrote %d times: %v", tr, w.Writes()-before, err)
		}
		for _, other := range traffic {
			if state, err := w.Router.Observe(t.Context(), w.with(other)); err != nil || state.InSync != (other == tr) {
				t.Fatalf("with %+v applied, %+v is observed as %+v, %v", tr, other, state, err)
			}
		}
	}
}

func (w World) with(traffic providers.Traffic) providers.Route {
	return providers.Route{Canary: w.Canary, Traffic: traffic}
}

func (w World) route(weight int32) providers.Route {
	return providers.Route{Canary: w.Canary, Traffic: providers.Traffic{Primary: 100 - weight, Canary: weight}}
}

func (w World) apply(t *testing.T, weight int32) {
	t.Helper()
	if err := w.Router.Apply(t.Context(), w.route(weight)); err != nil {
		t.Fatalf("apply %d%%: %v", weight, err)
	}
}

func (w World) release(t *testing.T) {
	t.Helper()
	if err := w.Router.Release(t.Context(), w.route(0)); err != nil {
		t.Fatalf("release: %v", err)
	}
}

func (w World) observe(t *testing.T, weight int32) providers.State {
	t.Helper()
	state, err := w.Router.Observe(t.Context(), w.route(weight))
	if err != nil {
		t.Fatalf("observe: %v", err)
	}
	return state
}

// settle waits until the router observes the weight, and checks that it never
// says that it is in sync with another one.
func (w World) settle(t *testing.T, weight int32) {
	t.Helper()
	w.settleAt(t, w.route(weight).Traffic)
	if other := (weight + 50) % 101; w.observe(t, other).InSync {
		t.Fatalf("in sync with %d%%, although %d%% was applied", other, weight)
	}
}

// settleAt waits until the router observes the traffic.
func (w World) settleAt(t *testing.T, want providers.Traffic) {
	t.Helper()
	w.eventually(t, "observes what was applied", func() bool {
		state, err := w.Router.Observe(t.Context(), w.with(want))
		if err != nil {
			t.Fatalf("observe: %v", err)
		}
		if state.InSync && (!state.Exists || state.Traffic != want) {
			t.Fatalf("in sync with %+v, but observed %+v", want, state)
		}
		return state.InSync
	})
}

func (w World) eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	limit := w.Deadline
	if limit == 0 {
		limit = 10 * time.Second
	}
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, limit, true,
		func(context.Context) (bool, error) { return condition(), nil })
	if err != nil {
		t.Fatalf("not within %s: router %s", limit, what)
	}
}
