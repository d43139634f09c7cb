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

	// What follows is nil where a router has nothing of the kind.

	// Mesh does once what the mesh does by itself about a write, such as saying that it
	// was accepted. The suite calls it while it waits.
	Mesh func(t *testing.T)
	// Foreign adds something to what the router has written, as somebody else would who
	// shares the object. The suite calls kept to learn whether it is still there.
	Foreign func(t *testing.T) (kept func(t *testing.T))
	// Users makes, before the router has written anything, an object that is a user's own and
	// has the name that the router needs. The suite calls restored after the release, to
	// learn whether it is what the user had.
	Users func(t *testing.T) (restored func(t *testing.T))
	// Replay reads the user's object as it is now. What it returns writes the part that says where requests go once more, as
	// a tool does that had read the object in a release, and is late.
	Replay func(t *testing.T) (write func(t *testing.T))
	// Others makes an object of that name that belongs to another controller. The
	// suite calls untouched to learn whether it still is as it was.
	Others func(t *testing.T) (untouched func(t *testing.T))
	// Flagger makes what Flagger has in the midst of a release, of a Canary that was its own. The suite calls same to learn
	// whether requests go where they went.
	Flagger func(t *testing.T, traffic providers.Traffic) (same func(t *testing.T))
	// Rival makes an object of another name that takes all requests before the router's does.
	// The suite calls goes to have it removed.
	Rival func(t *testing.T) (goes func(t *testing.T))
	// Refuse has the mesh look at what the router has written last, and say that it will not do it.
	Refuse func(t *testing.T)
	// Mistakes are specs that no mesh can carry out, by what is wrong with them.
	Mistakes map[string]func(*v1beta1.Canary)
	// Bare is the router of a cluster in which the mesh is not installed.
	Bare providers.Router
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
		"protocols":               protocols,
		"headless":                headless,
		"foreign fields stay":     foreign,
		"a user's own object":     adopted,
		"given back once more":    replayed,
		"somebody else's object":  conflicting,
		"taken over from Flagger": fromFlagger,
		"a rival":                 rival,
		"refused by the mesh":     refused,
		"mistakes are told":       mistakes,
		"mesh not installed":      bare,
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
	if !w.Router.Capabilities().Weighted {
		w.unweighted(t)
		return
	}
	for _, weight := range []int32{0, 1, 10, 50, 99, 100, 50, 0} {
		w.apply(t, weight)
		w.settle(t, weight)
	}
}

// unweighted has a router that can't share out requests give all of them to the
// primary and refuse everything else.
func (w World) unweighted(t *testing.T) {
	w.apply(t, 0)
	w.settleAt(t, w.route(0).Traffic)
	before := w.Writes()
	for _, weight := range []int32{1, 50, 100} {
		if err := w.Router.Apply(t.Context(), w.route(weight)); !providers.IsUnsupported(err) {
			t.Errorf("apply %d%% with a router without weights: %v", weight, err)
		}
		if state, err := w.Router.Observe(t.Context(), w.route(weight)); err != nil && !providers.IsUnsupported(err) || state.InSync {
			t.Errorf("observe %d%% with a router without weights: %+v, %v", weight, state, err)
		}
	}
	if n := w.Writes() - before; n != 0 {
		t.Errorf("what it can't do wrote %d times", n)
	}
}

// some is a weight that the router can have.
func (w World) some(weight int32) int32 {
	if !w.Router.Capabilities().Weighted {
		return 0
	}
	return weight
}

func repeated(t *testing.T, w World) {
	weight := w.some(30)
	w.apply(t, weight)
	w.settle(t, weight)
	before := w.Writes()
	for range 3 {
		w.apply(t, weight)
		w.settle(t, weight)
	}
	if n := w.Writes() - before; n != 0 {
		t.Errorf("applying the same again wrote %d times", n)
	}
	if weight == 0 {
		return
	}
	w.apply(t, 31)
	if w.Writes() == before {
		t.Error("applying another weight wrote nothing")
	}
}

