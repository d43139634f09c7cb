package consul

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/consultest"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/services"
)

const allToStart = `{"Splits":[{"Service":"podinfo-primary","Weight":100},{"Service":"podinfo-canary"}]}`

// bench is a router at work on a memory.
type bench struct {
	*Router
	m      *memory
	clock  *clocktesting.FakeClock
	events chan event.GenericEvent
}

func start(t *testing.T, m *memory) *bench {
	t.Helper()
	return startWith(t, m, m)
}

// startWith starts a router on what stands before a Consul.
func startWith(t *testing.T, of backend, m *memory) *bench {
	t.Helper()
	clk := clocktesting.NewFakeClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	b := &bench{Router: newRouter(of, nil, entries.Scope{}, clk), m: m, clock: clk, events: make(chan event.GenericEvent, 1000)}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.Start(ctx); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		for {
			select {
			case e := <-b.Changed():
				b.events <- e
			case <-ctx.Done():
				return
			}
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return b
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) { return is(), nil })
	if err != nil {
		t.Fatalf("not within 10 s: %s", what)
	}
}

// known waits until the router knows what there is.
func (b *bench) settle(t *testing.T, route providers.Route) providers.State {
	t.Helper()
	state, err := providers.State{}, error(nil)
	eventually(t, "everything is read", func() bool {
		state, err = b.Observe(t.Context(), route)
		v, _ := b.cache.View(services.Of(route.Canary, route.PodAnnotations, entries.Scope{}))
		return err == nil && v.Settled
	})
	return state
}

func (b *bench) inSync(t *testing.T, route providers.Route) {
	t.Helper()
	eventually(t, "the route is in sync", func() bool {
		state, err := b.Observe(t.Context(), route)
		return err == nil && state.InSync && state.Traffic == route.Traffic
	})
}

func deleted(c *v1beta1.Canary) *v1beta1.Canary {
	c = c.DeepCopy()
	c.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	return c
}

// TestOrderOfWrites: what is led to is there before what leads there, and goes after it.
func TestOrderOfWrites(t *testing.T) {
	b := start(t, newMemory("podinfo-primary", "podinfo-canary"))
	b.m.set(func() {
		maps.Copy(b.m.has, consultest.Having(t, api.ServiceIntentions+` podinfo {"Sources":[{"Name":"web","Action":"allow"}]}`))
		b.m.index = 10
	})
	c := consultest.Canary(consultest.Sticky)
	route := providers.Route{Canary: c, Traffic: providers.Traffic{Primary: 80, Canary: 20, Sessions: consultest.Step}}
	b.settle(t, route)
	consultest.Must(t, b.Apply(t.Context(), route))
	up := []string{
		"put service-defaults podinfo", "put service-defaults podinfo-primary", "put service-defaults podinfo-canary", "put service-defaults podinfo-split",
		"put service-intentions podinfo-primary", "put service-intentions podinfo-canary",
		"put service-resolver podinfo-primary", "put service-resolver podinfo-canary",
		"put service-splitter podinfo-split", "put service-splitter podinfo", "put service-router podinfo",
	}
	consultest.Diff(t, up, b.m.written())
	route.Canary = deleted(c)
	consultest.Must(t, b.Release(t.Context(), route))
	consultest.Diff(t, []string{
		"remove service-router podinfo", "remove service-splitter podinfo", "remove service-splitter podinfo-split",
		"remove service-resolver podinfo-canary", "remove service-intentions podinfo-canary",
		"remove service-resolver podinfo-primary", "remove service-intentions podinfo-primary",
		"remove service-defaults podinfo-split", "remove service-defaults podinfo-canary", "remove service-defaults podinfo-primary", "remove service-defaults podinfo",
	}, b.m.written()[len(up):])
}

