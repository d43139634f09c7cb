package gatewayapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/gatewayapi"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

type world struct {
	client.Client

	router providers.Router
	writes int
}

// newWorld serves the given kinds.
func newWorld(t *testing.T, served []schema.GroupVersionKind, objs ...client.Object) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{gatewayv1.Install, gatewayv1beta1.Install, v1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{}
	w.Client = fake.NewClientBuilder().WithScheme(scheme).WithRESTMapper(routertest.Mapper(served...)).WithObjects(objs...).
		WithStatusSubresource(&gatewayv1.HTTPRoute{}, &gatewayv1.GRPCRoute{}).
		WithInterceptorFuncs(interceptor.Funcs{
			Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
				w.writes++
				return c.Apply(ctx, obj, opts...)
			},
			Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
				w.writes++
				return c.Delete(ctx, obj, opts...)
			},
		}).Build()
	w.router = gatewayapi.New(w.Client, w.Client, ssa.New(w.Client), "gatewayapi:v1")
	return w
}

var key = client.ObjectKey{Namespace: "test", Name: "podinfo"}

func canary(change ...func(*v1beta1.CanaryService)) *v1beta1.Canary {
	c := &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Name: "podinfo", Namespace: "test", UID: "c1"},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"},
			Service:   v1beta1.CanaryService{Port: 9898, GatewayRefs: []v1beta1.ParentReference{{Name: "public", Namespace: new("infra")}}},
			Analysis:  &v1beta1.CanaryAnalysis{StepWeight: 10},
		},
	}
	for _, f := range change {
		f(&c.Spec.Service)
	}
	return c
}

func route(c *v1beta1.Canary, weight int32) providers.Route {
	return providers.Route{Canary: c, Traffic: providers.Traffic{Primary: 100 - weight, Canary: weight}}
}

func raw(s string) *v1beta1.RawObject { return &v1beta1.RawObject{Raw: json.RawMessage(s)} }

// accept says what the controllers of all parents say of a route that is well.
func (w *world) accept(t *testing.T) {
	t.Helper()
	for _, o := range []client.Object{&gatewayv1.HTTPRoute{}, &gatewayv1.GRPCRoute{}} {
		if err := w.Get(t.Context(), key, o); err != nil {
			continue
		}
		if err := w.Status().Update(t.Context(), routertest.Accepted(o)); err != nil {
			t.Fatal(err)
		}
	}
}

