package linkerd

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

var (
	httpRoute   = schema.GroupVersion(gatewayv1.GroupVersion).WithKind("HTTPRoute")
	oldRoute    = schema.GroupVersion(gatewayv1beta1.GroupVersion).WithKind("HTTPRoute")
	grpcRoute   = schema.GroupVersion(gatewayv1.GroupVersion).WithKind("GRPCRoute")
	ownRoute    = policyVersion.WithKind("HTTPRoute")
	profileKind = profileVersion.WithKind("ServiceProfile")

	key        = client.ObjectKey{Namespace: "test", Name: "podinfo"}
	profileKey = client.ObjectKey{Namespace: "test", Name: "podinfo.test.svc.cluster.local"}
)

type world struct {
	client.Client

	router *Router
	writes int
}

func newWorld(t *testing.T, served []schema.GroupVersionKind, objs ...client.Object) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{gatewayv1.Install, gatewayv1beta1.Install, AddToScheme, v1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{}
	w.Client = fake.NewClientBuilder().WithScheme(scheme).WithRESTMapper(routertest.Mapper(served...)).WithObjects(objs...).
		WithStatusSubresource(&gatewayv1.HTTPRoute{}, &gatewayv1.GRPCRoute{}, &policyRoute{}).
		WithInterceptorFuncs(interceptor.Funcs{
			Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
				w.writes++
				return c.Apply(ctx, obj, opts...)
			},
			Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
				w.writes++
				return c.Patch(ctx, obj, patch, opts...)
			},
			Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
				w.writes++
				return c.Delete(ctx, obj, opts...)
			},
		}).Build()
	w.router = New(w.Client, ssa.New(w.Client))
	return w
}

func canary(change ...func(*v1beta1.Canary)) *v1beta1.Canary {
	c := &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Name: "podinfo", Namespace: "test", UID: "c1"},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"},
			Service:   v1beta1.CanaryService{Port: 9898},
			Analysis:  &v1beta1.CanaryAnalysis{StepWeight: 10},
		},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func route(c *v1beta1.Canary, weight int32) providers.Route {
	return providers.Route{Canary: c, Traffic: providers.Traffic{Primary: 100 - weight, Canary: weight}}
}

func raw(s string) *v1beta1.RawObject { return &v1beta1.RawObject{Raw: json.RawMessage(s)} }