// TestProxiesHearOfThePrimaryFirst: a proxy that gets a route to a cluster that it does not
// have yet answers 503 for as long as 15 s (Consul's own traps).
func TestProxiesHearOfThePrimaryFirst(t *testing.T) {
	b := start(t, newMemory("podinfo", "podinfo-primary"))
	route := providers.Route{Canary: consultest.Canary(), Traffic: consultest.Weights(0), PodAnnotations: consultest.Aliased()}
	b.settle(t, route)
	splits := func() string {
		return string(entries.Canonical(b.m.has[entries.Key{Kind: api.ServiceSplitter, Name: "podinfo"}].Body))
	}
	for _, after := range []time.Duration{0, 15 * time.Second} {
		b.clock.Step(after)
		b.settle(t, route)
		if w := providers.WaitOf(b.Apply(t.Context(), route)); w == nil || w.After <= 0 || w.After > warmUp-after {
			t.Fatalf("after %s: %+v", after, w)
		}
		consultest.Diff(t, `{"Splits":[{"Service":"podinfo","Weight":100},{"Service":"podinfo-primary"},{"Service":"podinfo-canary"}]}`, splits())
		state := b.settle(t, route)
		if state.InSync || !state.Exists || state.Traffic != consultest.Weights(0) {
			t.Errorf("observed %+v", state)
		}
	}
	before := len(b.m.written())
	b.clock.Step(6 * time.Second)
	consultest.Must(t, b.Apply(t.Context(), route))
	consultest.Diff(t, allToStart, splits())
	consultest.Diff(t, 1, len(b.m.written())-before)
}

// TestNobodyIsSentWhereNobodyIs: a api.ServiceSplitter does not look whether there are instances
// (Consul's own traps).
func TestNobodyIsSentWhereNobodyIs(t *testing.T) {
	for name, tc := range map[string]struct {
		pods     map[string]string
		instance string
	}{
		"a service of its own": {instance: "podinfo-canary"},
		"alias":                {pods: consultest.Aliased(), instance: "podinfo"},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, newMemory())
			route := providers.Route{Canary: consultest.Canary(), Traffic: consultest.Weights(0), PodAnnotations: tc.pods}
			b.settle(t, route)
			if w := providers.WaitOf(b.Apply(t.Context(), route)); w == nil || !strings.Contains(w.For, "podinfo-primary") {
				t.Fatalf("without a primary: %v", w)
			}
			consultest.Diff(t, 0, len(b.m.written()))
			b.m.set(func() { b.m.serving["podinfo-primary"] = true })
			consultest.Must(t, b.Apply(t.Context(), route))
			b.inSync(t, route)

			route.Traffic = consultest.Weights(10)
			if w := providers.WaitOf(b.Apply(t.Context(), route)); w == nil || !strings.Contains(w.For, tc.instance+" ") {
				t.Fatalf("without a canary: %v", w)
			}
			b.clock.Step(15 * time.Second)
			if err := b.Apply(t.Context(), route); err == nil || providers.WaitOf(err) != nil {
				t.Errorf("a long time later: %v", err)
			}
			b.m.set(func() { b.m.serving[tc.instance] = true })
			consultest.Must(t, b.Apply(t.Context(), route))

			// Whoever has traffic keeps it, and the way back is open.
			b.m.set(func() { b.m.serving = map[string]bool{} })
			b.settle(t, route)
			route.Traffic = consultest.Weights(0)
			consultest.Must(t, b.Apply(t.Context(), route))
		})
	}
}

