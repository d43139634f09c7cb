package gatewayapi_test

import (
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

// TestUsersObjectsAreGivenBack draws routes of users, with hosts and Gateways of their own,
// and releases. What is the user's stays through all of it, and on deletion all is as it was.
func TestUsersObjectsAreGivenBack(t *testing.T) {
	routertest.FixSeed(t)
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		users := drawRoute(t)
		w := newWorld(outer, all())
		if err := w.Create(outer.Context(), users.DeepCopy(), client.FieldOwner("somebody")); err != nil {
			t.Fatal(err)
		}
		before := stored(t, w, outer)
		c := canary(func(s *v1beta1.CanaryService) { s.GatewayRefs = nil })
		if rapid.Bool().Draw(t, "hosts") {
			c.Spec.Service.Hosts = []string{"spec.example.com"}
		}
		if rapid.Bool().Draw(t, "labels") {
			c.Spec.Service.Apex = &v1beta1.CustomMetadata{Labels: map[string]string{"team": "ours"}, Annotations: map[string]string{"note": "ours"}}
		}
		if rapid.Bool().Draw(t, "A/B") {
			c.Spec.Analysis = &v1beta1.CanaryAnalysis{Iterations: 1, Match: []v1beta1.RawObject{*raw(`{"headers":{"x-a":{"exact":"yes"}}}`)}}
		}
		for _, weight := range []int32{0, 30, 100} {
			err := w.router.Apply(outer.Context(), route(c, weight))
			if providers.IsInvalid(err) {
				break // what can't be kept apart is not taken over
			}
			if err != nil {
				t.Fatal(err)
			}
			live := w.httpRoute(outer)
			if d := cmp.Diff(users.Spec.ParentRefs, live.Spec.ParentRefs); d != "" {
				t.Fatalf("parents (-had +has)\n%s", d)
			}
			if len(c.Spec.Service.Hosts) == 0 {
				if d := cmp.Diff(users.Spec.Hostnames, live.Spec.Hostnames); d != "" {
					t.Fatalf("hostnames (-had +has)\n%s", d)
				}
			}
		}
		deleted := c.DeepCopy()
		deleted.DeletionTimestamp = new(metav1.Now())
		for range 2 {
			if err := w.router.Release(outer.Context(), providers.Route{Canary: deleted}); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(before, stored(t, w, outer)); d != "" {
			t.Fatalf("given back (-had +has)\n%s", d)
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
