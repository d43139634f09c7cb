package gatewayapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/routertest"
)

// TestUsersObjects draws routes of users, with hosts and Gateways of their own, and what Canaries say of theirs.
func TestUsersObjects(t *testing.T) {
	outer := t
	routertest.UsersObjects(t, func(t *rapid.T) *routertest.Users {
		users, requests := drawRoute(t), routertest.DrawRequests(t)
		if routertest.ByAnother(users.Spec.Rules, key.Name) {
			return nil
		}
		w := newWorld(outer, all())
		if err := w.Create(outer.Context(), users.DeepCopy(), client.FieldOwner("somebody")); err != nil {
			t.Fatal(err)
		}
		c := canary()
		ours := rapid.Bool().Draw(t, "parents of the Canary")
		if !ours {
			c.Spec.Service.GatewayRefs = nil
		}
		if rapid.Bool().Draw(t, "hosts of the Canary") {
			c.Spec.Service.Hosts = []string{"spec.example.com"}
		}
		if rapid.Bool().Draw(t, "labels of the Canary") {
			c.Spec.Service.Apex = &v1beta1.CustomMetadata{Labels: map[string]string{"team": "ours"}, Annotations: map[string]string{"note": "ours"}}
		}
		return &routertest.Users{
			Router: w.router, Route: providers.Route{Canary: c}, Closed: routertest.LeadTo(users.Spec.Rules, key.Name),
			Serve:  func() []routertest.Outcome { return routertest.Outcomes(w.httpRoute(outer).Spec.Rules, requests) },
			Stored: func() any { return stored(t, w, outer) }, Mesh: func() { w.accept(outer) },
			Replay: func() func() {
				was := w.httpRoute(outer)
				return func() {
					live := w.httpRoute(outer)
					was.Spec.DeepCopyInto(&live.Spec)
					if err := w.Update(outer.Context(), live); err != nil {
						outer.Fatal(err)
					}
				}
			},
			Check: func(t *rapid.T) {
				live := w.httpRoute(outer)
				if d := cmp.Diff(users.Spec.ParentRefs, live.Spec.ParentRefs); d != "" && !ours {
					t.Fatalf("parents (-had +has)\n%s", d)
				}
				if d := cmp.Diff(users.Spec.Hostnames, live.Spec.Hostnames); d != "" && len(c.Spec.Service.Hosts) == 0 {
					t.Fatalf("hostnames (-had +has)\n%s", d)
				}
			},
		}
	})
}

// drawRoute draws a route of the apex Service's name.
func drawRoute(t *rapid.T) *gatewayv1.HTTPRoute {
	r := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{
		Namespace: key.Namespace, Name: key.Name, Labels: map[string]string{"team": "theirs"}, Annotations: map[string]string{"note": "theirs"},
	}}
	for _, name := range rapid.SampledFrom([][]string{{"public"}, {"public", "private"}}).Draw(t, "parents") {
		r.Spec.ParentRefs = append(r.Spec.ParentRefs, gatewayv1.ParentReference{
			Group: new(gatewayv1.Group(gatewayv1.GroupName)), Kind: new(gatewayv1.Kind("Gateway")), Name: gatewayv1.ObjectName(name),
		})
	}
	r.Spec.Hostnames = rapid.SampledFrom([][]gatewayv1.Hostname{nil, {"a.example.com"}, {"a.example.com", "*.example.org"}}).Draw(t, "hosts")
	if rapid.IntRange(0, 9).Draw(t, "rules") > 0 {
		r.Spec.Rules = routertest.DrawRules(t, "podinfo")
	}
	return r
}

// stored is what of the route is its user's, as the API server has it.
func stored(t *rapid.T, w *world, outer *testing.T) map[string]any {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersion(gatewayv1.GroupVersion).WithKind("HTTPRoute"))
	if err := w.Get(outer.Context(), key, u); err != nil {
		t.Fatal(err)
	}
	return map[string]any{"spec": u.Object["spec"], "labels": u.GetLabels(), "annotations": u.GetAnnotations()}
}

