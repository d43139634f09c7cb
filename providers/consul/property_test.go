package consul

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"pgregory.net/rapid"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/consultest"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/services"
	"github.com/sluice-delivery/sluice/providers/routertest"
)

// TestUsersObjects draws config entries of users: routers, splitters, resolvers, defaults and intentions. What becomes of
// requests is what Consul does with them by the entries.
func TestUsersObjects(t *testing.T) {
	outer := t
	routertest.UsersObjects(t, func(t *rapid.T) *routertest.Users {
		m := newMemory("podinfo-primary", "podinfo-canary")
		if rapid.Bool().Draw(t, "it serves already") {
			m.serving["podinfo"] = true
		}
		m.has, m.index = drawEntries(outer, t), 100 // which is later than what there is
		c := consultest.Canary()
		b := start(outer, m)
		route := providers.Route{Canary: c, Traffic: consultest.Weights(0)}
		eventually(outer, "everything is read", func() bool {
			_, _ = b.Observe(outer.Context(), route) // which may be refused
			v, err := b.cache.View(services.Of(c, nil, entries.Scope{}))
			return err == nil && v.Settled
		})
		users := maps.Clone(m.has)
		return &routertest.Users{
			Replay: func() func() { return b.replay(outer, c, users) },
			Router: b, Route: providers.Route{Canary: c}, Closed: true,
			Serve: func() []routertest.Outcome { return m.outcomes(outer) }, Stored: m.stored, Check: m.protected,
			Mesh: func() { b.clock.Step(5 * time.Second) }, // proxies take their time
		}
	})
}

// replay keeps a user's entries as they are. What it returns writes them once more, whole, as Consul has no other way, and
// waits until that is seen.
func (b *bench) replay(t *testing.T, c *v1beta1.Canary, users entries.Set) func() {
	was := entries.Set{}
	for k := range users {
		was[k] = b.m.has[k]
	}
	return func() {
		b.m.set(func() {
			for k, e := range was {
				e.Index = b.m.index + 1
				b.m.has[k] = e
			}
		})
		n := services.Of(c, nil, entries.Scope{})
		eventually(t, "what was written once more is seen", func() bool {
			v, err := b.cache.View(n)
			return err == nil && !slices.ContainsFunc(n.Keys(), func(k entries.Key) bool { return v.Entries[k].Index != b.m.has[k].Index })
		})
	}
}

// drawEntries draws what a user has.
func drawEntries(outer *testing.T, t *rapid.T) entries.Set {
	var lines []string
	some := func(kind, body string, one int) {
		if rapid.IntRange(0, one).Draw(t, kind) == 0 {
			lines = append(lines, kind+" "+body)
		}
	}
	some(api.ServiceDefaults, `podinfo {"Protocol":"http","MaxInboundConnections":7}`, 1)
	some(api.ServiceResolver, `podinfo {"ConnectTimeout":"3s","DefaultSubset":"v1","Subsets":{"v1":{"Filter":"a"},"v2":{"Filter":"b"}}}`, 1)
	some(api.ServiceIntentions, `podinfo {"Sources":[{"Action":"allow","Name":"web","Type":"consul"}]}`, 1)
	some(api.ServiceIntentions, `database {"Sources":[{"Action":"allow","Name":"podinfo","Type":"consul"}]}`, 9)
	some(api.ServiceSplitter, `podinfo {"Splits":[{"Weight":60,"ServiceSubset":"v1"},{"Weight":40,"ServiceSubset":"v2"}]}`, 3)
	some(api.ServiceSplitter, `billing {"Splits":[{"Weight":50},{"Weight":50,"Service":"billing-new"}]}`, 3)
	if n := rapid.IntRange(0, 4).Draw(t, "routes"); n > 0 {
		var routes []string
		for range n {
			routes = append(routes, drawRoute(t))
		}
		managed := ""
		if rapid.IntRange(0, 9).Draw(t, "by consul-k8s") == 0 {
			managed = `,"Meta":{"external-source":"kubernetes"}`
		}
		lines = append(lines, api.ServiceRouter+` podinfo {"Routes":[`+strings.Join(routes, ",")+`]`+managed+`}`)
	}
	return consultest.Having(outer, lines...)
}

func drawRoute(t *rapid.T) string {
	conditions := map[string]any{}
	if path := rapid.SampledFrom([]string{"", "/a", "/b"}).Draw(t, "prefix"); path != "" {
		conditions["PathPrefix"] = path
	}
	if rapid.Bool().Draw(t, "of testers") {
		conditions["Header"] = []any{map[string]any{"Name": "x-tester", "Exact": "yes"}}
	}
	destination := map[string]any{}
	if service := rapid.SampledFrom([]string{"", "podinfo", "billing", "podinfo-canary", "podinfo-primary"}).Draw(t, "service"); service != "" {
		destination["Service"] = service
	}
	if rapid.IntRange(0, 2).Draw(t, "timeout") == 0 {
		destination["RequestTimeout"] = "7s"
	}
	if conditions["PathPrefix"] != nil && rapid.IntRange(0, 2).Draw(t, "rewrite") == 0 {
		destination["PrefixRewrite"] = "/"
	}
	route := map[string]any{}
	if len(conditions) > 0 {
		route["Match"] = map[string]any{"HTTP": conditions}
	}
	if len(destination) > 0 {
		route["Destination"] = destination
	}
	raw, err := json.Marshal(route)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// stored are all entries as people see them.
func (m *memory) stored() any {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]string{}
	for k, e := range m.has {
		out[k.Kind+" "+k.Name] = fmt.Sprintf("%s %v", entries.Canonical(e.Body), e.Meta)
	}
	return out
}

