package istio

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/istio/internal/istiotest"
)

func ports(list ...corev1.ServicePort) []corev1.ServicePort { return list }

var (
	web   = corev1.ServicePort{Name: "http", Port: 9898}
	admin = corev1.ServicePort{Name: "http-admin", Port: 9090}
)

// spec is that of an object as it is stored.
func (w *world) spec(t tester, kind, name string) map[string]any {
	t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(networkingv1.SchemeGroupVersion.WithKind(kind))
	if err := w.live.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: name}, u); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	spec, _ := u.Object["spec"].(map[string]any)
	return spec
}

// TestUsersVirtualService has what only led elsewhere stay, what led to the apex Service
// shared out, and all of it given back.
func TestUsersVirtualService(t *testing.T) {
	half := providers.Traffic{Primary: 90, Canary: 10}
	for name, tc := range map[string]struct {
		users   string
		change  func(*v1beta1.Canary)
		ports   []corev1.ServicePort
		traffic providers.Traffic
		want    string // what was sent of the spec
		mesh    string // and of the VirtualService for the mesh
	}{
		"a route of another service, one to the canary, hosts and gateways": {
			users: `{hosts: [podinfo, shop.example.com], gateways: [mesh, infra/public], http: [
				{match: [{uri: {prefix: /billing}}], route: [{destination: {host: billing}}]},
				{match: [{headers: {x-tester: {exact: "yes"}}}], route: [{destination: {host: podinfo-canary}}]},
				{timeout: 3s, route: [{destination: {host: podinfo}}]}]}`,
			want: `{hosts: [podinfo, shop.example.com], gateways: [mesh, infra/public], http: [
				{match: [{uri: {prefix: /billing}}], route: [{destination: {host: billing}, weight: 0}]},
				{match: [{headers: {x-tester: {exact: "yes"}}}], route: [{destination: {host: podinfo-canary}, weight: 0}]},
				{timeout: 3s, <90:10>}]}`,
		},
		"a route shared with another service": {
			users: `{hosts: [podinfo], http: [{route: [{destination: {host: podinfo}, weight: 75}, {destination: {host: old}, weight: 25}]}]}`,
			want: `{hosts: [podinfo], gateways: [mesh], http: [{route: [{destination: {host: podinfo-primary}, weight: 6750},
				{destination: {host: podinfo-canary}, weight: 750}, {destination: {host: old}, weight: 2500}]}]}`,
		},
		"several ports": {
			ports: ports(web, admin),
			users: `{hosts: [podinfo], gateways: [public, mesh], http: [
				{match: [{uri: {prefix: /admin}}], route: [{destination: {host: podinfo, port: {number: 9090}}}]},
				{route: [{destination: {host: podinfo, port: {number: 9898}}}]}]}`,
			want: `{hosts: [podinfo], gateways: [public, mesh], http: [
				{match: [{uri: {prefix: /admin}}], route: [{destination: {host: podinfo-primary, port: {number: 9090}}, weight: 90}, {destination: {host: podinfo-canary, port: {number: 9090}}, weight: 10}]},
				{route: [{destination: {host: podinfo-primary, port: {number: 9898}}, weight: 90}, {destination: {host: podinfo-canary, port: {number: 9898}}, weight: 10}]}]}`,
		},
		"connections only": {
			users: `{hosts: [podinfo], tcp: [{match: [{port: 9000}], route: [{destination: {host: podinfo}}]}, {route: [{destination: {host: db}}]}]}`,
			want: `{hosts: [podinfo], gateways: [mesh], tcp: [{match: [{port: 9000}], <90:10>}, {route: [{destination: {host: db}, weight: 0}]}],
				http: [{<90:10>}]}`,
		},
		"SNI only": {
			users: `{hosts: [app.example.com], gateways: [infra/passthrough], tls: [{match: [{port: 443, sniHosts: [app.example.com]}],
				route: [{destination: {host: podinfo, subset: v1}, weight: 50}, {destination: {host: podinfo, subset: v2}, weight: 50}]}]}`,
			want: `{hosts: [app.example.com], gateways: [infra/passthrough], tls: [{match: [{port: 443, sniHosts: [app.example.com]}], <90:10>}]}`,
			mesh: `{hosts: [podinfo], gateways: [mesh], http: [{<90:10>}]}`,
		},
		"SNI of an application that encrypts itself": {
			change: func(c *v1beta1.Canary) { c.Spec.Service.AppProtocol = "https" },
			users:  `{hosts: [podinfo], tls: [{match: [{sniHosts: [podinfo]}], route: [{destination: {host: podinfo}, weight: 80}, {destination: {host: old}, weight: 20}]}]}`,
			want: `{hosts: [podinfo], gateways: [mesh], tls: [{match: [{sniHosts: [podinfo]}], route: [{destination: {host: podinfo-primary}, weight: 7200},
				{destination: {host: podinfo-canary}, weight: 800}, {destination: {host: old}, weight: 2000}]}]}`,
		},
		"connections match nothing": {
			traffic: providers.Traffic{Canary: 100, Matched: true},
			change: func(c *v1beta1.Canary) {
				c.Spec.Analysis = &v1beta1.CanaryAnalysis{Iterations: 2, Match: []v1beta1.RawObject{*istiotest.Raw(`{"headers":{"x-a":{"exact":"1"}}}`)}}
			},
			users: `{hosts: [podinfo], tcp: [{route: [{destination: {host: podinfo}}]}]}`,
			want:  `{hosts: [podinfo], gateways: [mesh], tcp: [{<100:0>}], http: [{match: [{headers: {x-a: {exact: "1"}}}], <0:100>}, {<P>}]}`,
		},
		"the apex Service by its namespace": {
			users: `{hosts: [podinfo.test], http: [{route: [{destination: {host: podinfo.test.svc.cluster.local}}]}]}`,
			want:  `{hosts: [podinfo.test, podinfo], gateways: [mesh], http: [{<90:10>}]}`,
		},
		"the apex Service by a wildcard": {
			users: `{hosts: ["*.test.svc.cluster.local"], http: [{route: [{destination: {host: podinfo}}]}]}`,
			want:  `{hosts: ["*.test.svc.cluster.local"], gateways: [mesh], http: [{<90:10>}]}`,
		},
		"another host, inside the mesh too": {
			users: `{hosts: [app.example.com], gateways: [infra/public, mesh], http: [
				{match: [{uri: {prefix: /api}}], route: [{destination: {host: api}}]}, {timeout: 3s, route: [{destination: {host: podinfo}}]}]}`,
			want: `{hosts: [app.example.com], gateways: [infra/public, mesh], http: [
				{match: [{uri: {prefix: /api}}], route: [{destination: {host: api}, weight: 0}]}, {timeout: 3s, <90:10>}]}`,
			mesh: `{hosts: [podinfo], gateways: [mesh], http: [{<90:10>}]}`,
		},
		"gateways alone": {
			users: `{hosts: [podinfo, app.example.com], gateways: [infra/public], http: [{timeout: 3s, route: [{destination: {host: podinfo}}]}]}`,
			want:  `{hosts: [podinfo, app.example.com], gateways: [infra/public], http: [{timeout: 3s, <90:10>}]}`,
			mesh:  `{hosts: [podinfo], gateways: [mesh], http: [{<90:10>}]}`,
		},
		"gateways alone, as the Canary says": {
			change: func(c *v1beta1.Canary) { c.Spec.Service.Gateways = []string{"infra/private"} },
			users:  `{hosts: [app.example.com], gateways: [infra/public], http: [{route: [{destination: {host: podinfo}}]}]}`,
			want:   `{hosts: [app.example.com], gateways: [infra/private], http: [{<90:10>}]}`,
		},
		"routes for gateways alone": {
			users: `{hosts: [podinfo], gateways: [mesh, infra/public], http: [{match: [{gateways: [infra/public]}], route: [{destination: {host: podinfo}}]}]}`,
			want:  `{hosts: [podinfo], gateways: [mesh, infra/public], http: [{match: [{gateways: [infra/public]}], <90:10>}]}`,
			mesh:  `{hosts: [podinfo], gateways: [mesh], http: [{<90:10>}]}`,
		},
		"routes for one port alone": {
			ports: ports(web, admin),
			users: `{hosts: [podinfo], http: [{match: [{port: 9090, uri: {prefix: /admin}}], route: [{destination: {host: podinfo}}]}]}`,
			want:  `{hosts: [podinfo], gateways: [mesh], http: [{match: [{port: 9090, uri: {prefix: /admin}}], <90:10>}]}`,
			mesh:  `{hosts: [podinfo], gateways: [mesh], http: [{<90:10>}]}`,
		},
		"another host, and hosts of the Canary": {
			change: func(c *v1beta1.Canary) { c.Spec.Service.Hosts = []string{"new.example.com"} },
			users:  `{hosts: [app.example.com], http: [{route: [{destination: {host: podinfo}}]}]}`,
			want:   `{hosts: [new.example.com, podinfo], gateways: [mesh], http: [{<90:10>}]}`,
		},
		"a mirror of some requests": {
			traffic: providers.Traffic{Primary: 100, Mirror: 30},
			users:   `{hosts: [podinfo], http: [{mirror: {host: shadow}, mirrorPercent: 5, route: [{destination: {host: podinfo}}]}]}`,
			want:    `{hosts: [podinfo], gateways: [mesh], http: [{mirrors: [{destination: {host: shadow}, percentage: {value: 5}}, {destination: {host: podinfo-canary}, percentage: {value: 30}}], <100:0>}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, istiotest.VirtualService(t, "podinfo", tc.users))
			before := w.spec(t, "VirtualService", "podinfo")
			c := istiotest.Canary()
			if tc.change != nil {
				tc.change(c)
			}
			r := providers.Route{Canary: c, Ports: tc.ports, Traffic: tc.traffic}
			if r.Traffic == (providers.Traffic{}) {
				r.Traffic = half
			}
			if state, err := w.router.Observe(t.Context(), r); err != nil || state.Exists {
				t.Errorf("observed %+v, %v before it was taken over", state, err)
			}
			w.apply(t, r)
			if d := cmp.Diff(istiotest.DecodeYAML(t, istiotest.Expand(tc.want)), istiotest.Spec(t, w.sent["VirtualService podinfo"])); d != "" {
				t.Errorf("(-want +sent)\n%s", d)
			}
			mesh, sent := istiotest.Spec(t, w.sent["VirtualService podinfo-mesh"]), w.sent["VirtualService podinfo-mesh"] != ""
			if want := istiotest.DecodeYAML(t, istiotest.Expand(tc.mesh)); sent != (tc.mesh != "") || sent && cmp.Diff(want, mesh) != "" {
				t.Errorf("for the mesh %v was sent", mesh)
			}
			w.giveBack(t, c, before)
		})
	}
}

// TestNoServiceOfOursForTheMesh takes away the VirtualService for the mesh when the Canary's traffic
// comes through gateways alone.
func TestNoServiceOfOursForTheMesh(t *testing.T) {
	w := newWorld(t, istiotest.VirtualService(t, "podinfo", `{hosts: [app.example.com], gateways: [infra/public], http: [{route: [{destination: {host: podinfo}}]}]}`))
	before := w.spec(t, "VirtualService", "podinfo")
	w.apply(t, istiotest.Route(istiotest.Canary(), 10))
	if w.spec(t, "VirtualService", "podinfo-mesh") == nil {
		t.Fatal("no VirtualService for the mesh")
	}
	gateways := istiotest.Canary(func(s *v1beta1.CanaryService) { s.Gateways = []string{"infra/public"} })
	gateways.Generation = 2
	if state, err := w.router.Observe(t.Context(), istiotest.Route(gateways, 10)); err != nil || state.InSync {
		t.Errorf("observed %+v, %v with a VirtualService that is not wanted", state, err)
	}
	w.apply(t, istiotest.Route(gateways, 10))
	if left := w.spec(t, "VirtualService", "podinfo-mesh"); left != nil {
		t.Errorf("left is %v", left)
	}
	w.giveBack(t, gateways, before)
}

// apply applies a route, which is then in sync and read back, also by a router without a memory.
func (w *world) apply(t *testing.T, r providers.Route) {
	t.Helper()
	if err := w.router.Apply(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for _, router := range []*Router{w.router, New(Config{Client: w.Client, Live: w.live, Applier: w.router.applier})} {
		if state, err := router.Observe(t.Context(), r); err != nil || !state.InSync {
			t.Fatalf("observed %+v, %v", state, err)
		}
	}
}

// giveBack releases, after which the user's VirtualService is as it was and nothing of ours is left.
func (w *world) giveBack(t *testing.T, c *v1beta1.Canary, before map[string]any) {
	t.Helper()
	c = c.DeepCopy()
	c.DeletionTimestamp = new(metav1.Now())
	for range 2 {
		if err := w.router.Release(t.Context(), istiotest.Route(c, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(encoded(t, before), encoded(t, w.spec(t, "VirtualService", "podinfo"))); d != "" {
		t.Errorf("given back (-was +is)\n%s", d)
	}
	if left := w.spec(t, "VirtualService", "podinfo-mesh"); left != nil {
		t.Errorf("the VirtualService for the mesh is left: %v", left)
	}
	if state, err := w.router.Observe(t.Context(), istiotest.Route(c, 0)); err != nil || state.Exists {
		t.Errorf("observed %+v, %v after release, for which a deletion waits", state, err)
	}
}

func encoded(t tester, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestOverwrittenVirtualService takes over a VirtualService that Flagger has replaced: nothing
// changes, and what it was before Flagger comes back on deletion.
func TestOverwrittenVirtualService(t *testing.T) {
	const original = `{"hosts":["podinfo","shop.example.com"],"exportTo":["."],"http":[{"match":[{"uri":{"prefix":"/billing"}}],"route":[{"destination":{"host":"billing"}}]},
		{"timeout":"3s","fault":{"abort":{"httpStatus":500,"percentage":{"value":1}}},"route":[{"destination":{"host":"podinfo"}}]}]}`
	for name, overwritten := range map[string]string{
		"at rest":      `{hosts: [podinfo], gateways: [mesh], http: [{<100:0>}]}`,
		"in a release": `{hosts: [podinfo], gateways: [mesh], http: [{<50:50>}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			vs := istiotest.VirtualService(t, "podinfo", istiotest.Expand(overwritten))
			vs.Annotations = map[string]string{"flagger.kubernetes.io/original-configuration": original}
			w := newWorld(t, vs)
			r := istiotest.Route(istiotest.Canary(), vs.Spec.Http[0].Route[1].Weight)
			state, err := w.router.Observe(t.Context(), r)
			if err != nil || !state.Exists || state.Traffic != r.Traffic {
				t.Errorf("observed %+v, %v", state, err)
			}
			w.apply(t, r)
			if d := cmp.Diff(istiotest.DecodeYAML(t, istiotest.Expand(overwritten)), istiotest.Spec(t, w.sent["VirtualService podinfo"])); d != "" {
				t.Errorf("the takeover changes it (-was +sent)\n%s", d)
			}
			w.apply(t, istiotest.Route(istiotest.Canary(), 0))
			w.giveBack(t, istiotest.Canary(), istiotest.DecodeYAML(t, original))
		})
	}
}

// TestGatewaysAndPorts tells gateways, which can't know it, the port of several, and leaves
// requests inside the mesh the port that they are for.
func TestGatewaysAndPorts(t *testing.T) {
	to := func(port, suffix string) string {
		return `route: [{destination: {host: podinfo-primary` + port + `}, weight: 90}, {destination: {host: podinfo-canary` + port + `}, weight: 10}]` + suffix
	}
	const named = `, port: {number: 9898}`
	both := `[{match: [{gateways: [infra/public]}], ` + to(named, `}, {match: [{gateways: [mesh]}], `) + to("", `}]`)
	discovery := func(s *v1beta1.CanaryService) { s.PortDiscovery = true }
	tcp := func(s *v1beta1.CanaryService) { s.AppProtocol = "tcp" }
	gateways := func(names ...string) func(*v1beta1.CanaryService) {
		return func(s *v1beta1.CanaryService) { s.Gateways = names }
	}
	for name, tc := range map[string]struct {
		service  []func(*v1beta1.CanaryService)
		users    string // VirtualService, where there is one
		ports    []corev1.ServicePort
		protocol string
		want     string
	}{
		"one port":                    {service: []func(*v1beta1.CanaryService){gateways("infra/public", "mesh")}, ports: ports(web), want: `[{` + to("", "}]")},
		"discovered, gateway first":   {service: []func(*v1beta1.CanaryService){gateways("infra/public", "mesh"), discovery}, want: both},
		"discovered, mesh first":      {service: []func(*v1beta1.CanaryService){gateways("mesh", "infra/public"), discovery}, want: both},
		"adopted ports":               {service: []func(*v1beta1.CanaryService){gateways("mesh", "infra/public")}, ports: ports(web, admin), want: both},
		"adopted ports, gateway":      {service: []func(*v1beta1.CanaryService){gateways("infra/public")}, ports: ports(web, admin), want: `[{` + to(named, "}]")},
		"adopted ports, mesh":         {ports: ports(web, admin), want: `[{` + to("", "}]")},
		"adopted ports, delegated to": {service: []func(*v1beta1.CanaryService){func(s *v1beta1.CanaryService) { s.Delegation = true }}, ports: ports(web, admin), want: `[{` + to(named, "}]")},
		"a user's own, discovered": {
			service: []func(*v1beta1.CanaryService){discovery}, ports: ports(web, admin), want: both,
			users: `{hosts: [podinfo], gateways: [infra/public, mesh], http: [{route: [{destination: {host: podinfo}}]}]}`,
		},
		"a user's own": {
			ports: ports(web, admin), want: `[{` + to("", "}]"),
			users: `{hosts: [podinfo], gateways: [infra/public, mesh], http: [{route: [{destination: {host: podinfo}}]}]}`,
		},
		"with matches": {
			service: []func(*v1beta1.CanaryService){gateways("mesh", "infra/public"), discovery, func(s *v1beta1.CanaryService) {
				s.Match = []v1beta1.RawObject{
					*istiotest.Raw(`{"uri":{"prefix":"/a"}}`), *istiotest.Raw(`{"sourceLabels":{"app":"b"}}`), *istiotest.Raw(`{"uri":{"prefix":"/c"},"gateways":["infra/public"]}`), *istiotest.Raw(`{"uri":{"prefix":"/d"},"gateways":["mesh"]}`),
				}
			}},
			want: `[{match: [{uri: {prefix: /a}, gateways: [infra/public]}, {uri: {prefix: /c}, gateways: [infra/public]}], ` + to(named, `},
				{match: [{uri: {prefix: /a}, gateways: [mesh]}, {sourceLabels: {app: b}}, {uri: {prefix: /d}, gateways: [mesh]}], `) + to("", `}]`),
		},
		"connections, both":    {service: []func(*v1beta1.CanaryService){gateways("infra/public", "mesh"), tcp}, ports: ports(corev1.ServicePort{Name: "tcp", Port: 9898}, admin), protocol: "tcp", want: both},
		"connections, gateway": {service: []func(*v1beta1.CanaryService){gateways("infra/public"), tcp}, ports: ports(corev1.ServicePort{Name: "tcp", Port: 9898}, admin), protocol: "tcp", want: `[{` + to(named, "}]")},
	} {
		t.Run(name, func(t *testing.T) {
			var users []client.Object
			if tc.users != "" {
				users = append(users, istiotest.VirtualService(t, "podinfo", tc.users))
			}
			w := newWorld(t, users...)
			r := istiotest.Route(istiotest.Canary(tc.service...), 10)
			r.Ports = tc.ports
			w.apply(t, r)
			if tc.protocol == "" {
				tc.protocol = "http"
			}
			if d := cmp.Diff(istiotest.List(t, tc.want), istiotest.Normal(t, istiotest.Spec(t, w.sent["VirtualService podinfo"])[tc.protocol])); d != "" {
				t.Errorf("(-want +sent)\n%s", d)
			}
		})
	}
}

// TestProtocols has connections of each protocol that Istio takes for one shared out as such.
func TestProtocols(t *testing.T) {
	for _, tc := range []struct {
		says, want string
		by         []string
	}{
		{"tcp", "tcp", []string{"mongo", "redis", "mysql", "TCP"}},
		{"http", "http", []string{"http", "http2", "grpc", "grpc-web", "kubernetes.io/h2c", "kubernetes.io/ws", "example.com/own", ""}},
		{"tls", "", []string{"https", "tls", "kubernetes.io/wss"}},
	} {
		for _, protocol := range tc.by {
			for how, r := range map[string]providers.Route{
				"spec.service.appProtocol": istiotest.Route(istiotest.Canary(func(s *v1beta1.CanaryService) { s.AppProtocol = protocol }), 10),
				"the adopted port":         {Canary: istiotest.Canary(), Traffic: istiotest.Route(istiotest.Canary(), 10).Traffic, Ports: ports(corev1.ServicePort{Name: "web", Port: 9898, AppProtocol: &protocol})},
				"the name of a port":       {Canary: istiotest.Canary(), Traffic: istiotest.Route(istiotest.Canary(), 10).Traffic, Ports: ports(corev1.ServicePort{Name: strings.ReplaceAll(protocol, "/", "-") + "-a", Port: 9898})},
			} {
				if strings.Contains(protocol, "/") && strings.Contains(how, "name") {
					continue
				}
				w := newWorld(t)
				err := w.router.Apply(t.Context(), r)
				if tc.want == "" {
					if !providers.IsUnsupported(err) || !strings.Contains(err.Error(), "appProtocol") || w.writes > 0 {
						t.Errorf("%s %q: %v, %d writes", how, protocol, err, w.writes)
					}
					continue
				}
				spec := istiotest.Spec(t, w.sent["VirtualService podinfo"])
				for _, other := range []string{"http", "tcp", "tls"} {
					if err != nil || (spec[other] != nil) != (other == tc.want) {
						t.Errorf("%s %q: %v: %s routes %v", how, protocol, err, other, spec[other])
					}
				}
			}
		}
	}
}

func TestRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*v1beta1.Canary)
		users  string
		is     func(error) bool
		says   string
	}{
		"headless": {
			change: func(c *v1beta1.Canary) { c.Spec.Service.Headless = true },
			is:     providers.IsUnsupported, says: "spec.service.headless",
		},
		"connections and a match": {
			change: func(c *v1beta1.Canary) {
				c.Spec.Service.AppProtocol = "tcp"
				c.Spec.Analysis.Match = []v1beta1.RawObject{*istiotest.Raw(`{"headers":{"x-a":{"exact":"1"}}}`)}
			},
			is: providers.IsInvalid, says: "spec.service.appProtocol",
		},
		"connections delegated to": {
			change: func(c *v1beta1.Canary) { c.Spec.Service.AppProtocol, c.Spec.Service.Delegation = "tcp", true },
			is:     providers.IsInvalid, says: "spec.service.delegation",
		},
		"SNI and session affinity": {
			change: func(c *v1beta1.Canary) {
				c.Spec.Service.Gateways = []string{"b"}
				c.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "v"}
			},
			users: `{hosts: [a.example.com], gateways: [b], tls: [{match: [{sniHosts: [a.example.com]}], route: [{destination: {host: podinfo}}]}]}`,
			is:    providers.IsInvalid, says: "sessionAffinity",
		},
		"a mirror to a subset": {
			users: `{hosts: [podinfo], http: [{mirror: {host: podinfo, subset: v2}, route: [{destination: {host: podinfo, subset: v1}}]}]}`,
			is:    providers.IsInvalid, says: "http[0].mirror.subset",
		},
		"a mirror to a subset among others": {
			users: `{hosts: [podinfo], http: [{mirrors: [{destination: {host: shadow}}, {destination: {host: podinfo.test.svc.cluster.local, subset: v2}}], route: [{destination: {host: podinfo}}]}]}`,
			is:    providers.IsInvalid, says: "http[0].mirror.subset",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var objects []client.Object
			if tc.users != "" {
				objects = append(objects, istiotest.VirtualService(t, "podinfo", tc.users))
			}
			w, c := newWorld(t, objects...), istiotest.Canary()
			if tc.change != nil {
				tc.change(c)
			}
			if _, err := w.router.Observe(t.Context(), istiotest.Route(c, 0)); !tc.is(err) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("observe: %v", err)
			}
			if err := w.router.Apply(t.Context(), istiotest.Route(c, 0)); !tc.is(err) || w.writes > 0 {
				t.Errorf("apply: %v, %d writes", err, w.writes)
			}
			c.Spec.SkipAnalysis = true
			if err := w.router.Apply(t.Context(), istiotest.Route(c, 0)); (tc.users == "" && name != "connections delegated to") != (err == nil) && name != "SNI and session affinity" {
				t.Errorf("without an analysis: %v", err)
			}
		})
	}
}
