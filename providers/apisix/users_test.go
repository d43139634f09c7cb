package apisix_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/apisix"
	"github.com/sluice-delivery/sluice/providers/internal/custom"
	"github.com/sluice-delivery/sluice/providers/routertest"
)

// TestUsersObjects draws an ApisixRoute of a user's: hosts, paths, expressions, priorities and Services with ports. What becomes of
// requests is what APISIX does with them by it and by ours.
func TestUsersObjects(t *testing.T) {
	outer := t
	routertest.UsersObjects(t, func(t *rapid.T) *routertest.Users {
		users := drawRoute(t)
		w := newWorld(outer, served(), users)
		return &routertest.Users{
			Router: w.router, Route: providers.Route{Canary: canary()}, Closed: true,
			Serve: func() []routertest.Outcome { return w.outcomes(outer) }, Stored: func() any { return w.stored(outer) },
			Mesh: func() { w.says(outer, "Accepted", metav1.ConditionTrue) },
			Check: func(t *rapid.T) {
				if now := w.get(outer, "edge"); fmt.Sprint(now.Spec, now.Annotations, now.Labels) != fmt.Sprint(users.Spec, users.Annotations, users.Labels) {
					t.Fatalf("the user's route is %+v", now)
				}
			},
		}
	})
}

func drawRoute(t *rapid.T) *apisix.ApisixRoute {
	var rules []any
	paths := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"/*", "/a", "/a/*", "/a/b/*"}), 1, 4, rapid.ID[string]).Draw(t, "paths")
	for i, path := range paths {
		for j, beta := range rapid.SampledFrom([][]bool{{false}, {false}, {true}, {true, false}}).Draw(t, "for beta testers") {
			match := map[string]any{"paths": []any{path}}
			if rapid.Bool().Draw(t, "a host") {
				match["hosts"] = []any{"app.example.com"}
			}
			rule := map[string]any{"name": fmt.Sprintf("rule-%d-%d", i, j), "match": match, "backends": drawBackends(t)}
			if beta {
				match["exprs"] = []any{map[string]any{"subject": map[string]any{"scope": "Header", "name": "x-beta"}, "op": "Equal", "value": "yes"}}
				rule["priority"] = rapid.SampledFrom([]int64{1, 10, 10000, 20000}).Draw(t, "priority")
			}
			if rapid.Bool().Draw(t, "web sockets") {
				rule["websocket"] = true
			}
			rules = append(rules, rule)
		}
	}
	spec := map[string]any{"http": rules}
	if rapid.Bool().Draw(t, "a class") {
		spec["ingressClassName"] = "edge"
	}
	return &apisix.ApisixRoute{Resource: custom.Resource{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "edge"}, Spec: spec}}
}

func drawBackends(t *rapid.T) []any {
	backend := func(name string, port int64) map[string]any {
		return map[string]any{"serviceName": name, "servicePort": port}
	}
	switch rapid.SampledFrom([]string{"ours", "ours", "ours", "another", "several", "the canary"}).Draw(t, "backends") {
	case "ours":
		out := backend("podinfo", rapid.SampledFrom([]int64{80, 9090}).Draw(t, "port"))
		if rapid.Bool().Draw(t, "by service") {
			out["resolveGranularity"] = "service"
		}
		if rapid.Bool().Draw(t, "a weight") {
			out["weight"] = int64(7)
		}
		return []any{out}
	case "another":
		return []any{backend("billing", 80)}
	case "several":
		one := backend("billing", 80)
		one["weight"] = int64(300)
		return []any{one, backend("ledger", 80)} // 100, where nothing is said
	default:
		return []any{backend("podinfo-canary", 80)}
	}
}

// request is what APISIX looks at.
type request struct {
	host, path    string
	beta, insider bool
}

func (w *world) outcomes(t *testing.T) (out []routertest.Outcome) {
	t.Helper()
	rules := w.rules(t)
	for _, host := range []string{"app.example.com", "other.example.com"} {
		for _, path := range []string{"/", "/a", "/a/b/c"} {
			for n := range 4 {
				r := request{host, path, n&1 > 0, n&2 > 0}
				o := routertest.Outcome{Request: r, Matches: r.insider, Shares: map[string]float64{}}
				r.serve(t, rules, &o)
				out = append(out, o)
			}
		}
	}
	return out
}

// rules are those of all routes.
func (w *world) rules(t *testing.T) (out []map[string]any) {
	t.Helper()
	list := &apisix.ApisixRouteList{}
	if err := w.List(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	for _, route := range list.Items {
		rules, _ := route.Spec["http"].([]any)
		for _, rule := range rules {
			out = append(out, runtime.DeepCopyJSON(rule.(map[string]any)))
		}
	}
	return out
}

// serve takes the most specific path of which a rule is for the request, and of those the rule with the highest priority.
func (r request) serve(t *testing.T, rules []map[string]any, out *routertest.Outcome) {
	t.Helper()
	var best map[string]any
	specific, highest := -1, int64(-1)
	for _, rule := range rules {
		length, ok := r.fits(t, rule["match"].(map[string]any))
		priority, _ := rule["priority"].(int64)
		switch {
		case !ok || length < specific:
		case length > specific || priority > highest:
			best, specific, highest = rule, length, priority
		}
	}
	if best == nil {
		return
	}
	backends, total := best["backends"].([]any), 0.0
	weight := func(b any) float64 {
		if n, ok := b.(map[string]any)["weight"].(int64); ok {
			return float64(n)
		}
		return 100
	}
	for _, b := range backends {
		total += weight(b)
	}
	treatments := map[string]bool{}
	for _, b := range backends {
		one := b.(map[string]any)
		out.Shares[fmt.Sprintf("%v:%v", one["serviceName"], one["servicePort"])] += 100 * weight(b) / total
		remaining := maps.Clone(one)
		for _, known := range []string{"serviceName", "servicePort", "weight"} {
			delete(remaining, known)
		}
		treatments[fmt.Sprint(remaining)] = true
	}
	out.Treatment = fmt.Sprint(best["websocket"], treatments)
}

// fits tells whether a match is for the request, and how specific its path is.
func (r request) fits(t *testing.T, match map[string]any) (specific int, ok bool) {
	t.Helper()
	if hosts, _ := match["hosts"].([]any); len(hosts) > 0 && hosts[0] != r.host {
		return 0, false
	}
	path := match["paths"].([]any)[0].(string)
	prefix, below := strings.CutSuffix(path, "*")
	switch {
	case below && strings.HasPrefix(r.path, prefix):
		specific = len(prefix)
	case !below && path == r.path:
		specific = 1000
	default:
		return 0, false
	}
	exprs, _ := match["exprs"].([]any)
	for _, e := range exprs {
		e := e.(map[string]any)
		subject := e["subject"].(map[string]any)
		if e["op"] != "Equal" || e["value"] != "yes" || subject["scope"] != "Header" {
			t.Fatalf("an expression %v", e)
		}
		if subject["name"] == "x-beta" && !r.beta || subject["name"] == routertest.InsidersHeader && !r.insider {
			return 0, false
		}
	}
	return specific, true
}

func (w *world) stored(t *testing.T) any {
	t.Helper()
	list := &apisix.ApisixRouteList{}
	if err := w.List(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	for _, o := range list.Items {
		out[o.Name] = []any{o.Spec, o.Labels, o.Annotations}
	}
	return out
}