// TestSomebodyElseWrites between our reading and our writing: nothing of it is lost, and
// ours is there in the end.
func TestSomebodyElseWrites(t *testing.T) {
	b := start(t, newMemory("podinfo-primary"))
	route := providers.Route{Canary: consultest.Canary(), Traffic: consultest.Weights(0)}
	b.settle(t, route)
	var once sync.Once
	b.m.before = func(k entries.Key) {
		if k.Kind == api.ServiceSplitter {
			once.Do(func() {
				b.m.set(func() {
					b.m.has[k] = entries.Entry{Key: k, Index: b.m.index + 1, Body: map[string]any{"Splits": []any{map[string]any{"Weight": 100, "ServiceSubset": "v1"}}}}
				})
			})
		}
	}
	consultest.Must(t, b.Apply(t.Context(), route))
	live := b.m.has[entries.Key{Kind: api.ServiceSplitter, Name: "podinfo"}]
	users, theirs, err := live.Users(route.Canary)
	if err != nil || !theirs || !strings.Contains(string(entries.Canonical(users.Body)), "v1") {
		t.Errorf("what the user wrote: %v, %v, %v", users, theirs, err)
	}
	consultest.Diff(t, allToStart, string(entries.Canonical(live.Body)))
}

// TestConsulIsDown: nothing is known then, and everything again after it. Canaries are
// looked at when it goes and when it comes.
func TestConsulIsDown(t *testing.T) {
	b := start(t, newMemory("podinfo-primary"))
	route := providers.Route{Canary: consultest.Canary(), Traffic: consultest.Weights(0)}
	b.settle(t, route)
	consultest.Must(t, b.Apply(t.Context(), route))
	b.inSync(t, route)
	b.drain(t)
	b.m.set(func() { b.m.down = &providers.UnreachableError{System: "Consul", Err: errors.New("refused")} })
	b.event(t)
	eventually(t, "it is told", func() bool {
		state, err := b.Observe(t.Context(), route)
		return providers.IsUnreachable(err) && state == providers.State{}
	})
	for _, call := range []error{b.Apply(t.Context(), route), b.Release(t.Context(), route)} {
		if !providers.IsUnreachable(call) {
			t.Error(call)
		}
	}
	b.drain(t)
	b.m.set(func() { b.m.down = nil })
	eventually(t, "it is back", func() bool {
		b.clock.Step(5 * time.Second)
		state, err := b.Observe(t.Context(), route)
		return err == nil && state.InSync
	})
	b.event(t)
}

// TestChangesAreTold to those whom they are about.
func TestChangesAreTold(t *testing.T) {
	b := start(t, newMemory("podinfo-primary"))
	b.settle(t, providers.Route{Canary: consultest.Canary(), Traffic: consultest.Weights(0)})
	b.drain(t)
	k := entries.Key{Kind: api.ServiceSplitter, Name: "other"}
	b.m.set(func() { b.m.has[k] = entries.Entry{Key: k, Index: b.m.index + 1} })
	k = entries.Key{Kind: api.ServiceIntentions, Name: "podinfo"}
	b.m.set(func() {
		b.m.has[k] = entries.Entry{Key: k, Index: b.m.index + 1, Body: map[string]any{"Sources": []any{}}}
	})
	e := b.event(t)
	consultest.Diff(t, "test/podinfo", e.Object.GetNamespace()+"/"+e.Object.GetName())
	b.drain(t)
	b.m.set(func() { delete(b.m.has, k) })
	b.event(t)
}

// TestIdleCanariesCostNothing: their route is known without asking.
func TestIdleCanariesCostNothing(t *testing.T) {
	b := start(t, newMemory())
	var routes []providers.Route
	for i := range 20 {
		name := fmt.Sprintf("app%d", i)
		b.m.serving[name+"-primary"] = true
		routes = append(routes, providers.Route{Canary: consultest.Canary(func(c *v1beta1.Canary) { c.Name, c.Spec.TargetRef.Name = name, name }), Traffic: consultest.Weights(0)})
	}
	for _, route := range routes {
		b.settle(t, route)
		consultest.Must(t, b.Apply(t.Context(), route))
	}
	for _, route := range routes {
		b.inSync(t, route)
	}
	b.m.mu.Lock()
	before := b.m.reads
	b.m.mu.Unlock()
	for _, route := range routes {
		b.inSync(t, route)
		consultest.Must(t, b.Apply(t.Context(), route))
	}
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	consultest.Diff(t, before, b.m.reads)
}