// protected has what holds for the service hold for both halves.
func (m *memory) protected(t *rapid.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, of := range []struct{ kind, field string }{
		{api.ServiceDefaults, "MaxInboundConnections"}, {api.ServiceDefaults, "Protocol"}, {api.ServiceResolver, "ConnectTimeout"}, {api.ServiceIntentions, "Sources"},
	} {
		whole := m.has[entries.Key{Kind: of.kind, Name: "podinfo"}].Body[of.field]
		for _, half := range []string{"podinfo-primary", "podinfo-canary"} {
			if is := m.has[entries.Key{Kind: of.kind, Name: half}].Body[of.field]; fmt.Sprint(is) != fmt.Sprint(whole) {
				t.Fatalf("%s of %s is %v, and of %s %v", of.field, half, is, "podinfo", whole)
			}
		}
	}
}

// outcomes are those of requests for the service.
func (m *memory) outcomes(t *testing.T) (out []routertest.Outcome) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	router := api.ServiceRouterConfigEntry{}
	consultest.Must(t, m.has[entries.Key{Kind: api.ServiceRouter, Name: "podinfo"}].Into(&router))
	for _, path := range []string{"/", "/a/x", "/b"} {
		for _, headers := range []map[string]string{nil, {"x-tester": "yes"}, {"x-insider": "yes"}, {"x-tester": "yes", "x-insider": "yes"}, {"cookie": routertest.CanaryCookie}} {
			o := routertest.Outcome{
				Request: fmt.Sprint(path, headers), Matches: headers[routertest.InsidersHeader] == "yes", Cookie: headers["cookie"], Shares: map[string]float64{},
			}
			to := api.ServiceRouteDestination{}
			i := slices.IndexFunc(router.Routes, func(r api.ServiceRoute) bool { return r.Match == nil || fits(r.Match.HTTP, path, headers) })
			if i >= 0 && router.Routes[i].Destination != nil {
				to = *router.Routes[i].Destination
			}
			if to.Service == "" {
				to.Service = "podinfo"
			}
			o.Treatment = fmt.Sprintf("%s %s", to.RequestTimeout, to.PrefixRewrite)
			m.share(t, to.Service, 100, o.Shares)
			out = append(out, o)
		}
	}
	return out
}

// share gives a part of the requests to the instances of a service.
func (m *memory) share(t *testing.T, service string, part float64, into map[string]float64) {
	t.Helper()
	of := api.ServiceSplitterConfigEntry{}
	consultest.Must(t, m.has[entries.Key{Kind: api.ServiceSplitter, Name: service}].Into(&of))
	if len(of.Splits) == 0 {
		into[service+":"] += part
		return
	}
	for _, s := range of.Splits {
		weight := part * float64(s.Weight) / 100
		if s.Service == "" || s.Service == service {
			into[service+":"] += weight
			continue
		}
		m.share(t, s.Service, weight, into)
	}
}

// fits tells whether a request fits a match of a route.
func fits(m *api.ServiceRouteHTTPMatch, path string, headers map[string]string) bool {
	if m == nil {
		return true
	}
	if !strings.HasPrefix(path, m.PathPrefix) || m.PathExact != "" && path != m.PathExact {
		return false
	}
	return !slices.ContainsFunc(m.Header, func(h api.ServiceRouteHTTPMatchHeader) bool {
		got, has := headers[h.Name]
		return !has || h.Exact != "" && got != h.Exact || h.Regex != "" && !regexp.MustCompile("^(?:"+h.Regex+")$").MatchString(got)
	})
}

// TestRouteToTheCanary has a user's route to the canary by name stay what it is: it is neither shared out, nor taken for what a
// release does, nor is an instance of the canary waited for because of it.
func TestRouteToTheCanary(t *testing.T) {
	const testers = `{"Match":{"HTTP":{"Header":[{"Name":"x-tester","Exact":"yes"}]}},"Destination":{"Service":"podinfo-canary"}}`
	m := newMemory("podinfo-primary")
	m.has = consultest.Having(t, api.ServiceRouter+` podinfo {"Routes":[`+testers+`]}`)
	before := maps.Clone(m.has)
	b := start(t, m)
	route := providers.Route{Canary: consultest.Canary(), Traffic: consultest.Weights(0)}
	b.settle(t, route)
	consultest.Must(t, b.Apply(t.Context(), route))
	b.inSync(t, route)
	router := m.has[entries.Key{Kind: api.ServiceRouter, Name: "podinfo"}]
	consultest.Diff(t, string(entries.Canonical(before[router.Key].Body)), string(entries.Canonical(router.Body)))
	other := route
	other.Traffic = consultest.Weights(40)
	if state, err := b.Observe(t.Context(), other); err != nil || state.Traffic != route.Traffic {
		t.Errorf("observed %+v, %v", state, err)
	}
	if err := b.Apply(t.Context(), other); providers.WaitOf(err) == nil {
		t.Errorf("requests are led to a canary without instances: %v", err)
	}
}
