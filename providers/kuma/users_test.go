package kuma_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/kuma"
	"github.com/sluice-delivery/sluice/providers/routertest"
)

// TestUsersObjects draws TrafficRoutes of users': one of the apex Service's name, with paths, headers, changes of paths and
// Services of its own, which may be for another Service, and one for all Services beside it.
func TestUsersObjects(t *testing.T) {
	outer := t
	routertest.UsersObjects(t, func(t *rapid.T) *routertest.Users {
		w := newWorld(outer, served())
		users := drawRoutes(outer, t)
		for _, route := range users {
			if err := w.Create(outer.Context(), route); err != nil {
				t.Fatal(err)
			}
		}
		return &routertest.Users{
			Router: w.router, Route: providers.Route{Canary: canary()}, Closed: true,
			Serve: func() []routertest.Outcome { return w.outcomes(outer) }, Stored: func() any { return w.stored(outer) },
			Replay: func() func() { return w.replay(outer, users) },
		}
	})
}

const (
	apexTag    = "podinfo_test_svc_80"
	billingTag = "billing_test_svc_80"
	canaryTag  = "podinfo-canary_test_svc_80"
)

// drawRoutes draws the TrafficRoutes of a user.
func drawRoutes(outer *testing.T, t *rapid.T) []*kuma.TrafficRoute {
	var out []*kuma.TrafficRoute
	if rapid.Bool().Draw(t, "one for all Services") {
		out = append(out, named(outer, "all", `{sources: [{match: {kuma.io/service: '*'}}], destinations: [{match: {kuma.io/service: '*'}}], conf: {destination: {kuma.io/service: '*'}}}`))
	}
	if rapid.IntRange(0, 9).Draw(t, "none of that name") == 0 {
		return out
	}
	destinations := rapid.SampledFrom([][]string{{apexTag}, {apexTag}, {apexTag}, {apexTag}, {apexTag}, {apexTag, billingTag}, {billingTag}}).Draw(t, "destinations")
	conf := drawPart(t)
	if len(destinations) == 1 && destinations[0] == billingTag { // what is sent to podinfo from there goes to whom podinfo selects: the primary
		out = append(out, named(outer, "podinfo", `{sources: [{match: {kuma.io/service: '*'}}], destinations: [{match: {kuma.io/service: billing_test_svc_80}}], conf: {destination: {kuma.io/service: ledger_test_svc_80}}}`))
		return out
	}
	var http []any
	for range rapid.IntRange(0, 3).Draw(t, "kinds of requests") {
		entry := drawPart(t)
		match := map[string]any{}
		if path := rapid.SampledFrom([]string{"", "/a", "/a/b"}).Draw(t, "path"); path != "" {
			match["path"] = map[string]any{"prefix": path}
		}
		if rapid.Bool().Draw(t, "of beta testers") {
			match["headers"] = map[string]any{"x-beta": map[string]any{"exact": "yes"}}
		}
		if len(match) > 0 {
			entry["match"] = match
		}
		if rapid.IntRange(0, 2).Draw(t, "another path") == 0 {
			entry["modify"] = map[string]any{"path": map[string]any{"rewritePrefix": "/v2"}}
		}
		http = append(http, entry)
	}
	if len(http) > 0 {
		conf["http"] = http
	}
	if rapid.Bool().Draw(t, "load balancer") {
		conf["loadBalancer"] = map[string]any{"roundRobin": map[string]any{}}
	}
	spec := map[string]any{"conf": conf, "sources": []any{selector(rapid.SampledFrom([]string{"*", "*", "*", "*", "*", "*", "*", "web_test_svc_80"}).Draw(t, "sources"))}}
	var list []any
	for _, service := range destinations {
		list = append(list, selector(service))
	}
	spec["destinations"] = list
	route := named(outer, "podinfo", "{}")
	route.Spec = spec
	route.Labels, route.Annotations = map[string]string{"team": "theirs"}, map[string]string{"note": "theirs"}
	return append(out, route)
}

