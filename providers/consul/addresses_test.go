package consul

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/providers"
)

var clusterIPs = providers.ClusterIPs{Apex: "10.0.0.1", Canary: "10.0.0.3"}

// TestAddresses: transparent proxies know what the cluster IPs stand for before the apex Service leads
// elsewhere, and that costs nothing while nothing changes.
func TestAddresses(t *testing.T) {
	told := []string{"assign 10.0.0.1 podinfo", "assign 10.0.0.3 podinfo-canary"}
	for name, tc := range map[string]struct {
		change func(*memory, *providers.Route)
		want   []string
	}{
		"a Consul with a table of its own": {change: func(*memory, *providers.Route) {}, want: told},
		"one without":                      {change: func(m *memory, _ *providers.Route) { m.old = true }, want: told},
		"no transparent proxies":           {change: func(m *memory, _ *providers.Route) { m.transparent = false }},
		"pods registered for the canary Service": {
			change: func(m *memory, r *providers.Route) { r.PodAnnotations, m.serving["podinfo-canary"] = nil, true }, want: told[:1],
		},
		"Services that are not there yet": {change: func(_ *memory, r *providers.Route) { r.ClusterIPs = providers.ClusterIPs{} }},
		"headless Services":               {change: func(_ *memory, r *providers.Route) { r.ClusterIPs = providers.ClusterIPs{Apex: "None", Canary: "None"} }},
		"consul-k8s has told one already": {change: func(m *memory, _ *providers.Route) {
			m.assigned["podinfo"], m.assigned["podinfo-canary"] = "10.0.0.1", "10.0.0.9"
		}, want: told},
		"both are told": {change: func(m *memory, _ *providers.Route) {
			m.assigned["podinfo"], m.assigned["podinfo-canary"] = "10.0.0.1", "10.0.0.3"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory("podinfo-primary")
			m.transparent = true
			route := providers.Route{Canary: canary(), Traffic: weights(0), PodAnnotations: aliased, ClusterIPs: clusterIPs}
			tc.change(m, &route)
			b := start(t, m)
			b.settle(t, route)
			must(t, b.Apply(t.Context(), route))
			assigned := func() []string {
				return slices.DeleteFunc(b.m.written(), func(w string) bool { return !strings.HasPrefix(w, "assign") })
			}
			diff(t, fmt.Sprint(tc.want), fmt.Sprint(assigned()))
			b.inSync(t, route)
			reads := b.m.reads
			for range 3 {
				must(t, b.Apply(t.Context(), route))
				b.inSync(t, route)
			}
			diff(t, fmt.Sprint(tc.want), fmt.Sprint(assigned()))
			diff(t, reads, b.m.reads)
		})
	}
}

// TestAddressesAreTaken, and so told again: a Service that was made anew has another address, and a
// restarted operator remembers nothing.
func TestAddressesAreTaken(t *testing.T) {
	m := newMemory("podinfo-primary")
	m.transparent, m.old = true, true
	route := providers.Route{Canary: canary(), Traffic: weights(0), PodAnnotations: aliased, ClusterIPs: clusterIPs}
	b := start(t, m)
	b.settle(t, route)
	must(t, b.Apply(t.Context(), route))
	b.inSync(t, route)
	route.ClusterIPs.Apex = "10.0.0.2"
	if state, err := b.Observe(t.Context(), route); err != nil || state.InSync || !strings.Contains(state.Detail, "cluster IP") {
		t.Fatalf("%+v, %v", state, err)
	}
	must(t, b.Apply(t.Context(), route))
	b.inSync(t, route)
	diff(t, map[string]string{"podinfo": "10.0.0.2", "podinfo-canary": "10.0.0.3"}, m.held)

	again := start(t, m)
	again.settle(t, route)
	before := len(m.written())
	again.inSync(t, route)
	must(t, again.Apply(t.Context(), route))
	diff(t, before, len(m.written()))
}