// TestReleaseWaitsForTheTarget: the service has instances again before requests come to them
// (pain 5), but not for ever.
func TestReleaseWaitsForTheTarget(t *testing.T) {
	b := start(t, newMemory("podinfo-primary"))
	route := providers.Route{Canary: consultest.Canary(), Traffic: consultest.Weights(0), PodAnnotations: consultest.Aliased()}
	b.settle(t, route)
	consultest.Must(t, b.Apply(t.Context(), route))
	b.inSync(t, route)
	before := len(b.m.written())
	route.Canary = deleted(route.Canary)
	if w := providers.WaitOf(b.Release(t.Context(), route)); w == nil || !strings.Contains(w.For, "podinfo ") {
		t.Fatal(w)
	}
	consultest.Diff(t, before, len(b.m.written()))
	b.clock.Step(time.Minute)
	consultest.Must(t, b.Release(t.Context(), route))
	eventually(t, "nothing is left", func() bool {
		state, err := b.Observe(t.Context(), route)
		return err == nil && !state.Exists && len(b.m.has) == 0
	})
}

// TestConfigurationIsTold by every call, and keeps nothing else from starting.
func TestConfigurationIsTold(t *testing.T) {
	for name, tc := range map[string]struct {
		config Config
		want   string
	}{
		"address": {Config{Address: "gopher://consul"}, "gopher"},
		"token":   {Config{Address: "127.0.0.1:1", TokenFile: "/no/token"}, "/no/token"},
		"CA":      {Config{Address: "https://127.0.0.1:1", CAFile: "/no/ca"}, "/no/ca"},
		"key":     {Config{Address: "https://127.0.0.1:1", CertFile: "/no/cert"}, "key"},
		"nobody":  {Config{Address: "https://127.0.0.1:1"}, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			r := New(tc.config, clocktesting.NewFakeClock(time.Unix(0, 0)))
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- r.Start(ctx) }()
			eventually(t, "it is told", func() bool {
				_, err := r.Observe(t.Context(), providers.Route{Canary: consultest.Canary(), Traffic: consultest.Weights(0)})
				return providers.IsUnreachable(err) && strings.Contains(err.Error(), tc.want) && !strings.Contains(err.Error(), "/v1/config")
			})
			cancel()
			consultest.Must(t, <-done)
		})
	}
}

func (b *bench) drain(t *testing.T) {
	t.Helper()
	for {
		select {
		case <-b.events:
		default:
			return
		}
	}
}

func (b *bench) event(t *testing.T) event.GenericEvent {
	t.Helper()
	select {
	case e := <-b.events:
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no event within 10 s")
		return event.GenericEvent{}
	}
}

// The first turn after a start does not take Consul for one that can't be reached: it waits a moment for the first answers, and no
// longer for one that gives none.
func TestFirstAnswers(t *testing.T) {
	route := providers.Route{Canary: consultest.Canary(), Traffic: consultest.Weights(0)}
	m := newMemory("podinfo-primary")
	b := start(t, m)
	eventually(t, "it is started", func() bool { return b.cache.Started() })
	if _, err := b.Observe(t.Context(), route); err != nil {
		t.Errorf("the first look: %v", err)
	}

	silent := startWith(t, hanging{m}, m)
	eventually(t, "it is started", func() bool { return silent.cache.Started() })
	looked := make(chan error, 1)
	go func() {
		_, err := silent.Observe(t.Context(), route)
		looked <- err
	}()
	eventually(t, "it waits", silent.clock.HasWaiters)
	select {
	case err := <-looked:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	silent.clock.Step(5 * time.Second)
	if err := <-looked; !providers.IsUnreachable(err) {
		t.Errorf("got %v of one that does not answer", err)
	}
}

// hanging is a Consul that answers nothing.
type hanging struct{ *memory }

func (hanging) List(ctx context.Context, _ entries.Scope, _ string, _ uint64) (entries.Set, uint64, error) {
	<-ctx.Done()
	return nil, 0, ctx.Err()
}
