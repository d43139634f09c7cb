package consul

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/consultest"
)

var clusterIPs = providers.ClusterIPs{Apex: "10.0.0.1", Canary: "10.0.0.3"}

// TestAddresses: transparent proxies know what the cluster IPs stand for before the apex Service leads
// elsewhere, and that costs nothing while nothing changes.
func TestAddresses(t *testing.T) {
	seen := []string{"assign 10.0.0.1 podinfo", "assign 10.0.0.3 podinfo-canary"}
	for name, tc := range map[string]struct {
		change func(*memory, *providers.Route)
		want   []string
	}{
		"a Consul with a table of its own": {change: func(*memory, *providers.Route) {}, want: seen},
		"one without":                      {change: func(m *memory, _ *providers.Route) { m.old = true }, want: seen},
		"no transparent proxies":           {change: func(m *memory, _ *providers.Route) { m.transparent = false }},
		"pods registered for the canary Service": {
			change: func(m *memory, r *providers.Route) { r.PodAnnotations, m.serving["podinfo-canary"] = nil, true }, want: seen[:1],
		},
		"Services that are not there yet": {change: func(_ *memory, r *providers.Route) { r.ClusterIPs = providers.ClusterIPs{} }},
		"headless Services":               {change: func(_ *memory, r *providers.Route) { r.ClusterIPs = providers.ClusterIPs{Apex: "None", Canary: "None"} }},
		"consul-k8s has told one already": {change: func(m *memory, _ *providers.Route) {
			m.assigned["podinfo"], m.assigned["podinfo-canary"] = "10.0.0.1", "10.0.0.9"
		}, want: seen},
		"both are told": {change: func(m *memory, _ *providers.Route) {
			m.assigned["podinfo"], m.assigned["podinfo-canary"] = "10.0.0.1", "10.0.0.3"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory("podinfo-primary")
			m.transparent = true
			route := providers.Route{Canary: consultest.Canary(), Traffic: consultest.Weights(0), PodAnnotations: consultest.Aliased(), ClusterIPs: clusterIPs}
			tc.change(m, &route)
			b := start(t, m)
			b.settle(t, route)
			consultest.Must(t, b.Apply(t.Context(), route))
			assigned := func() []string {
				return slices.DeleteFunc(b.m.written(), func(w string) bool { return !strings.HasPrefix(w, "assign") })
			}
			consultest.Diff(t, fmt.Sprint(tc.want), fmt.Sprint(assigned()))
			b.inSync(t, route)
			reads := b.m.reads
			for range 3 {
				consultest.Must(t, b.Apply(t.Context(), route))
				b.inSync(t, route)
			}
			consultest.Diff(t, fmt.Sprint(tc.want), fmt.Sprint(assigned()))
			consultest.Diff(t, reads, b.m.reads)
		})
	}
}

// TestAddressesAreTaken, and so told again: a Service that was made anew has another address, and a
// restarted operator remembers nothing.
func TestAddressesAreTaken(t *testing.T) {
	m := newMemory("podinfo-primary")
	m.transparent, m.old = true, true
	route := providers.Route{Canary: consultest.Canary(), Traffic: consultest.Weights(0), PodAnnotations: consultest.Aliased(), ClusterIPs: clusterIPs}
	b := start(t, m)
	b.settle(t, route)
	consultest.Must(t, b.Apply(t.Context(), route))
	b.inSync(t, route)
	route.ClusterIPs.Apex = "10.0.0.2"
	if state, err := b.Observe(t.Context(), route); err != nil || state.InSync || !strings.Contains(state.Detail, "cluster IP") {
		t.Fatalf("%+v, %v", state, err)
	}
	consultest.Must(t, b.Apply(t.Context(), route))
	b.inSync(t, route)
	consultest.Diff(t, map[string]string{"podinfo": "10.0.0.2", "podinfo-canary": "10.0.0.3"}, m.held)

	again := start(t, m)
	again.settle(t, route)
	before := len(m.written())
	again.inSync(t, route)
	consultest.Must(t, again.Apply(t.Context(), route))
	consultest.Diff(t, before, len(m.written()))
}

// TestAddressesAreForgotten once the target's own instances tell of them, and those are not registered for
// what goes with the Canary.
func TestAddressesAreForgotten(t *testing.T) {
	m := newMemory("podinfo", "podinfo-primary")
	m.transparent, m.old, m.registeredFor = true, true, "podinfo-consul"
	route := providers.Route{Canary: consultest.Canary(), Traffic: consultest.Weights(0), PodAnnotations: consultest.Aliased(), ClusterIPs: clusterIPs}
	b := start(t, m)
	b.settle(t, route)
	_ = b.Apply(t.Context(), route)
	b.clock.Step(warmUp)
	b.settle(t, route)
	consultest.Must(t, b.Apply(t.Context(), route))
	b.inSync(t, route)
	consultest.Diff(t, 2, len(m.held))
	route.Canary = deleted(route.Canary)
	if w := providers.WaitOf(b.Release(t.Context(), route)); w == nil || len(m.held) != 2 {
		t.Fatal(w, m.held)
	}
	m.set(func() { m.registeredFor = "podinfo" })
	consultest.Must(t, b.Release(t.Context(), route))
	consultest.Diff(t, map[string]string{}, m.held)
	eventually(t, "nothing is left", func() bool {
		state, err := b.Observe(t.Context(), route)
		return err == nil && !state.Exists
	})
}

// TestAddressesRefused: the apex Service is not led elsewhere, and the condition says why.
func TestAddressesRefused(t *testing.T) {
	m := newMemory("podinfo-primary")
	m.transparent, m.refuses = true, &providers.UnreachableError{System: "Consul", Err: fmt.Errorf("it refuses the token")}
	route := providers.Route{Canary: consultest.Canary(), Traffic: consultest.Weights(0), PodAnnotations: consultest.Aliased(), ClusterIPs: clusterIPs}
	b := start(t, m)
	b.settle(t, route)
	err := b.Apply(t.Context(), route)
	if !providers.IsUnreachable(err) || !strings.Contains(err.Error(), "have 10.0.0.1 stand for podinfo") {
		t.Error(err)
	}
	state, err := b.Observe(t.Context(), route)
	if err != nil || state.InSync {
		t.Errorf("%+v, %v", state, err)
	}
}
