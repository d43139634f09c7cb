package linkerd

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// Linkerd goes by all routes whose parent is the Service, its own ones too, and of two that
// fit alike by the older one. Where a Service has a GRPCRoute, it goes by that alone.
func TestCompetingRoute(t *testing.T) {
	old := metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, CreationTimestamp: metav1.Unix(1, 0)}
	named := *old.DeepCopy()
	named.Name = "podinfo-route"
	rpc := &gatewayv1.GRPCRoute{ObjectMeta: named, Spec: gatewayv1.GRPCRouteSpec{CommonRouteSpec: usersRoute().Spec.CommonRouteSpec}}
	for name, tc := range map[string]struct {
		users    client.Object
		protocol string
		want     string
	}{
		"Linkerd's own kind, same name":                   {users: &policyRoute{ObjectMeta: old, Spec: usersRoute().Spec}, want: "HTTPRoute.policy.linkerd.io test/podinfo is for the same requests"},
		"the same kind, another name":                     {users: &gatewayv1.HTTPRoute{ObjectMeta: named, Spec: usersRoute().Spec}, want: "HTTPRoute test/podinfo-route is for the same requests"},
		"for gRPC":                                        {users: rpc, want: "GRPCRoute test/podinfo-route takes all requests"},
		"for gRPC, of a Service that says what it speaks": {users: rpc, protocol: "grpc"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, []schema.GroupVersionKind{httpRoute, ownRoute, grpcRoute, profileKind}, tc.users)
			r := route(canary(func(c *v1beta1.Canary) { c.Spec.Service.AppProtocol = tc.protocol }), 100)
			if err := w.router.Apply(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			w.accept(t)
			state, err := w.router.Observe(t.Context(), r)
			if err != nil || state.InSync != (tc.want == "") || !strings.HasPrefix(state.Detail, tc.want) {
				t.Errorf("observed %+v, %v", state, err)
			}
			if _, own := tc.users.(*policyRoute); !own {
				return // TestWhomRoutesConcern of the Gateway API's
			}
			concerned := About().Services(t.Context(), w.Client, tc.users)
			if d := cmp.Diff([]types.NamespacedName{key}, concerned); d != "" {
				t.Errorf("when it goes (-want +looked at)\n%s", d)
			}
		})
	}
}

// The application has an HTTPRoute of its name for a Gateway, with hostnames and rules of its
// own. Meshed clients call the Service by another name, so they have a route of their own.
func TestRouteOfAGateway(t *testing.T) {
	const spec = `
parentRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: public, namespace: edge}]
hostnames: [app.example.com]
rules:
- matches: [{path: {type: PathPrefix, value: /legacy}}]
  backendRefs: [{group: "", kind: Service, name: legacy, port: 80}]
- matches: [{path: {type: PathPrefix, value: /}}]
  backendRefs: [{group: "", kind: Service, name: podinfo, port: 9898}]
`
	users := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	if err := yaml.UnmarshalStrict([]byte(spec), &users.Spec); err != nil {
		t.Fatal(err)
	}
	for name, taken := range map[string]bool{"never taken over": false, "taken over by an earlier version": true} {
		t.Run(name, func(t *testing.T) {
			live := users.DeepCopy()
			if taken {
				live.Annotations = map[string]string{
					ssa.AppliedAnnotation: "1-x",
					originalAnnotation: `{"spec":{"parentRefs":[{"group":"gateway.networking.k8s.io","kind":"Gateway","name":"public","namespace":"edge"}],"hostnames":["app.example.com"],"rules":[` +
						`{"matches":[{"path":{"type":"PathPrefix","value":"/legacy"}}],"backendRefs":[{"group":"","kind":"Service","name":"legacy","port":80}]},` +
						`{"matches":[{"path":{"type":"PathPrefix","value":"/"}}],"backendRefs":[{"group":"","kind":"Service","name":"podinfo","port":9898}]}]}}`,
				}
				live.Spec.ParentRefs = append(live.Spec.ParentRefs, ofApex(canary()))
				live.Spec.Rules[1].BackendRefs[0].Name = "podinfo-primary"
			}
			w := newWorld(t, []schema.GroupVersionKind{httpRoute})
			fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(live)
			if err != nil {
				t.Fatal(err)
			}
			delete(fields, "status")
			u := &unstructured.Unstructured{Object: fields}
			u.SetGroupVersionKind(httpRoute)
			if err := w.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(ssa.FieldOwner)); err != nil {
				t.Fatal(err)
			}
			besideKey := client.ObjectKey{Namespace: key.Namespace, Name: "podinfo.mesh"}
			for _, weight := range []int32{0, 10, 100} {
				if err := w.router.Apply(t.Context(), route(canary(), weight)); err != nil {
					t.Fatal(err)
				}
				mesh, its := &gatewayv1.HTTPRoute{}, &gatewayv1.HTTPRoute{}
				w.read(t, besideKey, mesh)
				w.read(t, key, its)
				if d := cmp.Diff(users.Spec, its.Spec); d != "" {
					t.Errorf("the Gateway's route (-want +got)\n%s", d)
				}
				if len(mesh.Spec.Hostnames) != 0 || len(mesh.Spec.ParentRefs) != 1 || mesh.Spec.ParentRefs[0].Name != "podinfo" || len(mesh.Spec.Rules) != 1 {
					t.Errorf("the mesh's route is %+v", mesh.Spec)
				}
				if err := w.Status().Update(t.Context(), routertest.Accepted(mesh)); err != nil {
					t.Fatal(err)
				}
				if state, err := w.router.Observe(t.Context(), route(canary(), weight)); err != nil || !state.InSync {
					t.Errorf("observed %+v, %v", state, err)
				}
			}
			c := canary()
			c.DeletionTimestamp = new(metav1.Now())
			if err := w.router.Release(t.Context(), providers.Route{Canary: c}); err != nil {
				t.Fatal(err)
			}
			its := &gatewayv1.HTTPRoute{}
			w.read(t, key, its)
			if d := cmp.Diff(users.Spec, its.Spec); d != "" || len(its.Annotations) > 0 {
				t.Errorf("annotations %v, spec (-want +got)\n%s", its.Annotations, d)
			}
			if err := w.Get(t.Context(), besideKey, its); client.IgnoreNotFound(err) != nil || err == nil {
				t.Errorf("the mesh's route: %v", err)
			}
		})
	}
}