// TestRuleToTheCanary has a rule of a user's to the canary by name, for testers say, stay what it is, and what is his beside it.
func TestRuleToTheCanary(t *testing.T) {
	const spec = `
parentRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: theirs}]
hostnames: [shop.example.com]
rules:
- {matches: [{path: {type: PathPrefix, value: /billing}}], backendRefs: [{group: "", kind: Service, name: billing, port: 80, weight: 1}]}
- {matches: [{path: {type: PathPrefix, value: /}, headers: [{type: Exact, name: x-tester, value: "yes"}]}], backendRefs: [{group: "", kind: Service, name: podinfo-canary, port: 9898, weight: 1}]}
- {matches: [{path: {type: PathPrefix, value: /}}], backendRefs: [{group: "", kind: Service, name: podinfo, port: 9898, weight: 1}]}
`
	theirs := users(t, spec)
	w := newWorld(t, all(), theirs.DeepCopy())
	c := canary(func(s *v1beta1.CanaryService) { s.GatewayRefs = nil })
	if state := w.observe(t, route(c, 0)); state.Exists {
		t.Errorf("before it is taken over, observed is %+v", state)
	}
	for _, weight := range []int32{0, 10, 100} {
		w.apply(t, route(c, weight))
		live := w.httpRoute(t)
		if d := cmp.Diff(theirs.Spec.Rules[:2], live.Spec.Rules[:2]); d != "" || len(live.Spec.Rules) != 3 {
			t.Fatalf("at %d%% %d rules (-had +has)\n%s", weight, len(live.Spec.Rules), d)
		}
		if backends := live.Spec.Rules[2].BackendRefs; len(backends) != 2 || *backends[1].Weight != weight {
			t.Errorf("at %d%% the last rule leads to %+v", weight, backends)
		}
		if state := w.observe(t, route(c, 42)); state.Traffic != route(c, weight).Traffic {
			t.Errorf("at %d%% observed is %+v", weight, state)
		}
	}
	c.DeletionTimestamp = new(metav1.Now())
	if err := w.router.Release(t.Context(), route(c, 0)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(theirs.Spec, w.httpRoute(t).Spec); d != "" {
		t.Errorf("given back (-had +has)\n%s", d)
	}
}

// TestOverwrittenRoute takes over a route that Flagger has written: nothing changes, whatever it says of the traffic.
func TestOverwrittenRoute(t *testing.T) {
	both := func(primary, canary int) string {
		return fmt.Sprintf(`backendRefs: [{group: "", kind: Service, name: podinfo-primary, port: 9898, weight: %d}, {group: "", kind: Service, name: podinfo-canary, port: 9898, weight: %d}]`, primary, canary)
	}
	const parents = "parentRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: public, namespace: infra}]\n"
	insiders := func(c *v1beta1.Canary) {
		c.Spec.Analysis = &v1beta1.CanaryAnalysis{Iterations: 3, Match: []v1beta1.RawObject{*raw(routertest.Insiders)}}
	}
	for name, tc := range map[string]struct {
		rules   string
		change  func(*v1beta1.Canary)
		traffic providers.Traffic
	}{
		"at rest":      {rules: `[{matches: [{path: {type: PathPrefix, value: /}}], ` + both(100, 0) + `}]`, traffic: providers.Traffic{Primary: 100}},
		"in a release": {rules: `[{matches: [{path: {type: PathPrefix, value: /}}], ` + both(60, 40) + `}]`, traffic: providers.Traffic{Primary: 60, Canary: 40}},
		"in A/B testing": {
			rules: `[{matches: [{path: {type: PathPrefix, value: /}, headers: [{type: Exact, name: x-insider, value: "yes"}]}], ` + both(0, 100) + `},
				{matches: [{path: {type: PathPrefix, value: /}}], backendRefs: [{group: "", kind: Service, name: podinfo-primary, port: 9898, weight: 100}]}]`,
			change: insiders, traffic: providers.Traffic{Canary: 100, Matched: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			theirs := users(t, parents+"rules: "+tc.rules)
			w := newWorld(t, all(), theirs.DeepCopy())
			c := canary()
			if tc.change != nil {
				tc.change(c)
			}
			r := providers.Route{Canary: c, Traffic: tc.traffic}
			if state := w.observe(t, r); !state.Exists || state.Traffic != tc.traffic {
				t.Errorf("observed %+v", state)
			}
			w.apply(t, r)
			if d := cmp.Diff(theirs.Spec, w.httpRoute(t).Spec); d != "" {
				t.Errorf("the takeover changes it (-had +has)\n%s", d)
			}
			c.DeletionTimestamp = new(metav1.Now())
			if err := w.router.Release(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if left := w.httpRoute(t).Spec.Rules; len(left) != 1 || left[0].BackendRefs[0].Name != "podinfo" {
				t.Errorf("left is %+v", left)
			}
		})
	}
}

// TestParentWithoutAddress: a mesh finds the route of a Service by its address. A Gateway does not need one.
func TestParentWithoutAddress(t *testing.T) {
	for name, tc := range map[string]struct {
		parent  v1beta1.ParentReference
		refused bool
	}{
		"a Gateway": {parent: v1beta1.ParentReference{Name: "public"}},
		"a Service": {parent: v1beta1.ParentReference{Group: new(""), Kind: new("Service"), Name: "podinfo"}, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, all())
			c := canary(func(s *v1beta1.CanaryService) { s.Headless, s.GatewayRefs = true, []v1beta1.ParentReference{tc.parent} })
			err := w.router.Apply(t.Context(), route(c, 10))
			if providers.IsUnsupported(err) != tc.refused || tc.refused && !strings.Contains(err.Error(), "spec.service.headless") || !tc.refused && err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
}