func drift(t *testing.T, w World) {
	if w.Drift == nil {
		return
	}
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

func foreign(t *testing.T, w World) {
	if w.Foreign == nil {
		return
	}
	w.apply(t, w.some(20))
	w.settle(t, w.some(20))
	kept := w.Foreign(t)
	for _, weight := range []int32{20, 30, 0} {
		w.apply(t, w.some(weight))
		w.settle(t, w.some(weight))
		kept(t)
	}
}

func adopted(t *testing.T, w World) {
	if w.Users == nil {
		return
	}
	restored := w.Users(t)
	for _, weight := range []int32{0, 50, 100} {
		w.apply(t, w.some(weight))
		w.settle(t, w.some(weight))
	}
	w.delete(t)
	restored(t)
}

// replayed has what is a user's be given back as often as somebody writes over it what he had read in the release, until
// the deletion is at its end. Requests would go to a primary that is about to be deleted.
func replayed(t *testing.T, w World) {
	if w.Users == nil || w.Replay == nil {
		return
	}
	restored := w.Users(t)
	w.apply(t, w.some(50))
	w.settle(t, w.some(50))
	write := w.Replay(t)
	w.Canary = deleted(w.Canary)
	again := w.route(0)
	again.Again = true
	release := func() {
		t.Helper()
		if err := w.Router.Release(t.Context(), again); err != nil {
			t.Fatalf("release, to be called again: %v", err)
		}
	}
	for range 3 {
		release()
		w.eventually(t, "sees that the route is gone", func() bool { return !w.observe(t, 0).Exists })
		before := w.Writes()
		release()
		if n := w.Writes() - before; n != 0 {
			t.Errorf("releasing again wrote %d times", n)
		}
		write(t)
		w.eventually(t, "sees that the route is there once more", func() bool { return w.observe(t, 0).Exists })
	}
	w.delete(t)
	restored(t)
}

func conflicting(t *testing.T, w World) {
	if w.Others == nil {
		return
	}
	untouched := w.Others(t)
	// What others write comes to a router that watches a moment later.
	w.eventually(t, "sees an object that belongs to somebody else", func() bool {
		_, err := w.Router.Observe(t.Context(), w.route(w.some(20)))
		return providers.IsConflict(err)
	})
	w.refused(t, "with an object that belongs to somebody else", providers.IsConflict)
	w.Canary = deleted(w.Canary)
	w.release(t)
	if n := w.Writes(); n != 0 {
		t.Errorf("it wrote %d times", n)
	}
	untouched(t)
}

// fromFlagger has the switch of operators in mid-release change nothing, and the release go on from there.
func fromFlagger(t *testing.T, w World) {
	if w.Flagger == nil {
		return
	}
	traffic := w.route(40).Traffic
	same := w.Flagger(t, traffic)
	if state := w.observe(t, 40); !state.Exists || state.Traffic != traffic {
		t.Errorf("of what Flagger has, observed is %+v", state)
	}
	w.apply(t, 40)
	w.settle(t, 40)
	same(t)
	w.apply(t, 50)
	w.settle(t, 50)
	w.delete(t)
}

// rival has nothing count while another object takes the requests, and everything once that is gone.
func rival(t *testing.T, w World) {
	if w.Rival == nil {
		return
	}
	goes := w.Rival(t)
	for _, weight := range []int32{0, 20, 100} {
		w.apply(t, weight)
		w.eventually(t, "says what takes the requests", func() bool {
			state := w.observe(t, weight)
			if state.InSync {
				t.Fatalf("in sync at %d%%: %+v", weight, state)
			}
			return state.Exists && state.Detail != ""
		})
	}
	goes(t)
	w.settle(t, 100)
	w.delete(t)
}

// refused has a router tell that it is no use to wait, and go on with what the mesh takes.
func refused(t *testing.T, w World) {
	if w.Refuse == nil {
		return
	}
	w.apply(t, w.some(20))
	w.settle(t, w.some(20))
	w.apply(t, w.some(30))
	w.Refuse(t)
	mesh := w.Mesh
	w.Mesh = nil // it has spoken
	w.eventually(t, "sees that the mesh refuses", func() bool {
		state := w.observe(t, w.some(30))
		if state.InSync {
			t.Fatalf("in sync: %+v", state)
		}
		return state.Refused && state.Detail != ""
	})
	w.Mesh = mesh
	w.apply(t, w.some(20))
	w.settle(t, w.some(20))
}

func mistakes(t *testing.T, w World) {
	spec := w.Canary
	for what, mistake := range w.Mistakes {
		w.Canary = spec.DeepCopy()
		mistake(w.Canary)
		w.refused(t, what, func(err error) bool { return providers.IsInvalid(err) || providers.IsUnsupported(err) })
	}
}

func bare(t *testing.T, w World) {
	if w.Bare == nil {
		return
	}
	w.Router = w.Bare
	w.refused(t, "without the mesh", providers.IsNotInstalled)
}

// refused has both calls refuse, with the error that is meant, and write nothing.
func (w World) refused(t *testing.T, what string, is func(error) bool) {
	t.Helper()
	before := w.Writes()
	if _, err := w.Router.Observe(t.Context(), w.route(w.some(20))); !is(err) {
		t.Errorf("observe %s: %v", what, err)
	}
	if err := w.Router.Apply(t.Context(), w.route(w.some(20))); !is(err) {
		t.Errorf("apply %s: %v", what, err)
	}
	if n := w.Writes() - before; n != 0 {
		t.Errorf("%s: it wrote %d times", what, n)
	}
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
	w.apply(t, w.some(40))
	w.settle(t, w.some(40))
	w.delete(t)
}

// delete releases the route of a Canary that is being deleted, twice.
func (w World) delete(t *testing.T) {
	t.Helper()
	w.Canary = deleted(w.Canary)
	w.release(t)
	w.eventually(t, "sees that the route is gone", func() bool { return !w.observe(t, 0).Exists })
	before := w.Writes()
	w.release(t)
	if n := w.Writes() - before; n != 0 {
		t.Errorf("releasing again wrote %d times", n)
	}
}

func deleted(c *v1beta1.Canary) *v1beta1.Canary {
	now := metav1.Now()
	c = c.DeepCopy()
	c.DeletionTimestamp = &now
	return c
}

func matched(t *testing.T, w World) {
	w.Canary = w.Canary.DeepCopy()
	w.Canary.Spec.Analysis = &v1beta1.CanaryAnalysis{
		Iterations: 3, Match: []v1beta1.RawObject{{Raw: []byte(`{"headers":{"x-canary":{"exact":"yes"}}}`)}},
	}
	can := w.Router.Capabilities()
	if can.HeaderMatch && !can.WeightedMatch {
		w.walk(t, true, providers.Traffic{Primary: 100}, providers.Traffic{Canary: 100, Matched: true}, providers.Traffic{Canary: 100}, providers.Traffic{Primary: 100})
		if err := w.Router.Apply(t.Context(), providers.Route{Canary: w.Canary, Traffic: providers.Traffic{Primary: 50, Canary: 50, Matched: true}}); !providers.IsUnsupported(err) {
			t.Errorf("a share of the requests that match: %v", err)
		}
		return
	}
	w.walk(t, can.HeaderMatch,
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

// protocols has whatever a Service's port may speak be shared out, or refused as the router says that it is: nothing is in
// sync without effect.
func protocols(t *testing.T, w World) {
	spec, can := w.Canary, w.Router.Capabilities()
	served := map[providers.Protocol]bool{providers.Requests: true, providers.Connections: can.TCP, providers.Encrypted: can.TLS}
	refuses := func(err error) bool { return providers.IsUnsupported(err) || providers.IsInvalid(err) }
	for _, protocol := range []string{
		"", "http", "http2", "grpc", "grpc-web", "kubernetes.io/h2c", "kubernetes.io/ws", "example.com/own",
		"tcp", "TCP", "mongo", "redis", "mysql", "postgresql", "https", "tls", "kubernetes.io/wss",
	} {
		kind := providers.ProtocolOf(protocol)
		w.Canary = spec.DeepCopy()
		w.Canary.Spec.Service.AppProtocol = protocol
		if !served[kind] {
			w.refused(t, "appProtocol "+protocol, refuses)
			continue
		}
		err := w.Router.Apply(t.Context(), w.route(w.some(20)))
		switch {
		case err == nil:
			w.settle(t, w.some(20))
			w.delete(t)
		case kind == providers.Requests || !refuses(err):
			t.Errorf("appProtocol %q: %v", protocol, err)
		default: // it depends on what else there is
			w.refused(t, "appProtocol "+protocol, refuses)
		}
	}
}

// headless has a Service without an address be shared out, or refused unless there is nothing to share out.
func headless(t *testing.T, w World) {
	w.Canary = w.Canary.DeepCopy()
	w.Canary.Spec.Service.Headless = true
	if !w.Router.Capabilities().ByAddress {
		w.apply(t, w.some(20))
		w.settle(t, w.some(20))
		return
	}
	w.refused(t, "a Service without an address", providers.IsUnsupported)
	w.Canary.Spec.SkipAnalysis = true
	w.apply(t, 0)
	w.settleAt(t, w.route(0).Traffic)
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
	if !w.Router.Capabilities().Weighted {
		return
	}
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
		func(context.Context) (bool, error) {
			if w.Mesh != nil {
				w.Mesh(t)
			}
			return condition(), nil
		})
	if err != nil {
		t.Fatalf("not within %s: router %s", limit, what)
	}
}