// The Gateway's route goes once the mesh has one beside it, which stays what it is.
func TestRouteOfAGatewayGoes(t *testing.T) {
	users := usersRoute()
	users.Spec.ParentRefs = []gatewayv1.ParentReference{{Name: "public"}}
	w := newWorld(t, []schema.GroupVersionKind{httpRoute}, users)
	if err := w.router.Apply(t.Context(), route(canary(), 10)); err != nil {
		t.Fatal(err)
	}
	if err := w.Delete(t.Context(), users); err != nil {
		t.Fatal(err)
	}
	if err := w.router.Apply(t.Context(), route(canary(), 20)); err != nil {
		t.Fatal(err)
	}
	list := &gatewayv1.HTTPRouteList{}
	if err := w.List(t.Context(), list); err != nil || len(list.Items) != 1 || *list.Items[0].Spec.Rules[0].BackendRefs[1].Weight != 20 {
		t.Errorf("%v, %+v", err, list.Items)
	}
}

// A GRPCRoute of an earlier version goes once there is a route for HTTP.
func TestGRPCRouteOfAnEarlierVersion(t *testing.T) {
	c := canary(func(c *v1beta1.Canary) { c.Spec.Service.AppProtocol = "grpc" })
	once := &gatewayv1.GRPCRoute{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	route(c, 10).Owner().Mark(once)
	w := newWorld(t, []schema.GroupVersionKind{httpRoute, grpcRoute}, once)
	if err := w.router.Apply(t.Context(), route(c, 10)); err != nil {
		t.Fatal(err)
	}
	w.read(t, key, &gatewayv1.HTTPRoute{})
	if err := w.Get(t.Context(), key, &gatewayv1.GRPCRoute{}); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("the GRPCRoute: %v", err)
	}
}

// Linkerd takes a ResponseHeaderModifier of its own HTTPRoute for one of the request.
func TestHeadersOfAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		kind    schema.GroupVersionKind
		headers string
		refused bool
	}{
		"of its own kind":              {ownRoute, `{"response":{"set":{"x":"y"}}}`, true},
		"of requests, of its own kind": {ownRoute, `{"request":{"set":{"x":"y"}}}`, false},
		"of the Gateway API's":         {httpRoute, `{"response":{"set":{"x":"y"}}}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, []schema.GroupVersionKind{tc.kind})
			c := canary(func(c *v1beta1.Canary) { c.Spec.Service.Headers = raw(tc.headers) })
			err := w.router.Apply(t.Context(), route(c, 0))
			if providers.IsUnsupported(err) != tc.refused || tc.refused && !strings.Contains(err.Error(), "spec.service.headers.response") || !tc.refused && err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A user's Service without an address has no routes in Linkerd, whatever the Canary says.
func TestServiceWithoutAddress(t *testing.T) {
	for name, served := range map[string]schema.GroupVersionKind{"routes": httpRoute, "profiles": profileKind} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, []schema.GroupVersionKind{served})
			r := route(canary(), 10)
			r.ClusterIPs.Apex = corev1.ClusterIPNone
			if err := w.router.Apply(t.Context(), r); !providers.IsUnsupported(err) || !strings.Contains(err.Error(), "Service podinfo: clusterIP None") || w.writes > 0 {
				t.Errorf("%v, %d writes", err, w.writes)
			}
			r.Canary.Spec.SkipAnalysis, r.Traffic = true, route(canary(), 0).Traffic
			if err := w.router.Apply(t.Context(), r); err != nil {
				t.Errorf("with nothing to share out: %v", err)
			}
		})
	}
}
