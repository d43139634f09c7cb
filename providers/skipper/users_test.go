package skipper_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/routertest"
)

const (
	backendWeights  = "zalando.org/backend-weights"
	routePredicates = "zalando.org/skipper-predicate"
	routeFilters    = "zalando.org/skipper-filter"
)

// TestUsersObjects draws an Ingress of a user's: hosts, paths, Services and ports, predicates and filters of his own. What becomes
// of requests is what Skipper does with them by it and by ours.
func TestUsersObjects(t *testing.T) {
	outer := t
	routertest.UsersObjects(t, func(t *rapid.T) *routertest.Users {
		users := drawIngress(t)
		w := newWorld(outer, users)
		return &routertest.Users{
			Router: w.router, Route: providers.Route{Canary: canary()}, Closed: true,
			ByApex: true, // the user's Ingress leads to it, and ours to the primary, which is the same by then
			Serve:  func() []routertest.Outcome { return w.outcomes(outer) }, Stored: func() any { return w.stored(outer) },
			Check: func(t *rapid.T) {
				if now := w.get(outer, "web"); fmt.Sprint(now.Spec, now.Annotations, now.Labels) != fmt.Sprint(users.Spec, users.Annotations, users.Labels) {
					t.Fatalf("the user's Ingress is %+v", now)
				}
			},
		}
	})
}

var hosts = []string{"", "app.example.com", "shop.example.com"}

func drawIngress(t *rapid.T) *networkingv1.Ingress {
	out := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "web", Annotations: map[string]string{}}}
	if rapid.Bool().Draw(t, "a filter") {
		out.Annotations[routeFilters] = "compress()"
	}
	if rapid.Bool().Draw(t, "a predicate") {
		out.Annotations[routePredicates] = `Header("x-beta", "yes")`
	}
	for _, host := range rapid.SliceOfNDistinct(rapid.SampledFrom(hosts), 1, len(hosts), rapid.ID[string]).Draw(t, "hosts") {
		http := &networkingv1.HTTPIngressRuleValue{}
		for _, path := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"/", "/a", "/a/b"}), 1, 3, rapid.ID[string]).Draw(t, "paths") {
			backend := &networkingv1.IngressServiceBackend{Name: rapid.SampledFrom([]string{"podinfo", "podinfo", "billing", "podinfo-canary"}).Draw(t, "service")}
			backend.Port.Number = rapid.SampledFrom([]int32{80, 9090}).Draw(t, "port")
			http.Paths = append(http.Paths, networkingv1.HTTPIngressPath{
				Path: path, PathType: new(networkingv1.PathTypePrefix), Backend: networkingv1.IngressBackend{Service: backend},
			})
		}
		out.Spec.Rules = append(out.Spec.Rules, networkingv1.IngressRule{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: http}})
	}
	return out
}

// request is what Skipper looks at.
type request struct {
	host, path    string
	beta, insider bool
}

func (w *world) outcomes(t *testing.T) (out []routertest.Outcome) {
	t.Helper()
	all := &networkingv1.IngressList{}
	if err := w.List(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"app.example.com", "shop.example.com", "other.example.com"} {
		for _, path := range []string{"/", "/a", "/a/b/c", "/ab"} {
			for n := range 4 {
				r := request{host, path, n&1 > 0, n&2 > 0}
				o := routertest.Outcome{Request: r, Matches: r.insider, Shares: map[string]float64{}}
				r.serve(t, all.Items, &o)
				out = append(out, o)
			}
		}
	}
	return out
}

// leaf is what Skipper makes of a path of an Ingress: its routes have the same predicates, and share its requests.
type leaf struct {
	path       string
	weight     int // of predicates: the greatest comes first
	host       string
	predicates []string
	backends   []*networkingv1.IngressServiceBackend
	weights    map[string]float64
	filters    string
}

// serve takes the most specific path of which a route is for the request, and of those the route whose predicates weigh most.
func (r request) serve(t *testing.T, all []networkingv1.Ingress, out *routertest.Outcome) {
	t.Helper()
	var best *leaf
	for _, l := range leaves(t, all) {
		if !r.fits(t, l) {
			continue
		}
		if best == nil || len(l.path) > len(best.path) || len(l.path) == len(best.path) && l.weight > best.weight {
			best = l
		}
	}
	if best == nil {
		return
	}
	total := 0.0
	share := func(b *networkingv1.IngressServiceBackend) float64 {
		if len(best.backends) == 1 {
			return 1
		}
		return best.weights[b.Name]
	}
	for _, b := range best.backends {
		total += share(b)
	}
	for _, b := range best.backends {
		name := b.Name
		if name == "podinfo-primary" {
			name = "podinfo"
		}
		out.Shares[fmt.Sprintf("%s:%d", name, b.Port.Number)] += 100 * share(b) / total
	}
	out.Treatment = best.filters
}

func leaves(t *testing.T, all []networkingv1.Ingress) (out []*leaf) {
	t.Helper()
	for i := range all {
		annotations := all[i].Annotations
		var predicates []string
		if text := annotations[routePredicates]; text != "" {
			predicates = strings.Split(text, " && ")
		}
		weights := map[string]float64{}
		if text := annotations[backendWeights]; text != "" {
			if err := json.Unmarshal([]byte(text), &weights); err != nil {
				t.Fatal(err)
			}
		}
		for _, rule := range all[i].Spec.Rules {
			byPath := map[string]*leaf{}
			for _, p := range rule.HTTP.Paths {
				l := byPath[p.Path]
				if l == nil {
					l = &leaf{path: p.Path, host: rule.Host, predicates: predicates, weights: weights, filters: annotations[routeFilters]}
					byPath[p.Path] = l
					out = append(out, l)
				}
				l.backends = append(l.backends, p.Backend.Service)
			}
			for _, l := range byPath {
				l.weight = len(predicates)
				if l.host != "" {
					l.weight++
				}
				for _, p := range predicates {
					if p == "Weight(100)" {
						l.weight += 99
					}
				}
			}
		}
	}
	return out
}

func (r request) fits(t *testing.T, l *leaf) bool {
	t.Helper()
	if l.host != "" && l.host != r.host || l.path != "/" && r.path != l.path && !strings.HasPrefix(r.path, l.path+"/") {
		return false
	}
	for _, p := range l.predicates {
		switch p {
		case "Weight(100)":
		case "False()":
			return false
		case `Header("x-beta", "yes")`:
			if !r.beta {
				return false
			}
		case `Header("` + routertest.InsidersHeader + `", "yes")`:
			if !r.insider {
				return false
			}
		default:
			t.Fatalf("predicate %s", p)
		}
	}
	return true
}

func (w *world) stored(t *testing.T) any {
	t.Helper()
	all := &networkingv1.IngressList{}
	if err := w.List(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	for _, o := range all.Items {
		out[o.Name] = []any{o.Spec, o.Labels, o.Annotations}
	}
	return out
}