// refuse says what the controller of a Gateway says of a route that its listeners do not take.
func (w *world) refuse(t *testing.T) {
	t.Helper()
	r := w.httpRoute(t)
	r.Generation = 2
	if err := w.Update(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	r = w.httpRoute(t)
	if err := w.Status().Update(t.Context(), routertest.Refused(r)); err != nil {
		t.Fatal(err)
	}
}

func all() []schema.GroupVersionKind {
	return []schema.GroupVersionKind{
		schema.GroupVersion(gatewayv1.GroupVersion).WithKind("HTTPRoute"), schema.GroupVersion(gatewayv1beta1.GroupVersion).WithKind("HTTPRoute"),
		schema.GroupVersion(gatewayv1.GroupVersion).WithKind("GRPCRoute"),
	}
}

func TestConformance(t *testing.T) {
	for name, protocol := range map[string]string{"HTTP": "", "gRPC": "grpc"} {
		t.Run(name, func(t *testing.T) {
			routertest.Run(t, func(t *testing.T) routertest.World { return conformance(t, protocol) })
		})
	}
}

func conformance(t *testing.T, protocol string) routertest.World {
	w := newWorld(t, all())
	bare := newWorld(t, nil)
	c := canary()
	c.Spec.Service.AppProtocol = protocol
	world := routertest.World{
		Router: w.router, Canary: c, Writes: func() int { return w.writes }, Mesh: w.accept, Bare: bare.router,
		Mistakes: map[string]func(*v1beta1.Canary){
			"no parent": func(c *v1beta1.Canary) { c.Spec.Service.GatewayRefs = nil },
			"a timeout": func(c *v1beta1.Canary) { c.Spec.Service.Timeout = "soon" },
			"a rewrite": func(c *v1beta1.Canary) { c.Spec.Service.Rewrite = raw(`{"uri":1}`) },
			"a match":   func(c *v1beta1.Canary) { c.Spec.Service.Match = []v1beta1.RawObject{*raw(`{"header":{}}`)} },
			"a match by label": func(c *v1beta1.Canary) {
				c.Spec.Service.Match = []v1beta1.RawObject{*raw(`{"sourceLabels":{"a":"b"}}`)}
			},
		},
	}
	if protocol == "grpc" {
		world.Drift = func(t *testing.T, traffic providers.Traffic) {
			r := &gatewayv1.GRPCRoute{}
			if err := w.Get(t.Context(), key, r); err != nil {
				t.Fatal(err)
			}
			r.Spec.Rules[0].BackendRefs[0].Weight, r.Spec.Rules[0].BackendRefs[1].Weight = &traffic.Primary, &traffic.Canary
			if err := w.Update(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		return world
	}
	world.Drift = func(t *testing.T, traffic providers.Traffic) {
		r := w.httpRoute(t)
		r.Spec.Rules[0].BackendRefs[0].Weight, r.Spec.Rules[0].BackendRefs[1].Weight = &traffic.Primary, &traffic.Canary
		if err := w.Update(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	rival := users(t, `
parentRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: public, namespace: infra}]
rules: [{matches: [{path: {type: PathPrefix, value: /}}], backendRefs: [{group: "", kind: Service, name: podinfo, port: 9898, weight: 1}]}]
`)
	rival.Name, rival.CreationTimestamp = "a-rival", metav1.Unix(1, 0)
	world.Refuse, world.Flagger = w.refuse, w.flaggers
	return world.With(routertest.Object{Client: w.Client, Rival: rival, Users: users(t, `
parentRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: theirs}]
hostnames: [old.example.com]
rules:
- {name: mine, matches: [{path: {type: PathPrefix, value: /}}], backendRefs: [{group: "", kind: Service, name: podinfo, port: 9898, weight: 1}]}
- {matches: [{path: {type: PathPrefix, value: /admin}}], backendRefs: [{group: "", kind: Service, name: admin, port: 80, weight: 1}]}
`)})
}

// flaggers has what Flagger writes.
func (w *world) flaggers(t *testing.T, traffic providers.Traffic) func(*testing.T) {
	t.Helper()
	r := users(t, fmt.Sprintf(`
parentRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: public, namespace: infra}]
rules:
- matches: [{path: {type: PathPrefix, value: /}}]
  backendRefs:
  - {group: "", kind: Service, name: podinfo-primary, port: 9898, weight: %d}
  - {group: "", kind: Service, name: podinfo-canary, port: 9898, weight: %d}
`, traffic.Primary, traffic.Canary))
	routertest.OfFlagger(r, "podinfo")
	if err := w.Create(t.Context(), r, client.FieldOwner("flagger")); err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T) {
		t.Helper()
		if d := cmp.Diff(r.Spec, w.httpRoute(t).Spec); d != "" {
			t.Errorf("what Flagger had (-was +is)\n%s", d)
		}
	}
}

func users(t *testing.T, spec string) *gatewayv1.HTTPRoute {
	t.Helper()
	r := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Labels: map[string]string{"team": "a"}}}
	if err := yaml.UnmarshalStrict([]byte(spec), &r.Spec); err != nil {
		t.Fatal(err)
	}
	return r
}

func (w *world) httpRoute(t *testing.T) *gatewayv1.HTTPRoute {
	t.Helper()
	r := &gatewayv1.HTTPRoute{}
	if err := w.Get(t.Context(), key, r); err != nil {
		t.Fatal(err)
	}
	return r
}

// observe is what the router says of a route.
func (w *world) observe(t *testing.T, r providers.Route) providers.State {
	t.Helper()
	state, err := w.router.Observe(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func (w *world) apply(t *testing.T, r providers.Route) {
	t.Helper()
	if err := w.router.Apply(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func TestServedVersion(t *testing.T) {
	v1, v1beta1 := schema.GroupVersion(gatewayv1.GroupVersion), schema.GroupVersion(gatewayv1beta1.GroupVersion)
	for name, tc := range map[string]struct {
		served []schema.GroupVersionKind
		want   client.Object
	}{
		"both":    {all(), &gatewayv1.HTTPRoute{}},
		"new":     {[]schema.GroupVersionKind{v1.WithKind("HTTPRoute")}, &gatewayv1.HTTPRoute{}},
		"old":     {[]schema.GroupVersionKind{v1beta1.WithKind("HTTPRoute")}, &gatewayv1beta1.HTTPRoute{}},
		"without": {[]schema.GroupVersionKind{v1.WithKind("Gateway")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.served)
			err := w.router.Apply(t.Context(), route(canary(), 10))
			if providers.IsNotInstalled(err) != (tc.want == nil) {
				t.Fatal(err)
			}
			if tc.want == nil {
				return
			}
			if err := w.Get(t.Context(), key, tc.want); err != nil {
				t.Error(err)
			}
			if state := w.observe(t, route(canary(), 20)); !state.Exists || state.Traffic.Canary != 10 {
				t.Errorf("observed %+v", state)
			}
		})
	}
}

// TestKindOfRoute has gRPC services get a GRPCRoute, and keep an HTTPRoute that they have.
func TestKindOfRoute(t *testing.T) {
	const both, httpOnly = true, false
	for name, tc := range map[string]struct {
		protocol string
		served   bool
		before   string // protocol at an earlier time
		want     []string
	}{
		"HTTP":                    {served: both, want: []string{"HTTPRoute"}},
		"gRPC":                    {protocol: "gRPC", served: both, want: []string{"GRPCRoute"}},
		"gRPC, not served":        {protocol: "grpc", served: httpOnly, want: []string{"HTTPRoute"}},
		"gRPC, once HTTP":         {protocol: "grpc", served: both, before: "http", want: []string{"HTTPRoute"}},
		"HTTP, once gRPC":         {protocol: "http", served: both, before: "grpc", want: []string{"HTTPRoute"}},
		"gRPC over TLS is not it": {protocol: "kubernetes.io/h2c", served: both, want: []string{"HTTPRoute"}},
	} {
		t.Run(name, func(t *testing.T) {
			served := all()
			if tc.served == httpOnly {
				served = served[:2]
			}
			w := newWorld(t, served)
			for i, protocol := range []string{tc.before, tc.protocol} {
				if i == 0 && protocol == "" {
					continue
				}
				r := route(canary(func(s *v1beta1.CanaryService) { s.AppProtocol = protocol }), int32(10+i)) //nolint:gosec // small
				w.apply(t, r)
				w.accept(t)
				if state := w.observe(t, r); !state.InSync {
					t.Errorf("%s: %+v", protocol, state)
				}
			}
			var got []string
			for kind, o := range map[string]client.Object{"HTTPRoute": &gatewayv1.HTTPRoute{}, "GRPCRoute": &gatewayv1.GRPCRoute{}} {
				if tc.served == httpOnly && kind == "GRPCRoute" {
					continue
				}
				if err := w.Get(t.Context(), key, o); err == nil {
					got = append(got, kind)
				}
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// TestStepCountsWhenAccepted has a route that is stored, and not accepted, not be in sync.
func TestStepCountsWhenAccepted(t *testing.T) {
	w := newWorld(t, all())
	r := route(canary(), 10)
	w.apply(t, r)
	if state := w.observe(t, r); state.InSync || !state.Exists || !strings.Contains(state.Detail, "Gateway infra/public has not said yet") {
		t.Errorf("before the controller has seen it: %+v", state)
	}
	ignoring := canary()
	ignoring.Annotations = map[string]string{"sluice.dev/route-status": "ignored"}
	if state := w.observe(t, route(ignoring, 10)); !state.InSync {
		t.Errorf("where the status is ignored: %+v", state)
	}
	w.accept(t)
	if state := w.observe(t, r); !state.InSync || state.Detail != "" {
		t.Errorf("accepted: %+v", state)
	}
	refused := w.httpRoute(t)
	refused.Status.Parents[0].Conditions[0].Status = metav1.ConditionFalse
	refused.Status.Parents[0].Conditions[0].Message = "no listener allows it"
	if err := w.Status().Update(t.Context(), refused); err != nil {
		t.Fatal(err)
	}
	if state := w.observe(t, r); state.InSync || !strings.Contains(state.Detail, "no listener allows it") {
		t.Errorf("refused: %+v", state)
	}
}

// TestExtraBackend has somebody send some of the requests elsewhere: that is drift.
func TestExtraBackend(t *testing.T) {
	w := newWorld(t, all())
	r := route(canary(), 10)
	w.apply(t, r)
	w.accept(t)
	live := w.httpRoute(t)
	extra := *live.Spec.Rules[0].BackendRefs[0].DeepCopy()
	extra.Name = "other"
	live.Spec.Rules[0].BackendRefs = append(live.Spec.Rules[0].BackendRefs, extra)
	if err := w.Update(t.Context(), live); err != nil {
		t.Fatal(err)
	}
	if state := w.observe(t, r); state.InSync {
		t.Error("a third backend is not seen")
	}
	w.apply(t, r)
	if n := len(w.httpRoute(t).Spec.Rules[0].BackendRefs); n != 2 {
		t.Errorf("it has %d backends", n)
	}
}

func TestRouteWritten(t *testing.T) {
	w := newWorld(t, all())
	c := canary(func(s *v1beta1.CanaryService) {
		s.Hosts = []string{"app.example.com"}
		s.GatewayRefs = append(s.GatewayRefs, v1beta1.ParentReference{Group: new(""), Kind: new("Service"), Name: "podinfo", Port: new(int32(80))})
		s.Apex = &v1beta1.CustomMetadata{Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"}}
	})
	w.apply(t, route(c, 10))
	live := w.httpRoute(t)
	want := users(t, `
parentRefs:
- {group: gateway.networking.k8s.io, kind: Gateway, namespace: infra, name: public}
- {group: "", kind: Service, name: podinfo, port: 80}
hostnames: [app.example.com]
rules:
- matches: [{path: {type: PathPrefix, value: /}}]
  backendRefs:
  - {group: "", kind: Service, name: podinfo-primary, port: 9898, weight: 90}
  - {group: "", kind: Service, name: podinfo-canary, port: 9898, weight: 10}
`)
	if d := cmp.Diff(want.Spec, live.Spec); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if d := cmp.Diff(map[string]string{"a": "b", "app.kubernetes.io/managed-by": "sluice", "sluice.dev/canary": "podinfo"}, live.Labels); d != "" {
		t.Errorf("labels (-want +got)\n%s", d)
	}
	if live.Annotations["sluice.dev/canary"] != c.Name || len(live.OwnerReferences) > 0 || live.Annotations["c"] != "d" {
		t.Errorf("metadata %+v", live.ObjectMeta)
	}
}

// TestAdoption keeps what is the user's: parents and hosts that the spec does not set too.
func TestAdoption(t *testing.T) {
	theirs := users(t, `
parentRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: theirs}]
hostnames: [old.example.com]
rules: [{matches: [{path: {type: PathPrefix, value: /}}], backendRefs: [{group: "", kind: Service, name: podinfo, port: 9898, weight: 1}]}]
`)
	w := newWorld(t, all(), theirs)
	c := canary(func(s *v1beta1.CanaryService) { s.GatewayRefs = nil })
	w.apply(t, route(c, 10))
	live := w.httpRoute(t)
	if live.Spec.ParentRefs[0].Name != "theirs" || live.Spec.Hostnames[0] != "old.example.com" || len(live.OwnerReferences) != 0 {
		t.Errorf("got %+v", live)
	}
	if got := *live.Spec.Rules[0].BackendRefs[1].Weight; got != 10 {
		t.Errorf("weight %d", got)
	}
}

// TestUsersGRPCRoute is not taken over: what it has beside ours would be lost.
func TestUsersGRPCRoute(t *testing.T) {
	theirs := &gatewayv1.GRPCRoute{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	w := newWorld(t, all(), theirs)
	r := route(canary(func(s *v1beta1.CanaryService) { s.AppProtocol = "grpc" }), 10)
	if err := w.router.Apply(t.Context(), r); !providers.IsInvalid(err) || w.writes != 0 {
		t.Errorf("%v, %d writes", err, w.writes)
	}
}

func TestOvertaken(t *testing.T) {
	w := newWorld(t, all())
	routertest.Overtaken(t, w.Client, canary(), func(first, then client.Client) providers.Router {
		return gatewayapi.New(first, then, ssa.New(then), "gatewayapi:v1")
	}, func(t *testing.T) { w.accept(t) })
}
