package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/apisix"
	"github.com/sluice-delivery/sluice/providers/contour"
	"github.com/sluice-delivery/sluice/providers/kuma"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

var (
	httpProxies   = schema.GroupVersionKind{Group: "projectcontour.io", Version: "v1", Kind: "HTTPProxy"}
	apisixRoutes  = schema.GroupVersionKind{Group: "apisix.apache.org", Version: "v2", Kind: "ApisixRoute"}
	trafficRoutes = schema.GroupVersionKind{Group: "kuma.io", Version: "v1alpha1", Kind: "TrafficRoute"}
)

// custom is one of a kind, with NS in its spec for the namespace.
func custom(t *testing.T, gvk schema.GroupVersionKind, namespace, name, spec string) *unstructured.Unstructured {
	t.Helper()
	out := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte("spec: "+strings.ReplaceAll(spec, "NS", namespace)), &out.Object); err != nil {
		t.Fatal(err)
	}
	out.SetGroupVersionKind(gvk)
	out.SetName(name)
	if gvk != trafficRoutes {
		out.SetNamespace(namespace)
	}
	return out
}

// says has a controller say of an object, if it is there, what a condition is.
func (e *environment) says(t *testing.T, gvk schema.GroupVersionKind, namespace, name, condition, status string) {
	t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	if err := e.live.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, u); err != nil {
		return
	}
	before := u.DeepCopy()
	said := map[string]any{
		"type": condition, "status": status, "reason": "Reason", "message": "message",
		"observedGeneration": u.GetGeneration(), "lastTransitionTime": "2026-01-01T00:00:00Z",
	}
	if err := unstructured.SetNestedSlice(u.Object, []any{said}, "status", "conditions"); err != nil {
		t.Fatal(err)
	}
	if err := e.live.Status().Patch(t.Context(), u, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
}

// weigh sets the weights of the two destinations in a list that is at a path of the first element of another.
func (e *environment) weigh(t *testing.T, gvk schema.GroupVersionKind, namespace, name string, traffic providers.Traffic, list func(spec map[string]any) []any) {
	t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	e.read(t, namespace, name, u)
	both := list(u.Object["spec"].(map[string]any))
	both[0].(map[string]any)["weight"], both[1].(map[string]any)["weight"] = int64(traffic.Primary), int64(traffic.Canary)
	if err := e.live.Update(t.Context(), u); err != nil {
		t.Fatal(err)
	}
}

func firstOf(spec map[string]any, list string) map[string]any {
	return spec[list].([]any)[0].(map[string]any)
}

const usersHTTPProxy = `
  virtualhost: {fqdn: app.example.com}
  routes:
  - {conditions: [{prefix: /}], services: [{name: podinfo, port: 80, protocol: h2c}], enableWebsockets: true}
  - {conditions: [{prefix: /billing}], services: [{name: billing, port: 8080, weight: 90}, {name: ledger, port: 8080, weight: 10}], retryPolicy: {}}
`

func testContour(t *testing.T, e *environment) {
	routertest.Run(t, func(t *testing.T) routertest.World {
		c, writes := e.counting()
		canary := e.canary(t, v1beta1.CanaryService{})
		world := routertest.World{
			Router: contour.New(c, ssa.New(c), ""), Canary: canary, Deadline: limit, Writes: func() int { return int(writes.Load()) },
			Mesh: func(t *testing.T) { e.says(t, httpProxies, canary.Namespace, app, "Valid", "True") },
			Drift: func(t *testing.T, traffic providers.Traffic) {
				e.weigh(t, httpProxies, canary.Namespace, app, traffic, func(spec map[string]any) []any { return firstOf(spec, "routes")["services"].([]any) })
			},
			Refuse: func(t *testing.T) { e.says(t, httpProxies, canary.Namespace, app, "Valid", "False") },
		}
		return world.With(routertest.Object{Client: e.live, Users: custom(t, httpProxies, canary.Namespace, app, usersHTTPProxy), Seen: e.typed})
	})
}

