package integration

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/gatewayapi"
	"github.com/sluice-delivery/sluice/providers/linkerd"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

func publicGateway() []v1beta1.ParentReference {
	return []v1beta1.ParentReference{{Name: "public", Namespace: new("infra"), SectionName: new("https")}}
}

func gatewayParents() []gatewayv1.ParentReference {
	public := publicGateway()[0]
	return []gatewayv1.ParentReference{{
		Name: gatewayv1.ObjectName(public.Name), Namespace: new(gatewayv1.Namespace(*public.Namespace)), SectionName: new(gatewayv1.SectionName(*public.SectionName)),
	}}
}

func testGatewayNotInstalled(t *testing.T, e *environment) {
	c, _ := e.counting()
	for name, router := range map[string]providers.Router{
		"gatewayapi": gatewayapi.New(c, c, ssa.New(c), "gatewayapi"), "linkerd": linkerd.New(c, ssa.New(c)),
	} {
		r := route(e.canary(t, v1beta1.CanaryService{GatewayRefs: publicGateway()}), 0)
		if _, err := router.Observe(t.Context(), r); !providers.IsNotInstalled(err) {
			t.Errorf("%s: observe: %v", name, err)
		}
		if err := router.Apply(t.Context(), r); !providers.IsNotInstalled(err) {
			t.Errorf("%s: apply: %v", name, err)
		}
	}
}

