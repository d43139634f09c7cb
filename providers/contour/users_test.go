package contour_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/contour"
	"github.com/sluice-delivery/sluice/providers/internal/custom"
	"github.com/sluice-delivery/sluice/providers/routertest"
)

// TestUsersObjects draws an HTTPProxy of a user's: paths, headers, Services with ports and weights, and what else is done with
// requests. What becomes of them is what Contour has Envoy do.
func TestUsersObjects(t *testing.T) {
	outer := t
	routertest.UsersObjects(t, func(t *rapid.T) *routertest.Users {
		w := newWorld(outer, "", kind)
		if err := w.Create(outer.Context(), drawn(t)); err != nil {
			t.Fatal(err)
		}
		return &routertest.Users{
			Router: w.router, Route: providers.Route{Canary: canary()},
			Serve: func() []routertest.Outcome { return w.outcomes(outer) }, Stored: func() any { return w.stored(outer) },
			Mesh:   func() { w.says(outer, metav1.ConditionTrue) },
			Replay: func() func() { return w.replay(outer) },
		}
	})
}

func drawn(t *rapid.T) *contour.HTTPProxy {
	return &contour.HTTPProxy{Resource: custom.Resource{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"}, Spec: routertest.DrawHTTPProxy(t, "podinfo")}}
}

// replay keeps the HTTPProxy as it is, and writes its spec.
func (w *world) replay(t *testing.T) func() {
	was := w.get(t)
	return func() {
		live := w.get(t)
		live.Spec = runtime.DeepCopyJSON(was.Spec)
		w.update(t, live)
	}
}

// request is what Contour has Envoy look at.
type request struct {
	path          string
	beta, insider bool
}

func (w *world) outcomes(t *testing.T) (out []routertest.Outcome) {
	t.Helper()
	for _, of := range routertest.ProxyRequests() {
		r := request{of.Path, of.Beta, of.Insider}
		o := routertest.Outcome{Request: r, Matches: of.Insider, Shares: map[string]float64{}, Copies: map[string]float64{}}
		if live := w.proxy(t); live != nil {
			r.serve(t, live.Spec, &o)
		}
		out = append(out, o)
	}
	return out
}

func (w *world) proxy(t *testing.T) *contour.HTTPProxy {
	t.Helper()
	live := &contour.HTTPProxy{}
	err := w.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: "podinfo"}, live)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return live
}

// served is what becomes of it.
func (r request) served(t *testing.T, spec map[string]any) string {
	t.Helper()
	out := routertest.Outcome{Shares: map[string]float64{}, Copies: map[string]float64{}}
	r.serve(t, spec, &out)
	return out.String()
}

// serve takes the route with the most specific path, of those the one with the most conditions, and of equals the last one: Contour knows
// routes by their conditions.
func (r request) serve(t *testing.T, spec map[string]any, out *routertest.Outcome) {
	t.Helper()
	best, most := map[string]any(nil), -1
	routes, _ := spec["routes"].([]any)
	for _, one := range routes {
		route, _ := one.(map[string]any)
		if n, ok := r.fits(t, route); ok && n >= most {
			best, most = route, n
		}
	}
	if best == nil {
		return
	}
	total := 0.0
	services, _ := best["services"].([]any)
	weight := func(s map[string]any) float64 {
		n, ok := s["weight"].(int64)
		if !ok && len(services) == 1 {
			return 1
		}
		return float64(n)
	}
	for _, s := range services {
		if s := s.(map[string]any); s["mirror"] != true {
			total += weight(s)
		}
	}
	treatments := map[string]bool{}
	for _, s := range services {
		s := s.(map[string]any)
		if s["mirror"] == true {
			out.Copies[s["name"].(string)] = weight(s)
			continue
		}
		out.Shares[fmt.Sprintf("%v:%v", s["name"], s["port"])] += 100 * weight(s) / total
		treatments[fmt.Sprint(s["protocol"])] = true
	}
	out.Treatment = fmt.Sprint(best["enableWebsockets"], slices.Sorted(maps.Keys(treatments)))
}

// fits tells whether a route is for the request, and how specific it is.
func (r request) fits(t *testing.T, route map[string]any) (specific int, ok bool) {
	t.Helper()
	conditions, _ := route["conditions"].([]any)
	for i, one := range conditions {
		c := maps.Clone(one.(map[string]any))
		if c["exact"] != nil && i < len(conditions)-1 { // Contour goes by the last condition for how the path is meant
			c["prefix"] = c["exact"]
			delete(c, "exact")
		}
		header, _ := c["header"].(map[string]any)
		prefix, _ := c["prefix"].(string)
		switch {
		case c["exact"] != nil:
			if c["exact"] != r.path {
				return 0, false
			}
			specific += 1000
		case prefix != "":
			if !strings.HasPrefix(r.path+"/", strings.TrimSuffix(prefix, "/")+"/") {
				return 0, false
			}
			specific += 10 * len(prefix)
		case header["name"] == "x-beta" && r.beta, header["name"] == routertest.InsidersHeader && r.insider:
			specific++
		case header != nil:
			return 0, false
		default:
			t.Fatalf("a condition %v", c)
		}
	}
	return specific, true
}

func (w *world) stored(t *testing.T) any {
	t.Helper()
	live := w.proxy(t)
	if live == nil {
		return nil
	}
	return []any{live.Spec, live.Labels, live.Annotations}
}