// typed waits until the routers' cache has an object, whose Go type they have, as it is on the server.
func (e *environment) typed(t *testing.T, o client.Object) {
	t.Helper()
	out, err := e.live.Scheme().New(o.GetObjectKind().GroupVersionKind())
	if err != nil {
		t.Fatal(err)
	}
	same := out.(client.Object)
	same.SetNamespace(o.GetNamespace())
	same.SetName(o.GetName())
	same.SetResourceVersion(o.GetResourceVersion())
	e.cachedAs(t, same)
}

const usersApisixRoute = `
  ingressClassName: edge
  http:
  - {name: app, match: {paths: [/*]}, plugins: [{name: cors}], backends: [{serviceName: podinfo, servicePort: 80}]}
  - {name: other, match: {paths: [/other]}, backends: [{serviceName: other, servicePort: http}]}
`

func testAPISIX(t *testing.T, e *environment) {
	routertest.Run(t, func(t *testing.T) routertest.World {
		c, writes := e.counting()
		canary := e.canary(t, v1beta1.CanaryService{})
		canary.Spec.RouteRef = &v1beta1.LocalObjectReference{Name: "edge"}
		users := custom(t, apisixRoutes, canary.Namespace, "edge", usersApisixRoute)
		e.create(t, users)
		e.typed(t, users)
		const ours = "edge-" + app + "-canary"
		return routertest.World{
			Router: apisix.New(c, ssa.New(c)), Canary: canary, Deadline: limit, Writes: func() int { return int(writes.Load()) },
			Mesh: func(t *testing.T) { e.says(t, apisixRoutes, canary.Namespace, ours, "Accepted", "True") },
			Drift: func(t *testing.T, traffic providers.Traffic) {
				e.weigh(t, apisixRoutes, canary.Namespace, ours, traffic, func(spec map[string]any) []any { return firstOf(spec, "http")["backends"].([]any) })
			},
			Refuse: func(t *testing.T) { e.says(t, apisixRoutes, canary.Namespace, ours, "Accepted", "False") },
		}
	})
}

const usersTrafficRoute = `
  sources: [{match: {kuma.io/service: '*'}}]
  destinations: [{match: {kuma.io/service: podinfo_NS_svc_80}}]
  conf: {loadBalancer: {roundRobin: {}}, destination: {kuma.io/service: podinfo_NS_svc_80}}
`

func testKuma(t *testing.T, e *environment) {
	routertest.Run(t, func(t *testing.T) routertest.World {
		c, writes := e.counting()
		canary := e.canary(t, v1beta1.CanaryService{})
		name := app // TrafficRoutes of earlier tests are in no namespace
		if err := e.live.DeleteAllOf(t.Context(), custom(t, trafficRoutes, "", "", "{}")); err != nil {
			t.Fatal(err)
		}
		await(t, "the cache without TrafficRoutes", func(ctx context.Context) error {
			left := &kuma.TrafficRouteList{}
			if err := e.cached.List(ctx, left); err != nil || len(left.Items) > 0 {
				return fmt.Errorf("%d are left: %w", len(left.Items), err)
			}
			return nil
		})
		world := routertest.World{
			Router: kuma.New(c, ssa.New(c)), Canary: canary, Deadline: limit, Writes: func() int { return int(writes.Load()) },
			Drift: func(t *testing.T, traffic providers.Traffic) {
				e.weigh(t, trafficRoutes, "", name, traffic, func(spec map[string]any) []any { return spec["conf"].(map[string]any)["split"].([]any) })
			},
		}
		return world.With(routertest.Object{
			Client: e.live, Users: custom(t, trafficRoutes, canary.Namespace, name, usersTrafficRoute),
			Rival: custom(t, trafficRoutes, canary.Namespace, "a-rival", usersTrafficRoute), Seen: e.typed,
		})
	})
}
