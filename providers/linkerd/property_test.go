package linkerd

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/routertest"
)

// TestUsersObjects draws routes of users whose parent is the Service, in each kind that Linkerd takes, alone or beside a
// Gateway. What becomes of requests is what Linkerd does with those for the Service.
func TestUsersObjects(t *testing.T) {
	outer := t
	routertest.UsersObjects(t, func(t *rapid.T) *routertest.Users {
		rules, requests := routertest.DrawRules(t, key.Name), routertest.DrawRequests(t)
		if routertest.ByAnother(rules, key.Name) {
			return nil
		}
		users := usersRoute()
		users.Spec.Rules = rules
		if rapid.Bool().Draw(t, "all ports") {
			users.Spec.ParentRefs[0].Port = nil
		}
		if rapid.Bool().Draw(t, "a Gateway too") {
			users.Spec.ParentRefs = append(users.Spec.ParentRefs, gatewayv1.ParentReference{
				Group: new(gatewayv1.Group(gatewayv1.GroupName)), Kind: new(gatewayv1.Kind("Gateway")), Name: "public",
			})
		}
		kind := httpRoute
		var object client.Object = users
		if rapid.IntRange(0, 3).Draw(t, "Linkerd's own kind") == 0 {
			kind, object = ownRoute, &policyRoute{ObjectMeta: users.ObjectMeta, Spec: users.Spec}
		}
		w := newWorld(outer, []schema.GroupVersionKind{kind})
		if err := w.Create(outer.Context(), object, client.FieldOwner("somebody")); err != nil {
			t.Fatal(err)
		}
		return &routertest.Users{
			Router: w.router, Route: providers.Route{Canary: canary()}, Closed: routertest.LeadTo(rules, key.Name),
			Serve:  func() []routertest.Outcome { return routertest.Outcomes(w.rules(outer, kind), requests) },
			Stored: func() any { return w.stored(outer, kind) }, Mesh: func() { w.accept(outer) },
		}
	})
}

// rules are those of the route for the Service.
func (w *world) rules(t *testing.T, kind schema.GroupVersionKind) []gatewayv1.HTTPRouteRule {
	t.Helper()
	if kind == ownRoute {
		own := &policyRoute{}
		w.read(t, key, own)
		return own.Spec.Rules
	}
	r := &gatewayv1.HTTPRoute{}
	w.read(t, key, r)
	return r.Spec.Rules
}

// stored are all routes by their names.
func (w *world) stored(t *testing.T, kind schema.GroupVersionKind) map[string]any {
	t.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind)
	if err := w.List(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	for _, r := range list.Items {
		out[r.GetName()] = []any{r.Object["spec"], r.GetLabels(), r.GetAnnotations()}
	}
	return out
}
