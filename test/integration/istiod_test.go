package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/ssa"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// meshed is an application with Services in the mesh, and what a user has beside it.
type meshed struct {
	service v1beta1.CanaryService
	ports   []corev1.ServicePort
	users   string // spec of the VirtualService that was there before
	traffic providers.Traffic
}

var (
	portWeb   = corev1.ServicePort{Name: "http", Port: 80}
	portAdmin = corev1.ServicePort{Name: "http-admin", Port: 9090}
)

// meshed has the application of tc in a namespace of its own.
func (e *environment) meshed(t *testing.T, tc meshed) *v1beta1.Canary {
	t.Helper()
	c := e.canary(t, tc.service)
	for _, name := range []string{app, app + "-primary", app + "-canary"} {
		s := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: name},
			Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": name}, Ports: tc.ports},
		}
		if tc.service.Headless {
			s.Spec.ClusterIP = corev1.ClusterIPNone
		}
		e.create(t, s)
	}
	e.createSpec(t, &istionetworking.VirtualService{}, c.Namespace, strings.ReplaceAll(tc.users, "NS", c.Namespace))
	return c
}

func (tc meshed) route(c *v1beta1.Canary) providers.Route {
	return providers.Route{Canary: c, Traffic: tc.traffic, Ports: tc.ports}
}