// accept says what Linkerd's controller says of a route that is well.
func (w *world) accept(t *testing.T) {
	t.Helper()
	for _, o := range []client.Object{&gatewayv1.HTTPRoute{}, &gatewayv1.GRPCRoute{}, &policyRoute{}} {
		if err := w.Get(t.Context(), key, o); err != nil {
			continue
		}
		if own, ok := o.(*policyRoute); ok {
			own.Status.Parents = routertest.AcceptedBy(own.Spec.ParentRefs, 0)
		} else {
			routertest.Accepted(o)
		}
		if err := w.Status().Update(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func usersProfile() *ServiceProfile {
	return &ServiceProfile{
		ObjectMeta: metav1.ObjectMeta{Namespace: profileKey.Namespace, Name: profileKey.Name, Labels: map[string]string{"team": "a"}},
		Spec: ServiceProfileSpec{
			Routes:       &[]struct{}{},
			DstOverrides: []WeightedDst{{Authority: "podinfo.other.svc.cluster.local", Weight: resource.MustParse("500m")}},
		},
	}
}

func usersRoute() *gatewayv1.HTTPRoute {
	r := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	r.Spec.ParentRefs = []gatewayv1.ParentReference{{Group: new(gatewayv1.Group("core")), Kind: new(gatewayv1.Kind("Service")), Name: "podinfo", Port: new(int32(9898))}}
	backend := gatewayv1.HTTPBackendRef{}
	backend.Name, backend.Port = "podinfo", new(int32(9898))
	r.Spec.Rules = []gatewayv1.HTTPRouteRule{{BackendRefs: []gatewayv1.HTTPBackendRef{backend}}}
	return r
}

func TestConformance(t *testing.T) {
	for name, setup := range map[string]routertest.Setup{
		"routes":           func(t *testing.T) routertest.World { return byRoutes(t, httpRoute) },
		"with profiles":    func(t *testing.T) routertest.World { return byRoutes(t, httpRoute, grpcRoute, profileKind) },
		"Linkerd's routes": byOwnRoutes,
		"profiles":         byProfiles,
	} {
		t.Run(name, func(t *testing.T) { routertest.Run(t, setup) })
	}
}

func byRoutes(t *testing.T, served ...schema.GroupVersionKind) routertest.World {
	w := newWorld(t, served)
	return routertest.World{
		Flagger: w.flaggers,
		Router:  w.router, Canary: canary(), Writes: func() int { return w.writes }, Mesh: w.accept, Bare: newWorld(t, nil).router,
		Drift: func(t *testing.T, traffic providers.Traffic) {
			r := &gatewayv1.HTTPRoute{}
			w.read(t, key, r)
			r.Spec.Rules[0].BackendRefs[0].Weight, r.Spec.Rules[0].BackendRefs[1].Weight = &traffic.Primary, &traffic.Canary
			w.update(t, r)
		},
		Mistakes: map[string]func(*v1beta1.Canary){
			"a timeout":             func(c *v1beta1.Canary) { c.Spec.Service.Timeout = "soon" },
			"a rewrite":             func(c *v1beta1.Canary) { c.Spec.Service.Rewrite = raw(`{"uri":"/"}`) },
			"a cross-origin policy": func(c *v1beta1.Canary) { c.Spec.Service.CorsPolicy = raw(`{}`) },
			"copies": func(c *v1beta1.Canary) {
				c.Spec.Service.Mirror = []v1beta1.RawObject{*raw(`{"backendRef":{"name":"a"}}`)}
			},
			"retries for no reason":     func(c *v1beta1.Canary) { c.Spec.Service.Retries = raw(`{"attempts":1,"retryOn":"reset"}`) },
			"a timeout of each attempt": func(c *v1beta1.Canary) { c.Spec.Service.Retries = raw(`{"attempts":1,"perTryTimeout":"soon"}`) },
		},
	}.With(routertest.Object{Client: w.Client, Users: usersRoute(), Rival: &gatewayv1.HTTPRoute{ObjectMeta: rival(), Spec: usersRoute().Spec}})
}

// flaggers has what Flagger writes.
func (w *world) flaggers(t *testing.T, traffic providers.Traffic) func(*testing.T) {
	t.Helper()
	r := usersRoute()
	r.Spec.ParentRefs[0].Group = new(gatewayv1.Group(""))
	r.Spec.Rules = nil
	rule := gatewayv1.HTTPRouteRule{Matches: []gatewayv1.HTTPRouteMatch{{Path: &gatewayv1.HTTPPathMatch{Type: new(gatewayv1.PathMatchPathPrefix), Value: new("/")}}}}
	for name, weight := range map[gatewayv1.ObjectName]int32{"podinfo-primary": traffic.Primary, "podinfo-canary": traffic.Canary} {
		backend := gatewayv1.HTTPBackendRef{}
		backend.Group, backend.Kind, backend.Name, backend.Port, backend.Weight = new(gatewayv1.Group("")), new(gatewayv1.Kind("Service")), name, new(int32(9898)), &weight
		rule.BackendRefs = append(rule.BackendRefs, backend)
	}
	r.Spec.Rules = append(r.Spec.Rules, rule)
	routertest.OfFlagger(r, "podinfo")
	if err := w.Create(t.Context(), r, client.FieldOwner("flagger")); err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T) {
		t.Helper()
		live := &gatewayv1.HTTPRoute{}
		w.read(t, key, live)
		if d := cmp.Diff(routertest.Backends(&rule), routertest.Backends(&live.Spec.Rules[0])); d != "" || len(live.Spec.Rules) != 1 {
			t.Errorf("what Flagger had (-was +is)\n%s", d)
		}
	}
}

// rival is the metadata of a route of another name that was there first.
func rival() metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: key.Namespace, Name: "a-rival", CreationTimestamp: metav1.Unix(1, 0)}
}