// TestAddressesAreForgotten once the target's own instances tell of them, and those are not registered for
// what goes with the Canary.
func TestAddressesAreForgotten(t *testing.T) {
	m := newMemory("podinfo", "podinfo-primary")
	m.transparent, m.old, m.registeredFor = true, true, "podinfo-consul"
	route := providers.Route{Canary: canary(), Traffic: weights(0), PodAnnotations: aliased, ClusterIPs: clusterIPs}
	b := start(t, m)
	b.settle(t, route)
	_ = b.Apply(t.Context(), route)
	b.clock.Step(warmUp)
	b.settle(t, route)
	must(t, b.Apply(t.Context(), route))
	b.inSync(t, route)
	diff(t, 2, len(m.held))
	route.Canary = deleted(route.Canary)
	if w := providers.WaitOf(b.Release(t.Context(), route)); w == nil || len(m.held) != 2 {
		t.Fatal(w, m.held)
	}
	m.set(func() { m.registeredFor = "podinfo" })
	must(t, b.Release(t.Context(), route))
	diff(t, map[string]string{}, m.held)
	eventually(t, "nothing is left", func() bool {
		state, err := b.Observe(t.Context(), route)
		return err == nil && !state.Exists
	})
}

// TestAddressesRefused: the apex Service is not led elsewhere, and the condition says why.
func TestAddressesRefused(t *testing.T) {
	m := newMemory("podinfo-primary")
	m.transparent, m.refuses = true, &providers.UnreachableError{System: "Consul", Err: fmt.Errorf("it refuses the token")}
	route := providers.Route{Canary: canary(), Traffic: weights(0), PodAnnotations: aliased, ClusterIPs: clusterIPs}
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

// TestAssign asks a Consul for what its version can: the table of virtual IPs, else instances that
// are never healthy.
func TestAssign(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		answer string
		want   []string
		waits  bool
		fails  bool
	}{
		"1.16":                      {status: http.StatusOK, answer: `{"Found":true}`, want: []string{"PUT /v1/internal/service-virtual-ip podinfo [10.0.0.1]"}},
		"before it knows a service": {status: http.StatusOK, answer: `{"Found":false}`, want: []string{"PUT /v1/internal/service-virtual-ip podinfo [10.0.0.1]"}, waits: true},
		"1.14": {status: http.StatusNotFound, want: []string{
			"PUT /v1/internal/service-virtual-ip podinfo [10.0.0.1]",
			"PUT /v1/catalog/register podinfo critical virtual 10.0.0.1", "PUT /v1/catalog/register podinfo-sidecar-proxy of podinfo critical virtual 10.0.0.1",
		}},
		"without the right": {status: http.StatusForbidden, answer: "Permission denied", want: []string{"PUT /v1/internal/service-virtual-ip podinfo [10.0.0.1]"}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var sent struct {
					api.AssignServiceManualVIPsRequest
					of api.CatalogRegistration
				}
				line := r.Method + " " + r.URL.Path + " "
				if r.URL.Path == "/v1/catalog/register" {
					if err := json.NewDecoder(r.Body).Decode(&sent.of); err != nil {
						t.Error(err)
					}
					s := sent.of.Service
					if line += s.Service; s.Proxy != nil {
						line += " of " + s.Proxy.DestinationServiceName
					}
					got = append(got, line+" "+sent.of.Check.Status+" virtual "+s.TaggedAddresses["virtual"].Address)
					fmt.Fprint(w, "true")
					return
				}
				if err := json.NewDecoder(r.Body).Decode(&sent.AssignServiceManualVIPsRequest); err != nil {
					t.Error(err)
				}
				got = append(got, fmt.Sprint(line, sent.AssignServiceManualVIPsRequest.Service, " ", sent.ManualVIPs))
				w.WriteHeader(tc.status)
				fmt.Fprint(w, tc.answer)
			}))
			defer server.Close()
			s, err := newServer(Config{Address: server.URL})
			must(t, err)
			err = s.assign(t.Context(), scope{}, address{"podinfo", "10.0.0.1"})
			if waits, fails := providers.WaitOf(err) != nil, providers.IsUnreachable(err); waits != tc.waits || fails != tc.fails || err != nil && !waits && !fails {
				t.Error(err)
			}
			diff(t, tc.want, got)
		})
	}
}