func selector(service string) map[string]any {
	return map[string]any{"match": map[string]any{"kuma.io/service": service}}
}

// drawPart draws where requests go.
func drawPart(t *rapid.T) map[string]any {
	to := func(service string) map[string]any { return map[string]any{"kuma.io/service": service} }
	switch rapid.SampledFrom([]string{"ours", "ours", "ours", "ours", "another", "several", "the canary", "both"}).Draw(t, "where") {
	case "ours":
		destination := to(apexTag)
		if rapid.IntRange(0, 14).Draw(t, "a version") == 0 {
			destination["version"] = "v1"
		}
		return map[string]any{"destination": destination}
	case "another":
		return map[string]any{"destination": to(billingTag)}
	case "several":
		return map[string]any{"split": []any{
			map[string]any{"weight": int64(3), "destination": to(billingTag)}, map[string]any{"weight": int64(1), "destination": map[string]any{"kuma.io/service": "ledger_test_svc_80", "version": "v2"}},
		}}
	case "the canary":
		return map[string]any{"split": []any{map[string]any{"weight": int64(100), "destination": to(canaryTag)}}}
	default:
		if rapid.IntRange(0, 2).Draw(t, "with another") == 0 {
			return map[string]any{"split": []any{map[string]any{"weight": int64(1), "destination": to(billingTag)}, map[string]any{"weight": int64(1), "destination": to(apexTag)}}}
		}
		return map[string]any{"split": []any{map[string]any{"weight": int64(100), "destination": to(apexTag)}}}
	}
}