// byOwnRoutes is a cluster with Linkerd's own HTTPRoute only, which has no session affinity.
func byOwnRoutes(t *testing.T) routertest.World {
	w := newWorld(t, []schema.GroupVersionKind{ownRoute})
	return routertest.World{
		Router: limited{w.router, providers.Capabilities{Weighted: true, HeaderMatch: true, WeightedMatch: true, ByAddress: true}}, Canary: canary(),
		Writes: func() int { return w.writes }, Mesh: w.accept, Bare: newWorld(t, nil).router,
		Drift: func(t *testing.T, traffic providers.Traffic) {
			r := &policyRoute{}
			w.read(t, key, r)
			r.Spec.Rules[0].BackendRefs[0].Weight, r.Spec.Rules[0].BackendRefs[1].Weight = &traffic.Primary, &traffic.Canary
			w.update(t, r)
		},
	}.With(routertest.Object{Client: w.Client, Users: &policyRoute{ObjectMeta: usersRoute().ObjectMeta, Spec: usersRoute().Spec}, Rival: &policyRoute{ObjectMeta: rival(), Spec: usersRoute().Spec}})
}

// byProfiles is a cluster without the Gateway API.
func byProfiles(t *testing.T) routertest.World {
	w := newWorld(t, []schema.GroupVersionKind{profileKind})
	return routertest.World{
		Router: limited{w.router, w.router.profiles.Capabilities()}, Canary: canary(), Writes: func() int { return w.writes }, Bare: newWorld(t, nil).router,
		Drift: func(t *testing.T, traffic providers.Traffic) {
			p := &ServiceProfile{}
			w.read(t, profileKey, p)
			p.Spec.DstOverrides[0].Weight = *resource.NewQuantity(int64(traffic.Primary), resource.DecimalSI)
			p.Spec.DstOverrides[1].Weight = *resource.NewQuantity(int64(traffic.Canary), resource.DecimalSI)
			w.update(t, p)
		},
		Mistakes: map[string]func(*v1beta1.Canary){
			"connections": func(c *v1beta1.Canary) { c.Spec.Service.AppProtocol = "tcp" },
			"a match":     func(c *v1beta1.Canary) { c.Spec.Analysis.Match = []v1beta1.RawObject{*raw(`{"uri":{"prefix":"/"}}`)} },
		},
	}.With(routertest.Object{Client: w.Client, Users: usersProfile()})
}

// limited says what a router can do in a cluster of a certain kind.
type limited struct {
	*Router

	can providers.Capabilities
}

func (l limited) Capabilities() providers.Capabilities { return l.can }

func (w *world) read(t *testing.T, key client.ObjectKey, into client.Object) {
	t.Helper()
	if err := w.Get(t.Context(), key, into); err != nil {
		t.Fatal(err)
	}
}