// testIstiodUsers reads from istiod what becomes of requests and connections of a user's
// application, with objects of his own beside ours.
func testIstiodUsers(t *testing.T, e *environment) {
	shared, canaries := providers.Traffic{Primary: 90, Canary: 10}, providers.Traffic{Canary: 100}
	for name, tc := range map[string]struct {
		meshed

		port string
		want map[string][]string // routes by domain
	}{
		"several ports": {
			meshed: meshed{
				ports: []corev1.ServicePort{portWeb, portAdmin}, traffic: shared,
				users: `{"hosts":["podinfo"],"http":[
					{"match":[{"uri":{"prefix":"/admin"}}],"route":[{"destination":{"host":"podinfo","port":{"number":9090}}}]},
					{"match":[{"headers":{"x-tester":{"exact":"yes"}}}],"route":[{"destination":{"host":"podinfo-canary"}}]},
					{"route":[{"destination":{"host":"podinfo"}}]}]}`,
			},
			port: "80", want: map[string][]string{"podinfo": {"/admin -> primary:9090 90, canary:9090 10", "/ x-tester=yes -> canary:80", "/ -> primary:80 90, canary:80 10"}},
		},
		"another port": {
			meshed: meshed{ports: []corev1.ServicePort{portWeb, portAdmin}, traffic: shared},
			port:   "9090", want: map[string][]string{"podinfo": {"/ -> primary:9090 90, canary:9090 10"}},
		},
		"ports of the mesh beside a gateway": {
			meshed: meshed{ports: []corev1.ServicePort{portWeb, portAdmin}, traffic: shared, service: v1beta1.CanaryService{Gateways: []string{"infra/public", "mesh"}}},
			port:   "9090", want: map[string][]string{"podinfo": {"/ -> primary:9090 90, canary:9090 10"}},
		},
		"a host with the namespace": {
			meshed: meshed{ports: []corev1.ServicePort{portWeb}, traffic: canaries, users: `{"hosts":["podinfo.NS"],"http":[{"route":[{"destination":{"host":"podinfo"}}]}]}`},
			port:   "80", want: map[string][]string{"podinfo": {"/ -> canary:80"}, "podinfo.NS": {"/ -> canary:80"}, "podinfo.NS.svc": {"/ -> canary:80"}, "podinfo.NS.svc.cluster.local": {"/ -> canary:80"}},
		},
		"another host inside the mesh": {
			meshed: meshed{
				ports: []corev1.ServicePort{portWeb}, traffic: shared,
				users: `{"hosts":["app.example.com"],"gateways":["infra/public","mesh"],"http":[
					{"match":[{"uri":{"prefix":"/api"}}],"route":[{"destination":{"host":"podinfo-primary"}}]},{"route":[{"destination":{"host":"podinfo"}}]}]}`,
			},
			port: "80", want: map[string][]string{
				"app.example.com": {"/api -> primary:80", "/ -> primary:80 90, canary:80 10"},
				"podinfo":         {"/ -> primary:80 90, canary:80 10"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := e.meshed(t, tc.meshed)
			settle(t, e.istio(e.cached), tc.route(c))
			for domain, want := range tc.want {
				e.awaitRoutes(t, proxyOf(c.Namespace, "-port", tc.port), strings.ReplaceAll(domain, "NS", c.Namespace), want)
			}
		})
	}
	t.Run("Services of ours", func(t *testing.T) { testIstiodServices(t, e) })
	t.Run("a gateway", func(t *testing.T) { testIstiodGateway(t, e) })
	t.Run("connections", func(t *testing.T) { testIstiodConnections(t, e) })
	t.Run("an older VirtualService", func(t *testing.T) { testIstiodRival(t, e) })
	t.Run("a rule for a wildcard", func(t *testing.T) { testIstiodWildcard(t, e) })
	t.Run("headless", func(t *testing.T) { testIstiodHeadless(t, e) })
}

// testIstiodServices has the Services that are made beside a user's with several ports be, on each of
// them, what the user's is to a sidecar: the same protocol, and the pods at the same port.
func testIstiodServices(t *testing.T, e *environment) {
	const grpc = 9999
	c := e.canary(t, v1beta1.CanaryService{})
	deployment := func(name string) *appsv1.Deployment {
		labels := map[string]string{"app": name}
		return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: name}, Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
				Name: "main", Image: "app", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}, {Name: "admin", ContainerPort: 9797}, {Name: "grpc", ContainerPort: 7070}},
			}}}},
		}}
	}
	target := deployment(app)
	e.create(t, target)
	e.create(t, deployment(app+"-primary"))
	users := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: app}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": app}, Ports: []corev1.ServicePort{
			{Name: "http", Port: 80, TargetPort: intstr.FromString("web")},
			{Name: "http-admin", Port: 9090, TargetPort: intstr.FromInt32(9797)},
			{Name: "grpc", Port: grpc, TargetPort: intstr.FromString("grpc")},
		},
	}}
	e.create(t, users)
	services, err := workload.BuildServices(c, target, nil, workload.Options{SelectorLabels: []string{"app"}})
	if err != nil {
		t.Fatal(err)
	}
	services.KeepPorts(c, []*corev1.Service{nil, nil, users})
	if err := services.Adopt(c, services.Apex, users); err != nil {
		t.Fatal(err)
	}
	applier := ssa.New(e.live)
	for _, s := range services.All() {
		if err := applier.Apply(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, e.istio(e.cached), providers.Route{Canary: c, Traffic: providers.Traffic{Primary: 90, Canary: 10}, Ports: services.Primary.Spec.Ports})
	for port, pods := range map[int]int{80: 8080, 9090: 9797, grpc: 7070} {
		t.Run(fmt.Sprint(port), func(t *testing.T) {
			e.awaitRoutes(t, proxyOf(c.Namespace, "-port", fmt.Sprint(port)), "podinfo", []string{fmt.Sprintf("/ -> primary:%d 90, canary:%d 10", port, port)})
			await(t, "clusters and endpoints", func(ctx context.Context) error {
				clusters, err := clustersOf(ctx, c.Namespace)
				if err != nil {
					return err
				}
				for _, side := range []string{"podinfo", "primary", "canary"} {
					has := clusters[fmt.Sprintf("%s:%d", side, port)]
					if has.Type != "EDS" || has.HTTP2 != (port == grpc) {
						return fmt.Errorf("%s has %+v", side, has)
					}
					ours := app
					if side != "canary" { // where the apex leads to, too
						ours += "-primary"
					}
					if err := e.endpoints(ctx, c.Namespace, has.Name, ours, pods); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
}

// endpoints says what is wrong with those of a cluster, which are to be the pods with a label at a port.
func (e *environment) endpoints(ctx context.Context, namespace, cluster, label string, port int) error {
	pods := &corev1.PodList{}
	if err := e.live.List(ctx, pods, client.InNamespace(namespace), client.MatchingLabels{"app": label}); err != nil {
		return err
	}
	var want []string
	for _, pod := range pods.Items {
		want = append(want, fmt.Sprintf("%s:%d", pod.Status.PodIP, port))
	}
	got := map[string][]string{}
	if err := asked(ctx, &got, append([]string{"endpoints", "-clusters", cluster}, proxyOf(namespace)...)...); err != nil {
		return err
	}
	if len(want) == 0 || !slices.Equal(want, got[cluster]) {
		return fmt.Errorf("%s leads to %v, not %v", cluster, got, want)
	}
	return nil
}

// testIstiodGateway has a gateway know the port of several.
func testIstiodGateway(t *testing.T, e *environment) {
	gateway := e.gateway(t)
	tc := meshed{
		ports: []corev1.ServicePort{portAdmin, portWeb}, traffic: providers.Traffic{Primary: 90, Canary: 10},
		service: v1beta1.CanaryService{Gateways: []string{gateway, "mesh"}, Hosts: []string{"ports.example.com"}},
	}
	c := e.meshed(t, tc)
	c.Spec.Service.Port = 9090 // which the gateway does not listen on
	settle(t, e.istio(e.cached), tc.route(c))
	namespace, _, _ := strings.Cut(gateway, "/")
	e.awaitRoutes(t, proxyOf(namespace, "-gateway", "istio=ingress", "-port", "http.80"), "ports.example.com", []string{"/ -> primary:9090 90, canary:9090 10"})
	e.awaitRoutes(t, proxyOf(c.Namespace, "-port", "80"), "podinfo", []string{"/ -> primary:80 90, canary:80 10"})
}

// testIstiodConnections has connections shared out by weight, also those that a user routes
// by SNI.
func testIstiodConnections(t *testing.T, e *environment) {
	shared := providers.Traffic{Primary: 90, Canary: 10}
	for i, tc := range []struct {
		meshed

		want string
	}{
		{want: "primary 90, canary 10", meshed: meshed{
			ports: []corev1.ServicePort{portWeb, {Name: "tcp-own", Port: 9001}}, traffic: shared,
			users: `{"hosts":["podinfo"],"tcp":[{"match":[{"port":9001}],"route":[{"destination":{"host":"podinfo"}}]}]}`,
		}},
		{want: "podinfo: primary 90, canary 10", meshed: meshed{
			ports: []corev1.ServicePort{portWeb, {Name: "tls", Port: 9002}}, traffic: shared,
			users: `{"hosts":["podinfo"],"tls":[{"match":[{"port":9002,"sniHosts":["podinfo"]}],"route":[{"destination":{"host":"podinfo"}}]}]}`,
		}},
	} {
		t.Run(tc.ports[1].Name, func(t *testing.T) {
			c := e.meshed(t, tc.meshed)
			settle(t, e.istio(e.cached), tc.route(c))
			await(t, "istiod's listeners", func(ctx context.Context) error {
				got, err := connections(ctx, c.Namespace, 9001+i)
				if err == nil && !slices.Contains(got, tc.want) {
					err = fmt.Errorf("they are %q", got)
				}
				return err
			})
		})
	}
	for port, protocol := range map[int]string{9003: "mongo", 9004: "redis", 9005: "mysql"} {
		t.Run(protocol, func(t *testing.T) {
			tc := meshed{ports: []corev1.ServicePort{{Name: "db", Port: int32(port), AppProtocol: &protocol}}, traffic: shared, service: v1beta1.CanaryService{AppProtocol: protocol}}
			c := e.meshed(t, tc)
			c.Spec.Service.Port = int32(port)
			settle(t, e.istio(e.cached), tc.route(c))
			await(t, "istiod's listeners", func(ctx context.Context) error {
				got, err := connections(ctx, c.Namespace, port)
				if err == nil && !slices.Contains(got, "primary 90, canary 10") {
					err = fmt.Errorf("they are %q", got)
				}
				return err
			})
		})
	}
}

// testIstiodRival does not count a step while an older VirtualService has the host.
func testIstiodRival(t *testing.T, e *environment) {
	tc := meshed{ports: []corev1.ServicePort{portWeb}, traffic: providers.Traffic{Canary: 100}}
	c := e.meshed(t, tc)
	users := &istionetworking.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: "app-routes"}}
	if err := json.Unmarshal([]byte(`{"hosts":["podinfo"],"http":[{"route":[{"destination":{"host":"podinfo"}}]}]}`), &users.Spec); err != nil {
		t.Fatal(err)
	}
	e.create(t, users) // in the same second as ours: the name decides
	e.cachedAs(t, users)
	router, r := e.istio(e.cached), tc.route(c)
	if err := router.Apply(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	await(t, "the word", func(ctx context.Context) error {
		state, err := router.Observe(ctx, r)
		if err == nil && (state.InSync || !strings.Contains(state.Detail, c.Namespace+"/app-routes")) {
			err = fmt.Errorf("observed %+v", state)
		}
		return err
	})
	sidecar := proxyOf(c.Namespace, "-port", "80")
	e.awaitRoutes(t, sidecar, "podinfo", []string{"/ -> podinfo:80"}) // Istio does go by the user's
	if err := e.live.Delete(t.Context(), users); err != nil {
		t.Fatal(err)
	}
	settle(t, router, r)
	e.awaitRoutes(t, sidecar, "podinfo", []string{"/ -> canary:80"})
}

// testIstiodWildcard has limits for all Services of a namespace hold for the primary and the canary.
func testIstiodWildcard(t *testing.T, e *environment) {
	tc := meshed{ports: []corev1.ServicePort{portWeb}, traffic: providers.Traffic{Primary: 90, Canary: 10}}
	c := e.meshed(t, tc)
	e.createSpec(t, &istionetworking.DestinationRule{}, c.Namespace,
		`{"host":"*.`+c.Namespace+`.svc.cluster.local","trafficPolicy":{"connectionPool":{"tcp":{"maxConnections":77}}}}`)
	limited := func(what string) {
		t.Helper()
		await(t, "limits "+what, func(ctx context.Context) error {
			clusters, err := clustersOf(ctx, c.Namespace)
			if err != nil {
				return err
			}
			for _, name := range []string{"podinfo", "primary", "canary"} {
				if got := clusters[name+":80"]; got.MaxConnections != 77 {
					return fmt.Errorf("%s has %+v", name, got)
				}
			}
			return nil
		})
	}
	limited("before the Canary")
	settle(t, e.istio(e.cached), tc.route(c))
	e.awaitRoutes(t, proxyOf(c.Namespace, "-port", "80"), "podinfo", []string{"/ -> primary:80 90, canary:80 10"})
	limited("beside the Canary")
	c.Spec.Service.TrafficPolicy, c.Generation = ptr.To(raw(`{"loadBalancer":{"simple":"RANDOM"}}`)), c.Generation+1
	settle(t, e.istio(e.cached), tc.route(c))
	limited("beside a policy of the Canary's")
}

// testIstiodHeadless shows why a route to Services without an address is refused.
func testIstiodHeadless(t *testing.T, e *environment) {
	tc := meshed{ports: []corev1.ServicePort{portWeb}, service: v1beta1.CanaryService{Headless: true}, traffic: providers.Traffic{Canary: 100}}
	c := e.meshed(t, tc)
	if err := e.istio(e.cached).Apply(t.Context(), tc.route(c)); !providers.IsUnsupported(err) {
		t.Errorf("applied: %v", err)
	}
	await(t, "clusters", func(ctx context.Context) error {
		clusters, err := clustersOf(ctx, c.Namespace)
		if got := clusters["canary:80"]; err == nil && got.Type != "ORIGINAL_DST" {
			err = fmt.Errorf("it is %+v", got)
		}
		return err
	})
}

// proxyOf are the arguments by which a proxy of a namespace asks istiod.
func proxyOf(namespace string, more ...string) []string {
	return append([]string{"-namespace", namespace}, more...)
}

func asked(ctx context.Context, into any, arguments ...string) error {
	binary, err := cluster.Binary("meshclient")
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, binary, arguments...).Output()
	if err != nil {
		return fmt.Errorf("meshclient %v: %w", arguments, err)
	}
	return json.Unmarshal(out, into)
}

// awaitRoutes waits until istiod tells a proxy these routes for a domain.
func (e *environment) awaitRoutes(t *testing.T, proxy []string, domain string, want []string) {
	t.Helper()
	await(t, "istiod's routes for "+domain, func(ctx context.Context) error {
		var config struct {
			VirtualHosts []struct {
				Domains []string
				Routes  []envoyRoute
			}
		}
		if err := asked(ctx, &config, append([]string{"routes"}, proxy...)...); err != nil {
			return err
		}
		var got []string
		for _, host := range config.VirtualHosts {
			if slices.Contains(host.Domains, domain) {
				for _, r := range host.Routes {
					got = append(got, r.ports())
				}
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			return fmt.Errorf("(-want +got)\n%s", d)
		}
		return nil
	})
}

// ports is path, headers and destinations with their ports and weights.
func (r envoyRoute) ports() string {
	words := []string{r.Match.Prefix + r.Match.PathSeparatedPrefix}
	for _, h := range r.Match.Headers {
		words = append(words, h.Name+"="+h.StringMatch.Exact)
	}
	var parts []string
	for _, c := range r.Route.WeightedClusters.Clusters {
		parts = append(parts, fmt.Sprintf("%s %d", sideAndPort(c.Name), c.Weight))
	}
	if len(parts) < 2 { // istiod leaves out what has weight 0
		only := r.Route.Cluster
		for _, c := range r.Route.WeightedClusters.Clusters {
			only = c.Name
		}
		parts = []string{sideAndPort(only)}
	}
	return strings.Join(append(words, "->", strings.Join(parts, ", ")), " ")
}

// sideAndPort turns outbound|80||podinfo-canary.NAMESPACE.svc.cluster.local into canary:80.
func sideAndPort(cluster string) string {
	parts := strings.Split(cluster, "|")
	if len(parts) < 2 {
		return cluster
	}
	return side(cluster) + ":" + parts[1]
}

type configuredCluster struct {
	Name, Type     string
	HTTP2          bool
	MaxConnections int
}

// clustersOf are the clusters of the application by side and port.
func clustersOf(ctx context.Context, namespace string) (map[string]configuredCluster, error) {
	var all []configuredCluster
	if err := asked(ctx, &all, append([]string{"clusters", "-contains", "." + namespace + ".svc"}, proxyOf(namespace)...)...); err != nil {
		return nil, err
	}
	out := map[string]configuredCluster{}
	for _, c := range all {
		out[sideAndPort(c.Name)] = c
	}
	return out, nil
}

// connections says, for each chain of the application's listener of a port, which names a
// connection has and how it is shared out.
func connections(ctx context.Context, namespace string, port int) ([]string, error) {
	var chains []struct {
		SNI      []string
		Clusters map[string]int
	}
	if err := asked(ctx, &chains, append([]string{"listeners", "-port", fmt.Sprint(port)}, proxyOf(namespace)...)...); err != nil {
		return nil, err
	}
	var out []string
	for _, c := range chains {
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(c.Clusters)) {
			if strings.Contains(name, "."+namespace+".") {
				parts = append([]string{fmt.Sprintf("%s %d", side(name), c.Clusters[name])}, parts...)
			}
		}
		if parts == nil {
			continue
		}
		line := strings.Join(parts, ", ")
		if len(c.SNI) > 0 {
			line = strings.Join(c.SNI, " ") + ": " + line
		}
		out = append(out, line)
	}
	return out, nil
}