// accept plays the controller of all parents: it takes every route as it is.
func (e *environment) accept(t *testing.T, namespace string) {
	t.Helper()
	key := client.ObjectKey{Namespace: namespace, Name: app}
	for _, o := range []client.Object{&gatewayv1.HTTPRoute{}, &gatewayv1.GRPCRoute{}} {
		if err := e.live.Get(t.Context(), key, o); err != nil {
			continue
		}
		before := o.DeepCopyObject().(client.Object)
		if err := e.live.Status().Patch(t.Context(), routertest.Accepted(o), client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
	}
}

// refuse plays a controller that has looked at the route and will not carry it out.
func (e *environment) refuse(t *testing.T, namespace string) {
	t.Helper()
	r := &gatewayv1.HTTPRoute{}
	e.read(t, namespace, app, r)
	before := r.DeepCopy()
	if err := e.live.Status().Patch(t.Context(), routertest.Refused(r), client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

func (e *environment) driftHTTP(t *testing.T, namespace string, traffic providers.Traffic) {
	t.Helper()
	r := &gatewayv1.HTTPRoute{}
	e.read(t, namespace, app, r)
	r.Spec.Rules[0].BackendRefs[0].Weight, r.Spec.Rules[0].BackendRefs[1].Weight = &traffic.Primary, &traffic.Canary
	if err := e.live.Update(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func (e *environment) driftGRPC(t *testing.T, namespace string, traffic providers.Traffic) {
	t.Helper()
	r := &gatewayv1.GRPCRoute{}
	e.read(t, namespace, app, r)
	r.Spec.Rules[0].BackendRefs[0].Weight, r.Spec.Rules[0].BackendRefs[1].Weight = &traffic.Primary, &traffic.Canary
	if err := e.live.Update(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// usersRoute leaves to the server what it fills in.
func usersRoute(namespace string) *gatewayv1.HTTPRoute {
	r := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: app, Labels: map[string]string{"team": "a"}}}
	r.Spec.ParentRefs = []gatewayv1.ParentReference{{Name: "theirs"}}
	r.Spec.Hostnames = []gatewayv1.Hostname{"old.example.com"}
	for _, name := range []gatewayv1.ObjectName{app, "other"} {
		backend := gatewayv1.HTTPBackendRef{}
		backend.Name, backend.Port = name, new(int32(80))
		rule := gatewayv1.HTTPRouteRule{BackendRefs: []gatewayv1.HTTPBackendRef{backend}}
		if name == "other" {
			rule.Matches = []gatewayv1.HTTPRouteMatch{{Path: &gatewayv1.HTTPPathMatch{Value: new("/other")}}}
		}
		r.Spec.Rules = append(r.Spec.Rules, rule)
	}
	return r
}

func testGatewayAPI(t *testing.T, e *environment) {
	for name, protocol := range map[string]string{"HTTP": "", "gRPC": "grpc"} {
		t.Run(name, func(t *testing.T) {
			routertest.Run(t, func(t *testing.T) routertest.World {
				c, writes := e.counting()
				canary := e.canary(t, v1beta1.CanaryService{GatewayRefs: publicGateway(), AppProtocol: protocol})
				world := routertest.World{
					Router: gatewayapi.New(c, c, ssa.New(c), "gatewayapi:v1"), Canary: canary, Deadline: limit,
					Writes: func() int { return int(writes.Load()) },
					Mesh:   func(t *testing.T) { e.accept(t, canary.Namespace) },
				}
				if protocol == "grpc" {
					world.Drift = func(t *testing.T, traffic providers.Traffic) { e.driftGRPC(t, canary.Namespace, traffic) }
					return world
				}
				world.Drift = func(t *testing.T, traffic providers.Traffic) { e.driftHTTP(t, canary.Namespace, traffic) }
				world.Refuse = func(t *testing.T) { e.refuse(t, canary.Namespace) }
				rival := usersRoute(canary.Namespace)
				rival.Name, rival.Spec.ParentRefs, rival.Spec.Hostnames = "a-rival", gatewayParents(), nil
				return world.With(routertest.Object{Client: e.live, Users: usersRoute(canary.Namespace), Rival: rival, Seen: e.cachedAs})
			})
		})
	}
	t.Run("every field survives the server", func(t *testing.T) { testGatewayFields(t, e) })
}

// testGatewayFields has everything that the spec can say stored and read back: nothing
// is dropped, and nothing looks like drift.
func testGatewayFields(t *testing.T, e *environment) {
	c, writes := e.counting()
	canary := e.canary(t, v1beta1.CanaryService{
		GatewayRefs: publicGateway(), Hosts: []string{"app.example.com"}, Timeout: "1m30s", BackendTimeout: "0.5s",
		Match:      []v1beta1.RawObject{raw(`{"uri":{"prefix":"/api"},"method":{"exact":"GET"},"headers":{"x":{"regex":"y.*"}},"queryParams":{"q":{"exact":"1"}}}`)},
		Rewrite:    new(raw(`{"uri":"/v2","authority":"b.example.com"}`)),
		Headers:    new(raw(`{"request":{"add":{"x-a":"1"},"remove":["x-b"]},"response":{"set":{"x-c":"2"}}}`)),
		CorsPolicy: new(raw(`{"allowOrigins":[{"exact":"https://example.com"}],"allowMethods":["GET"],"allowCredentials":false}`)),
		Mirror:     []v1beta1.RawObject{raw(`{"backendRef":{"name":"shadow","port":81}}`)},
	})
	canary.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "v"}
	r := route(canary, 10)
	r.Traffic.Mirror = 30
	r.Traffic.Sessions = providers.Sessions{Canary: "c1", Primary: "s1", Raised: 10}
	settleWith(t, e, gatewayapi.New(c, c, ssa.New(c), "gatewayapi"), r)
	before := writes.Load()
	// A new operator has no memory, and compares what is there.
	settleWith(t, e, gatewayapi.New(c, c, ssa.New(c), "gatewayapi"), r)
	if n := writes.Load() - before; n != 0 {
		t.Errorf("a new router wrote %d times", n)
	}
	live := &gatewayv1.HTTPRoute{}
	e.read(t, canary.Namespace, app, live)
	if got := len(live.Spec.Rules); got != 4 {
		t.Errorf("%d rules", got)
	}
	last := live.Spec.Rules[3]
	if d := cmp.Diff("1m30s 500ms", string(*last.Timeouts.Request)+" "+string(*last.Timeouts.BackendRequest)); d != "" {
		t.Error(d)
	}
}

// settleWith is settle with a controller that takes every route.
func settleWith(t *testing.T, e *environment, router providers.Router, r providers.Route) {
	t.Helper()
	if err := router.Apply(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	e.accept(t, r.Canary.Namespace)
	settle(t, router, r)
}

func testLinkerdRoutes(t *testing.T, e *environment) {
	routertest.Run(t, func(t *testing.T) routertest.World {
		c, writes := e.counting()
		canary := e.canary(t, v1beta1.CanaryService{Timeout: "15s", Retries: new(raw(`{"attempts":2,"retryOn":"5xx"}`))})
		world := routertest.World{
			Router: linkerd.New(c, ssa.New(c)), Canary: canary, Deadline: limit,
			Writes: func() int { return int(writes.Load()) },
			Mesh:   func(t *testing.T) { e.accept(t, canary.Namespace) },
			Drift:  func(t *testing.T, traffic providers.Traffic) { e.driftHTTP(t, canary.Namespace, traffic) },
		}
		users := usersRoute(canary.Namespace)
		users.Spec.Hostnames = nil
		users.Spec.ParentRefs = []gatewayv1.ParentReference{{Group: new(gatewayv1.Group("")), Kind: new(gatewayv1.Kind("Service")), Name: app, Port: new(canary.Spec.Service.Port)}}
		rival := users.DeepCopy()
		rival.Name = "a-rival"
		return world.With(routertest.Object{Client: e.live, Users: users, Rival: rival, Seen: e.cachedAs})
	})
}

// testLinkerdProfiles is a cluster that has ServiceProfiles and no routes yet.
func testLinkerdProfiles(t *testing.T, e *environment) {
	routertest.Run(t, func(t *testing.T) routertest.World {
		c, writes := e.counting()
		canary := e.canary(t, v1beta1.CanaryService{})
		name := app + "." + canary.Namespace + ".svc.cluster.local"
		world := routertest.World{
			Router: limited{linkerd.New(c, ssa.New(c)), providers.Capabilities{Weighted: true, ByAddress: true}}, Canary: canary, Deadline: limit,
			Writes: func() int { return int(writes.Load()) },
			Drift: func(t *testing.T, traffic providers.Traffic) {
				p := &linkerd.ServiceProfile{}
				e.read(t, canary.Namespace, name, p)
				p.Spec.DstOverrides[0].Weight = *resource.NewQuantity(int64(traffic.Primary), resource.DecimalSI)
				p.Spec.DstOverrides[1].Weight = *resource.NewQuantity(int64(traffic.Canary), resource.DecimalSI)
				if err := e.live.Update(t.Context(), p); err != nil {
					t.Fatal(err)
				}
			},
		}
		return world.With(routertest.Object{Client: e.live, Seen: e.cachedAs, Users: &linkerd.ServiceProfile{
			ObjectMeta: metav1.ObjectMeta{Namespace: canary.Namespace, Name: name},
			Spec: linkerd.ServiceProfileSpec{
				Routes:       &[]struct{}{},
				DstOverrides: []linkerd.WeightedDst{{Authority: "other.svc.cluster.local", Weight: resource.MustParse("500m")}},
			},
		}})
	})
}

// limited says what a router can do in a cluster of a certain kind.
type limited struct {
	providers.Router

	can providers.Capabilities
}

func (l limited) Capabilities() providers.Capabilities { return l.can }
