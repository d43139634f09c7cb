package consul

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/consultest"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
)

// stopping is a Consul at one of whose writes the router is stopped, before it is done or after it.
type stopping struct {
	*memory
	at    int // which write, from 1; 0 for none
	after bool
	n     int
}

var errStopped = errors.New("stopped")

func (s *stopping) write(do func() (bool, error)) (bool, error) {
	s.n++
	if s.n != s.at {
		return do()
	}
	if s.after {
		if done, err := do(); err != nil || !done {
			return done, err
		}
	}
	return false, errStopped
}

// Put implements store.
func (s *stopping) Put(ctx context.Context, of entries.Scope, e entries.Entry, index uint64) (bool, error) {
	return s.write(func() (bool, error) { return s.memory.Put(ctx, of, e, index) })
}

// Remove implements store.
func (s *stopping) Remove(ctx context.Context, of entries.Scope, k entries.Key, index uint64) (bool, error) {
	return s.write(func() (bool, error) { return s.memory.Remove(ctx, of, k, index) })
}

// bodies are all entries without what Consul counts.
func (s *stopping) bodies() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]string{}
	for k, e := range s.has {
		out[k.Kind+" "+k.Name] = string(entries.Canonical(e.Body))
	}
	return out
}

// shares are those of the splitter that users' requests come to, nil while there is none.
func (s *stopping) shares(t *testing.T) map[string]float32 {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.has[entries.Key{Kind: api.ServiceSplitter, Name: "podinfo"}]
	if !ok {
		return nil
	}
	of := api.ServiceSplitterConfigEntry{}
	consultest.Must(t, e.Into(&of))
	out := map[string]float32{}
	for _, split := range of.Splits {
		out[split.Service] += split.Weight
	}
	return out
}

// reach has routers, each of which begins with empty memory, bring Consul to a route or back.
func (s *stopping) reach(t *testing.T, route providers.Route, between func()) {
	t.Helper()
	b := startWith(t, s, s.memory)
	for range 50 {
		b.settle(t, route)
		written := s.n
		var err error
		if route.Canary.DeletionTimestamp.IsZero() {
			err = b.Apply(t.Context(), route)
		} else {
			err = b.Release(t.Context(), route)
		}
		between()
		wait := providers.WaitOf(err)
		switch {
		case errors.Is(err, errStopped):
			b = startWith(t, s, s.memory)
		case wait != nil:
			b.clock.Step(max(wait.After, time.Second))
		case err != nil:
			t.Fatal(err)
		case s.n == written: // there is nothing left to write
			return
		}
	}
	t.Fatalf("it does not come to %+v", route.Traffic)
}

// TestStoppedAtEachWrite stops the router before and after each write of a release, and another one goes on with what there
// is: users' requests are divided as at the step before or as at this one, and in the end Consul has what it has else.
func TestStoppedAtEachWrite(t *testing.T) {
	for name, tc := range map[string]struct {
		canary *v1beta1.Canary
		with   func(*providers.Traffic)
	}{
		"weights":  {consultest.Canary(), func(*providers.Traffic) {}},
		"sessions": {consultest.Canary(consultest.Sticky), func(of *providers.Traffic) { of.Sessions = consultest.Step }},
		"matches": {consultest.Canary(consultest.Matching(`{"headers":{"x":{"exact":"y"}}}`)), func(of *providers.Traffic) {
			of.Primary, of.Canary, of.Matched = 0, 100, true
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var undisturbed []map[string]string
			var all []string
			for at := 0; at <= len(all); at++ {
				for _, after := range []bool{false, true} {
					s := &stopping{memory: newMemory("podinfo", "podinfo-primary", "podinfo-canary"), at: at, after: after}
					got := s.release(t, tc.canary, tc.with)
					if at == 0 {
						undisturbed, all = got, s.written()
						continue
					}
					if s.n < at {
						t.Fatalf("there is no write %d", at)
					}
					for i := range undisturbed {
						if !maps.Equal(undisturbed[i], got[i]) {
							t.Errorf("stopped at %s (done: %v), step %d ends with\n%v\nand else with\n%v", all[at-1], after, i, got[i], undisturbed[i])
						}
					}
				}
			}
			t.Logf("%d writes", len(all))
		})
	}
}

// release goes by steps and back, and gives what Consul has after each.
func (s *stopping) release(t *testing.T, c *v1beta1.Canary, with func(*providers.Traffic)) (after []map[string]string) {
	t.Helper()
	before := map[string]float32{}
	for _, weight := range []int32{0, 20, 60, 0, -1} {
		route := providers.Route{Canary: c, Traffic: consultest.Weights(max(weight, 0))}
		if weight > 0 {
			with(&route.Traffic)
		}
		if weight < 0 {
			route.Canary = deleted(c)
		}
		var seen []map[string]float32
		s.reach(t, route, func() { seen = append(seen, s.shares(t)) })
		now := s.shares(t)
		for _, shares := range seen {
			if shares == nil || maps.Equal(shares, before) || maps.Equal(shares, now) {
				continue
			}
			if sum := total(shares); sum != 100 || shares["podinfo-canary"] > max(before["podinfo-canary"], now["podinfo-canary"]) {
				t.Errorf("between %v and %v requests are divided as %v", before, now, shares)
			}
		}
		before = now
		after = append(after, s.bodies())
	}
	return after
}

func total(shares map[string]float32) (sum float32) {
	for _, service := range slices.Sorted(maps.Keys(shares)) {
		sum += shares[service]
	}
	return sum
}