func (w *world) update(t *testing.T, o client.Object) {
	t.Helper()
	if err := w.Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// TestChoice has Linkerd's preferences decide what is written.
func TestChoice(t *testing.T) {
	for name, tc := range map[string]struct {
		served   []schema.GroupVersionKind
		protocol string
		profile  bool // the user has one
		want     client.Object
		wantKey  client.ObjectKey
	}{
		"routes":                  {served: []schema.GroupVersionKind{httpRoute, oldRoute, ownRoute, profileKind}, want: &gatewayv1.HTTPRoute{}, wantKey: key},
		"old routes":              {served: []schema.GroupVersionKind{oldRoute, ownRoute, profileKind}, want: &gatewayv1beta1.HTTPRoute{}, wantKey: key},
		"Linkerd's routes":        {served: []schema.GroupVersionKind{ownRoute, profileKind}, want: &policyRoute{}, wantKey: key},
		"gRPC":                    {served: []schema.GroupVersionKind{httpRoute, grpcRoute}, protocol: "grpc", want: &gatewayv1.HTTPRoute{}, wantKey: key},
		"profiles":                {served: []schema.GroupVersionKind{profileKind}, want: &ServiceProfile{}, wantKey: profileKey},
		"a profile before routes": {served: []schema.GroupVersionKind{httpRoute, profileKind}, profile: true, want: &ServiceProfile{}, wantKey: profileKey},
	} {
		t.Run(name, func(t *testing.T) {
			var objs []client.Object
			if tc.profile {
				objs = append(objs, usersProfile())
			}
			w := newWorld(t, tc.served, objs...)
			c := canary(func(c *v1beta1.Canary) { c.Spec.Service.AppProtocol = tc.protocol })
			if err := w.router.Apply(t.Context(), route(c, 10)); err != nil {
				t.Fatal(err)
			}
			w.read(t, tc.wantKey, tc.want)
			if state, err := w.router.Observe(t.Context(), route(c, 20)); err != nil || !state.Exists || state.Traffic.Canary != 10 {
				t.Errorf("observed %+v, %v", state, err)
			}
		})
	}
}

// TestProfileInTheWay says why a spec that routes could express is refused.
func TestProfileInTheWay(t *testing.T) {
	w := newWorld(t, []schema.GroupVersionKind{httpRoute, profileKind}, usersProfile())
	c := canary(func(c *v1beta1.Canary) {
		c.Spec.Analysis.Match = []v1beta1.RawObject{*raw(`{"headers":{"x":{"exact":"y"}}}`)}
	})
	err := w.router.Apply(t.Context(), route(c, 0))
	if !providers.IsUnsupported(err) || !strings.Contains(err.Error(), "spec.analysis.match") || !strings.Contains(err.Error(), "podinfo.test.svc.cluster.local, which Linkerd prefers") {
		t.Errorf("got %v", err)
	}
}

func TestRouteWritten(t *testing.T) {
	for name, tc := range map[string]struct {
		change          func(*v1beta1.CanaryService)
		wantParents     []string // kinds and names
		wantTimeout     string
		wantAnnotations map[string]string
	}{
		"plain":         {wantParents: []string{"Service/podinfo"}},
		"a Gateway too": {change: func(s *v1beta1.CanaryService) { s.GatewayRefs = []v1beta1.ParentReference{{Name: "public"}} }, wantParents: []string{"Gateway/public", "Service/podinfo"}},
		"the Service": {change: func(s *v1beta1.CanaryService) {
			s.GatewayRefs = []v1beta1.ParentReference{{Group: new("core"), Kind: new("Service"), Name: "podinfo", Port: new(int32(9898))}}
		}, wantParents: []string{"Service/podinfo"}},
		"hosts, ignored": {change: func(s *v1beta1.CanaryService) { s.Hosts = []string{"app.example.com"} }, wantParents: []string{"Service/podinfo"}},
		"timeout and retries": {
			change: func(s *v1beta1.CanaryService) {
				s.Timeout, s.Retries = "1.5s", raw(`{"attempts":3,"perTryTimeout":"400ms","retryOn":"5xx, 429,unavailable"}`)
			},
			wantParents: []string{"Service/podinfo"}, wantTimeout: "1s500ms",
			wantAnnotations: map[string]string{"retry.linkerd.io/http": "5xx,429", "retry.linkerd.io/limit": "3", "retry.linkerd.io/timeout": "400ms"},
		},
		"no retries": {change: func(s *v1beta1.CanaryService) { s.Retries = raw(`{"attempts":0}`) }, wantParents: []string{"Service/podinfo"}},
		"gRPC": {
			change: func(s *v1beta1.CanaryService) {
				s.AppProtocol, s.Timeout, s.Retries = "grpc", "1m30s", raw(`{"attempts":2}`)
			},
			wantParents: []string{"Service/podinfo"}, wantTimeout: "1m30s",
			wantAnnotations: map[string]string{"retry.linkerd.io/http": "gateway-error", "retry.linkerd.io/limit": "2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, []schema.GroupVersionKind{httpRoute, grpcRoute})
			c := canary(func(c *v1beta1.Canary) {
				if tc.change != nil {
					tc.change(&c.Spec.Service)
				}
			})
			if err := w.router.Apply(t.Context(), route(c, 10)); err != nil {
				t.Fatal(err)
			}
			var spec gatewayv1.CommonRouteSpec
			var meta metav1.ObjectMeta
			var timeout string
			var hosts int
			r := &gatewayv1.HTTPRoute{}
			w.read(t, key, r)
			spec, meta, hosts = r.Spec.CommonRouteSpec, r.ObjectMeta, len(r.Spec.Hostnames)
			if r.Spec.Rules[0].Timeouts != nil {
				timeout = string(*r.Spec.Rules[0].Timeouts.Request)
			}
			var parents []string
			for _, p := range spec.ParentRefs {
				parents = append(parents, string(*p.Kind)+"/"+string(p.Name))
			}
			var annotations map[string]string
			for k, v := range meta.Annotations {
				if strings.Contains(k, "linkerd.io/") {
					if annotations == nil {
						annotations = map[string]string{}
					}
					annotations[k] = v
				}
			}
			if d := cmp.Diff([]any{tc.wantParents, tc.wantTimeout, 0, tc.wantAnnotations}, []any{parents, timeout, hosts, annotations}); d != "" {
				t.Errorf("parents, timeout, hosts, annotations (-want +got)\n%s", d)
			}
		})
	}
}

func TestProfileWritten(t *testing.T) {
	w := newWorld(t, []schema.GroupVersionKind{profileKind})
	if err := w.router.Apply(t.Context(), route(canary(), 35)); err != nil {
		t.Fatal(err)
	}
	p := &ServiceProfile{}
	w.read(t, profileKey, p)
	got, err := json.Marshal(p.Spec)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"routes":[],"dstOverrides":[` +
		`{"authority":"podinfo-primary.test.svc.cluster.local","weight":"65"},{"authority":"podinfo-canary.test.svc.cluster.local","weight":"35"}]}`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// TestProfileOfATrafficSplit takes over what Linkerd's adaptor has made of a TrafficSplit of Flagger's or a
// user's, and has it leave the profile alone: it would undo our weights every ten minutes.
func TestProfileOfATrafficSplit(t *testing.T) {
	const skip = "smi.linkerd.io/skip"
	for name, tc := range map[string]struct {
		users map[string]string
		held  string
	}{
		"the adaptor's":               {held: "sluice"},
		"that a user keeps from it":   {users: map[string]string{skip: "true"}, held: "true"},
		"that a user keeps, no value": {users: map[string]string{skip: ""}},
	} {
		t.Run(name, func(t *testing.T) {
			before := usersProfile()
			before.Annotations = tc.users
			w := newWorld(t, []schema.GroupVersionKind{httpRoute, profileKind}, before)
			r := route(canary(), 35)
			p := &ServiceProfile{}
			for range 2 {
				if err := w.router.Apply(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				if state, err := w.router.Observe(t.Context(), r); err != nil || !state.InSync {
					t.Errorf("observed %+v, %v", state, err)
				}
				w.read(t, profileKey, p)
				if value, has := p.Annotations[skip]; !has || value != tc.held {
					t.Errorf("annotations are %v", p.Annotations)
				}
			}
			deleted := r.Canary.DeepCopy()
			deleted.DeletionTimestamp = new(metav1.Now())
			if err := w.router.Release(t.Context(), providers.Route{Canary: deleted}); err != nil {
				t.Fatal(err)
			}
			p = &ServiceProfile{}
			w.read(t, profileKey, p)
			if d := cmp.Diff(tc.users, p.Annotations); d != "" {
				t.Errorf("given back (-had +has)\n%s", d)
			}
		})
	}
}

// TestFieldsOfNoEffect has a profile, which says nothing of requests, serve Canaries that do, as
// Flagger with Linkerd does, and tells them.
func TestFieldsOfNoEffect(t *testing.T) {
	c := canary(func(c *v1beta1.Canary) {
		c.Spec.Service.Timeout, c.Spec.Service.Retries, c.Spec.Service.Hosts = "5s", raw(`{"attempts":2}`), []string{"app.example.com"}
		c.Spec.Service.Match = []v1beta1.RawObject{*raw(`{"uri":{"prefix":"/"}}`)}
	})
	for name, tc := range map[string]struct {
		served []schema.GroupVersionKind
		users  []client.Object
		why    string
	}{
		"a profile":                      {served: []schema.GroupVersionKind{httpRoute, profileKind}, users: []client.Object{usersProfile()}, why: "ServiceProfile podinfo.test.svc.cluster.local, which Linkerd prefers to routes"},
		"no routes":                      {served: []schema.GroupVersionKind{profileKind}, why: "there were no routes of the Gateway API in this cluster"},
		"a route does as the fields say": {served: []schema.GroupVersionKind{httpRoute, profileKind}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.served, tc.users...)
			if err := w.router.Apply(t.Context(), route(c, 10)); err != nil {
				t.Fatal(err)
			}
			for _, weight := range []int32{10, 20} { // in sync and not
				state, err := w.router.Observe(t.Context(), route(c, weight))
				if err != nil {
					t.Fatal(err)
				}
				if tc.why == "" {
					if state.Ignored != "" {
						t.Errorf("ignored: %s", state.Ignored)
					}
					continue
				}
				for _, field := range []string{"timeout", "match", "retries"} {
					if !strings.Contains(state.Ignored, "spec.service."+field+" has no effect: "+tc.why) {
						t.Errorf("ignored: %s", state.Ignored)
					}
				}
				if strings.Contains(state.Ignored, "hosts") {
					t.Error("hosts are told twice")
				}
			}
		})
	}
}