func (w *world) all(t *testing.T) []kuma.TrafficRoute {
	t.Helper()
	list := &kuma.TrafficRouteList{}
	if err := w.List(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func (w *world) stored(t *testing.T) any {
	t.Helper()
	out := map[string]any{}
	for _, route := range w.all(t) {
		out[route.Name] = []any{route.Spec, route.Mesh, route.Labels, route.Annotations}
	}
	return out
}

// replay keeps what users have as it is, and writes its spec.
func (w *world) replay(t *testing.T, users []*kuma.TrafficRoute) func() {
	was := map[string]map[string]any{}
	for _, route := range users {
		was[route.Name] = runtime.DeepCopyJSON(w.get(t, route.Name).Spec)
	}
	return func() {
		for name, spec := range was {
			live := w.get(t, name)
			live.Spec = runtime.DeepCopyJSON(spec)
			if err := w.Update(t.Context(), live); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// outcomes are those of requests of two clients for two Services.
func (w *world) outcomes(t *testing.T) (out []routertest.Outcome) {
	t.Helper()
	routes := w.all(t)
	for _, source := range []string{"web_test_svc_80", "shop_test_svc_80"} {
		for _, service := range []string{apexTag, billingTag} {
			for _, path := range []string{"/", "/a", "/a/b/c"} {
				for _, headers := range []map[string]string{{}, {"x-beta": "yes"}, {routertest.InsidersHeader: "yes"}, {"x-beta": "yes", routertest.InsidersHeader: "yes"}} {
					o := routertest.Outcome{
						Request: fmt.Sprint(source, " to ", service, path, headers), Matches: headers[routertest.InsidersHeader] == "yes", Shares: map[string]float64{},
					}
					serve(routes, source, service, path, headers, &o)
					out = append(out, o)
				}
			}
		}
	}
	return out
}

// serve is what proxies do with a request: they go by the TrafficRoute that names the Service, and else by that for all, and in it by the
// first entry that fits.
func serve(routes []kuma.TrafficRoute, source, service, path string, headers map[string]string, o *routertest.Outcome) {
	best, rank := map[string]any{"destination": map[string]any{"kuma.io/service": "*"}}, -1
	for _, route := range routes {
		from, to := selects(route.Spec["sources"], source), selects(route.Spec["destinations"], service)
		if from < 0 || to < 0 || from+to <= rank {
			continue
		}
		best, rank = route.Spec["conf"].(map[string]any), from+to
	}
	part := best
	entries, _ := best["http"].([]any)
	if i := slices.IndexFunc(entries, func(e any) bool { return fits(e.(map[string]any)["match"], path, headers) }); i >= 0 {
		part = entries[i].(map[string]any)
	}
	list, _ := part["split"].([]any)
	if destination, ok := part["destination"]; ok {
		list = []any{map[string]any{"weight": int64(1), "destination": destination}}
	}
	total := int64(0)
	for _, one := range list {
		total += one.(map[string]any)["weight"].(int64)
	}
	for _, one := range list {
		destination := one.(map[string]any)["destination"].(map[string]any)
		name := destination["kuma.io/service"].(string)
		if name == "*" {
			name = service
		}
		parts := strings.Split(name, "_")
		to := parts[0] + ":" + parts[3]
		if version, ok := destination["version"]; ok {
			to = fmt.Sprintf("%s %s:%s", parts[0], version, parts[3])
		}
		o.Shares[to] += 100 * float64(one.(map[string]any)["weight"].(int64)) / float64(total)
	}
	o.Treatment = fmt.Sprint(part["modify"], best["loadBalancer"])
}

// selects says how closely a list of selectors fits a Service, -1 where it does not.
func selects(list any, service string) int {
	rank := -1
	for _, one := range list.([]any) {
		switch one.(map[string]any)["match"].(map[string]any)["kuma.io/service"] {
		case service:
			rank = max(rank, 1)
		case "*":
			rank = max(rank, 0)
		}
	}
	return rank
}

func fits(match any, path string, headers map[string]string) bool {
	m, _ := match.(map[string]any)
	if of, ok := m["path"].(map[string]any); ok && !strings.HasPrefix(path, of["prefix"].(string)) {
		return false
	}
	wanted, _ := m["headers"].(map[string]any)
	for name, value := range wanted {
		if headers[name] != value.(map[string]any)["exact"] {
			return false
		}
	}
	return true
}

// What a user's TrafficRoute can't say together with a release is refused, and nothing is written.
func TestUsersRefused(t *testing.T) {
	const ends = "sources: [{match: {kuma.io/service: '*'}}]\ndestinations: [{match: {kuma.io/service: podinfo_test_svc_80}}]\n"
	for name, tc := range map[string]struct{ spec, want string }{
		"for some clients": {
			`{sources: [{match: {kuma.io/service: web_test_svc_80}}], destinations: [{match: {kuma.io/service: podinfo_test_svc_80}}], conf: {destination: {kuma.io/service: podinfo_test_svc_80}}}`,
			"spec.sources",
		},
		"to some pods":     {ends + `conf: {destination: {kuma.io/service: podinfo_test_svc_80, version: v1}}`, "spec.conf"},
		"shared by others": {ends + `conf: {http: [{split: [{weight: 1, destination: {kuma.io/service: podinfo_test_svc_80}}, {weight: 1, destination: {kuma.io/service: b}}]}], destination: {kuma.io/service: b}}`, "spec.conf.http[0]"},
		"elsewhere":        {ends + `conf: {destination: {kuma.io/service: billing_test_svc_80}}`, "spec.conf"},
		"the same header":  {ends + `conf: {http: [{match: {headers: {x-canary: {exact: a}}}, destination: {kuma.io/service: podinfo_test_svc_80}}], destination: {kuma.io/service: podinfo_test_svc_80}}`, "spec.analysis.match[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, served(), named(t, "podinfo", tc.spec))
			before := w.stored(t)
			c := canary(matching(`{"headers":{"x-canary":{"exact":"insider"}}}`))
			err := w.router.Apply(t.Context(), providers.Route{Canary: c, Traffic: providers.Traffic{Canary: 100, Matched: true}})
			if !providers.IsInvalid(err) && !providers.IsUnsupported(err) || !strings.Contains(err.Error(), tc.want) || w.Writes > 0 {
				t.Errorf("error %v after %d writes", err, w.Writes)
			}
			if diff := cmp.Diff(before, w.stored(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
