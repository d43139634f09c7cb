package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/gatewayapi"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/providers/ssa"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// TestEnvoyGateway has Envoy Gateway's translator make Envoy's routes of those that we write, and
// looks at what becomes of requests by them, and whether the status that it gives a route
// counts as it should.
func TestEnvoyGateway(t *testing.T) {
	header := func(name, value string) map[string]string { return map[string]string{name: value} }
	spread := func(primary, canary int32) providers.Traffic {
		return providers.Traffic{Primary: primary, Canary: canary}
	}
	insiders := providers.Traffic{Canary: 100, Matched: true}
	const (
		set    = "; Max-Age=86400; Path=/"
		billed = `
parentRefs: [{name: public, namespace: infra}]
hostnames: [app.example.com]
rules:
- {matches: [{path: {type: PathPrefix, value: /billing}}], backendRefs: [{name: billing, port: 80}]}
- {matches: [{path: {type: PathPrefix, value: /billing/v2}, headers: [{name: x-beta, value: "1"}]}], backendRefs: [{name: billing, port: 80}]}
- {matches: [{path: {type: PathPrefix, value: /}}], backendRefs: [{name: podinfo, port: 80}]}
`
	)
	for name, tc := range map[string]struct {
		change  func(*v1beta1.Canary)
		traffic providers.Traffic
		idle    bool   // the canary has no pods
		users   string // the spec of a route of the apex Service's name
		others  string // the spec of an older route of another name
		want    map[*request]string
	}{
		"weights": {traffic: spread(90, 10), want: map[*request]string{{}: "primary 90, canary 10", {path: "/any"}: "primary 90, canary 10"}},
		"no canary": {
			traffic: spread(100, 0), idle: true, want: map[*request]string{{}: "primary"},
		},
		"all to the canary": {traffic: spread(0, 100), want: map[*request]string{{}: "canary"}},
		"A/B testing by a header": {
			change:  matching(`{"headers":{"x-canary":{"exact":"insider"}}}`),
			traffic: insiders, want: map[*request]string{{}: "primary", {headers: header("x-canary", "insider")}: "canary", {headers: header("x-canary", "insiders")}: "primary"},
		},
		"A/B testing by a cookie": {
			change:  matching(`{"headers":{"cookie":{"regex":"^(.*?;)?\\s*(canary=always)(;.*)?$"}}}`),
			traffic: insiders, want: map[*request]string{
				{}: "primary", {headers: header("cookie", "a=b; canary=always")}: "canary", {headers: header("cookie", "canary=never")}: "primary",
			},
		},
		"A/B testing by parts of headers and parameters": {
			change:  matching(`{"headers":{"x-user":{"prefix":"a+b"}}}`, `{"headers":{"x-user":{"suffix":"@example.com"}}}`, `{"queryParams":{"beta":{"exact":"1"}},"method":{"exact":"GET"}}`),
			traffic: insiders, want: map[*request]string{
				{}: "primary", {headers: header("x-user", "a+bc")}: "canary", {headers: header("x-user", "aab")}: "primary", {headers: header("x-user", "c@example.com")}: "canary",
				{query: header("beta", "1")}: "canary", {query: header("beta", "2")}: "primary", {method: "POST", query: header("beta", "1")}: "primary",
			},
		},
		"a share of those that match": {
			change:  matching(`{"headers":{"x-canary":{"exact":"insider"}}}`),
			traffic: providers.Traffic{Primary: 75, Canary: 25, Matched: true}, want: map[*request]string{{}: "primary", {headers: header("x-canary", "insider")}: "primary 75, canary 25"},
		},
		"mirroring of all":  {change: mirroring, traffic: providers.Traffic{Primary: 100, Mirror: 100}, want: map[*request]string{{}: "primary mirrored to canary 100"}},
		"mirroring of some": {change: mirroring, traffic: providers.Traffic{Primary: 100, Mirror: 20}, want: map[*request]string{{}: "primary mirrored to canary 20"}},
		"session affinity": {
			change: func(c *v1beta1.Canary) {
				c.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "version", PrimaryCookieName: "old"}
			},
			traffic: providers.Traffic{Primary: 70, Canary: 30, Sessions: providers.Sessions{Canary: "c1", Primary: "s1", Raised: 10}},
			want: map[*request]string{
				{}: "primary 70 sets old=s1.d0f631ca" + set + ", canary 30 sets version=c1" + set,
				{headers: header("cookie", "a=b; version=c1")}:      "canary",
				{headers: header("cookie", "version=c0")}:           "primary 70 sets old=s1.d0f631ca" + set + ", canary 30 sets version=c1" + set,
				{headers: header("cookie", "old=s1.d0f631ca; a=b")}: "primary",
				{headers: header("cookie", "old=s0.d0f631ca")}:      "primary 70 sets old=s1.d0f631ca" + set + ", canary 10 sets version=c1" + set,
			},
		},
		"a match of the service": {
			change:  func(c *v1beta1.Canary) { c.Spec.Service.Match = []v1beta1.RawObject{raw(`{"uri":{"prefix":"/app"}}`)} },
			traffic: spread(50, 50), want: map[*request]string{{}: "404", {path: "/app"}: "primary 50, canary 50", {path: "/app/a"}: "primary 50, canary 50", {path: "/apple"}: "404"},
		},
		"rewrite and timeout": {
			change: func(c *v1beta1.Canary) {
				c.Spec.Service.Rewrite, c.Spec.Service.Timeout = new(raw(`{"uri":"/new"}`)), "15s"
			},
			traffic: spread(50, 50), want: map[*request]string{{path: "/a/b"}: "primary 50, canary 50 rewritten to /new timeout 15s"},
		},
		"a user's rules": {
			users: billed, traffic: spread(50, 50),
			want: map[*request]string{{}: "primary 50, canary 50", {path: "/billing"}: "billing", {path: "/billing/v2", headers: header("x-beta", "1")}: "billing"},
		},
		"a user's rules and A/B testing": {
			users: billed, traffic: insiders, change: matching(`{"uri":{"prefix":"/billing/v2"}}`, `{"headers":{"x-canary":{"exact":"insider"},"x-more":{"exact":"1"}}}`),
			want: map[*request]string{
				{}: "primary", {path: "/billing"}: "billing", {path: "/billing/v2"}: "billing", {path: "/billing/v2", headers: header("x-beta", "1")}: "billing",
				{path: "/a", headers: map[string]string{"x-canary": "insider", "x-more": "1"}}:       "canary",
				{path: "/billing", headers: map[string]string{"x-canary": "insider", "x-more": "1"}}: "billing",
			},
		},
		"another team's rule": {
			others: "{parentRefs: [{name: public, namespace: infra}], hostnames: [app.example.com], rules: [{matches: [{path: {type: PathPrefix, value: /shop}}], backendRefs: [{name: billing, port: 80}]}]}",
			change: matching(`{"uri":{"prefix":"/beta"},"headers":{"x-canary":{"exact":"insider"}}}`), traffic: insiders,
			want: map[*request]string{{}: "primary", {path: "/shop", headers: header("x-canary", "insider")}: "billing", {path: "/beta", headers: header("x-canary", "insider")}: "canary"},
		},
		"gRPC": {
			change: func(c *v1beta1.Canary) { c.Spec.Service.AppProtocol = "grpc" }, traffic: spread(80, 20),
			want: map[*request]string{{path: "/a.Service/Method", headers: header("content-type", "application/grpc")}: "primary 80, canary 20"},
		},
		"gRPC and A/B testing": {
			change: func(c *v1beta1.Canary) {
				c.Spec.Service.AppProtocol = "grpc"
				matching(`{"headers":{"x-canary":{"exact":"insider"}}}`)(c)
			},
			traffic: insiders,
			want: map[*request]string{
				{path: "/a.Service/Method", headers: map[string]string{"content-type": "application/grpc"}}:                        "primary",
				{path: "/a.Service/Method", headers: map[string]string{"content-type": "application/grpc", "x-canary": "insider"}}: "canary",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnvoyGateway(t)
			w.hasCanary = !tc.idle
			c := w.canary
			if tc.change != nil {
				tc.change(c)
			}
			w.create(t, app, tc.users, 2)
			w.create(t, "theirs", tc.others, 1)
			route := providers.Route{Canary: c, Traffic: tc.traffic}
			if err := w.router.Apply(t.Context(), route); err != nil {
				t.Fatal(err)
			}
			if state := w.observe(t, route); state.InSync {
				t.Error("it is in sync before Envoy Gateway has said anything")
			}
			config := w.translate(t)
			if state := w.observe(t, route); !state.InSync {
				t.Errorf("observed %+v", state)
			}
			for r, want := range tc.want {
				if got := config.answer(*r); got != want {
					t.Errorf("%+v comes to %q, want %q", *r, got, want)
				}
			}
		})
	}
}

// TestEnvoyGatewayRefuses has what Envoy Gateway says against a route be final, and what it
// prefers to a route be found before it says anything.
func TestEnvoyGatewayRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change  func(*envoyGateway)
		others  string
		refused bool
		says    string
		comesTo string // requests to the host
	}{
		"a listener that takes no routes of the namespace": {
			change: func(w *envoyGateway) { w.from = "Same" }, refused: true, says: "NotAllowedByListeners", comesTo: "404",
		},
		"a host that no listener has": {
			change:  func(w *envoyGateway) { w.canary.Spec.Service.Hosts = []string{"app.example.org"} },
			refused: true, says: "NoMatchingListenerHostname", comesTo: "404",
		},
		"a Service that is not there": {
			change: func(w *envoyGateway) { w.services = []string{app, app + "-primary"} }, refused: true, says: "BackendNotFound", comesTo: "error 50, primary 50",
		},
		"an older route for the same requests": {
			others: "{parentRefs: [{name: public, namespace: infra}], hostnames: [app.example.com], rules: [{matches: [{path: {type: PathPrefix, value: /}}], backendRefs: [{name: billing, port: 80}]}]}",
			says:   "HTTPRoute test/theirs is for the same requests", comesTo: "billing",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnvoyGateway(t)
			if tc.change != nil {
				tc.change(w)
			}
			w.create(t, "theirs", tc.others, 1)
			route := providers.Route{Canary: w.canary, Traffic: providers.Traffic{Primary: 50, Canary: 50}}
			if err := w.router.Apply(t.Context(), route); err != nil {
				t.Fatal(err)
			}
			if got := w.translate(t).answer(request{}); got != tc.comesTo {
				t.Errorf("requests come to %q, want %q", got, tc.comesTo)
			}
			if state := w.observe(t, route); state.InSync || state.Refused != tc.refused || !strings.Contains(state.Detail, tc.says) {
				t.Errorf("observed %+v", state)
			}
		})
	}
}

// TestEnvoyGatewayCounts has Envoy count the requests of the canary apart from those of the primary as
// built-in checks read them, which it does where clusters are those of Services.
func TestEnvoyGatewayCounts(t *testing.T) {
	for name, tc := range map[string]struct {
		merge bool
		want  []string
	}{
		"a cluster of each route":   {want: []string{"httproute/test/podinfo/rule/0"}},
		"a cluster of each Service": {merge: true, want: []string{"service/test/podinfo-canary/80/http", "service/test/podinfo-primary/80/http"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnvoyGateway(t)
			w.merges = tc.merge
			if err := w.router.Apply(t.Context(), providers.Route{Canary: w.canary, Traffic: providers.Traffic{Primary: 50, Canary: 50}}); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range w.translate(t).Endpoints {
				got = append(got, e.ClusterName)
			}
			slices.Sort(got)
			if !slices.Equal(got, tc.want) {
				t.Errorf("clusters are %q, want %q", got, tc.want)
			}
		})
	}
}

func matching(match ...string) func(*v1beta1.Canary) {
	return func(c *v1beta1.Canary) {
		c.Spec.Analysis.StepWeight, c.Spec.Analysis.Iterations = 0, 3
		for _, m := range match {
			c.Spec.Analysis.Match = append(c.Spec.Analysis.Match, raw(m))
		}
	}
}

func mirroring(c *v1beta1.Canary) { c.Spec.Analysis.Mirror = true }

// envoyGateway is a cluster in memory with a Gateway of Envoy Gateway's.
type envoyGateway struct {
	client.Client

	router    providers.Router
	canary    *v1beta1.Canary
	hasCanary bool     // it has pods
	services  []string // that there are
	merges    bool     // it has a cluster for each Service, and not for each route
	from      string   // namespaces of which the listener takes routes
}

func newEnvoyGateway(t *testing.T) *envoyGateway {
	t.Helper()
	scheme, err := rig.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	v1 := schema.GroupVersion(gatewayv1.GroupVersion)
	w := &envoyGateway{hasCanary: true, from: "All", services: []string{app, app + "-primary", app + "-canary", "billing"}}
	w.Client = fake.NewClientBuilder().WithScheme(scheme).WithRESTMapper(routertest.Mapper(v1.WithKind("HTTPRoute"), v1.WithKind("GRPCRoute"))).
		WithStatusSubresource(&gatewayv1.HTTPRoute{}, &gatewayv1.GRPCRoute{}).Build()
	w.router = gatewayapi.New(w.Client, w.Client, ssa.New(w.Client), "gatewayapi:v1")
	w.canary = &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: app, UID: "c1"},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: app},
			Service:   v1beta1.CanaryService{Port: 80, Hosts: []string{"app.example.com"}, GatewayRefs: []v1beta1.ParentReference{{Name: "public", Namespace: new("infra")}}},
			Analysis:  &v1beta1.CanaryAnalysis{StepWeight: 10},
		},
	}
	return w
}

// create makes a route of somebody's, in that minute of the day, unless the spec is empty.
func (w *envoyGateway) create(t *testing.T, name, spec string, minute int) {
	t.Helper()
	if spec == "" {
		return
	}
	r := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{
		Namespace: "test", Name: name, CreationTimestamp: metav1.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC),
	}}
	if err := yaml.UnmarshalStrict([]byte(spec), &r.Spec); err != nil {
		t.Fatal(err)
	}
	if err := w.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func (w *envoyGateway) observe(t *testing.T, route providers.Route) providers.State {
	t.Helper()
	state, err := w.router.Observe(t.Context(), route)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// objects are those of the cluster, as YAML.
func (w *envoyGateway) objects(t *testing.T) []byte {
	t.Helper()
	out := &bytes.Buffer{}
	fmt.Fprintf(out, `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: envoy}
spec:
  controllerName: gateway.envoyproxy.io/gatewayclass-controller
  parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: envoy, namespace: infra}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: envoy, namespace: infra}
spec: {%s}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: public, namespace: infra}
spec: {gatewayClassName: envoy, listeners: [{name: http, port: 80, protocol: HTTP, hostname: "*.example.com", allowedRoutes: {namespaces: {from: %s}}}]}
---
{apiVersion: v1, kind: Namespace, metadata: {name: test}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: infra}}
`, map[bool]string{true: "mergeBackends: {}"}[w.merges], w.from)
	for i, name := range w.services {
		fmt.Fprintf(out, `---
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: test}
spec: {clusterIP: 10.0.0.%[2]d, ports: [{name: http, port: 80, targetPort: 8080, protocol: TCP}]}
`, name, i+1)
		if name != app+"-canary" || w.hasCanary {
			fmt.Fprintf(out, `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-a, namespace: test, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
endpoints: [{addresses: [10.1.0.%[2]d], conditions: {ready: true}}]
ports: [{name: http, port: 8080, protocol: TCP}]
`, name, i+1)
		}
	}
	for _, route := range w.routes(t) {
		w.age(t, route)
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(route)
		if err != nil {
			t.Fatal(err)
		}
		delete(object, "status")
		raw, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(out, "---\n%s", raw)
	}
	return out.Bytes()
}

// routes are all routes of the cluster.
func (w *envoyGateway) routes(t *testing.T) (out []client.Object) {
	t.Helper()
	http, grpc := &gatewayv1.HTTPRouteList{}, &gatewayv1.GRPCRouteList{}
	if err := errors.Join(w.List(t.Context(), http), w.List(t.Context(), grpc)); err != nil {
		t.Fatal(err)
	}
	for i := range http.Items {
		http.Items[i].SetGroupVersionKind(schema.GroupVersion(gatewayv1.GroupVersion).WithKind("HTTPRoute"))
		out = append(out, &http.Items[i])
	}
	for i := range grpc.Items {
		grpc.Items[i].SetGroupVersionKind(schema.GroupVersion(gatewayv1.GroupVersion).WithKind("GRPCRoute"))
		out = append(out, &grpc.Items[i])
	}
	return out
}

// age gives a route what an API server would have given it: a generation and, unless somebody made
// it before, the time.
func (w *envoyGateway) age(t *testing.T, route client.Object) {
	t.Helper()
	gvk := route.GetObjectKind().GroupVersionKind()
	route.SetGeneration(1)
	if at := route.GetCreationTimestamp(); at.IsZero() {
		route.SetCreationTimestamp(metav1.Date(2026, 1, 1, 1, 0, 0, 0, time.UTC))
	}
	if err := w.Update(t.Context(), route); err != nil {
		t.Fatal(err)
	}
	route.GetObjectKind().SetGroupVersionKind(gvk)
}

// translate has Envoy Gateway look at the objects and write the status of the routes.
func (w *envoyGateway) translate(t *testing.T) *envoyConfig {
	t.Helper()
	binary, err := cluster.Binary("envoy-gateway-translate")
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), binary)
	command.Stdin = bytes.NewReader(w.objects(t))
	complains := &bytes.Buffer{}
	command.Stderr = complains
	said, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, complains)
	}
	config := &envoyConfig{}
	if err := json.Unmarshal(said, config); err != nil {
		t.Fatal(err)
	}
	for _, r := range config.HTTPRoutes {
		w.say(t, &gatewayv1.HTTPRoute{}, r.ObjectMeta, r.Status.RouteStatus)
	}
	for _, r := range config.GRPCRoutes {
		w.say(t, &gatewayv1.GRPCRoute{}, r.ObjectMeta, r.Status.RouteStatus)
	}
	return config
}

// say writes the status of a route.
func (w *envoyGateway) say(t *testing.T, into client.Object, of metav1.ObjectMeta, status gatewayv1.RouteStatus) {
	t.Helper()
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: of.Namespace, Name: of.Name}, into); err != nil {
		t.Fatal(err)
	}
	for i := range status.Parents {
		for j := range status.Parents[i].Conditions {
			status.Parents[i].Conditions[j].LastTransitionTime = metav1.Now()
		}
	}
	switch o := into.(type) {
	case *gatewayv1.HTTPRoute:
		o.Status.RouteStatus = status
	case *gatewayv1.GRPCRoute:
		o.Status.RouteStatus = status
	}
	if err := w.Status().Update(t.Context(), into); err != nil {
		t.Fatal(err)
	}
}

// envoyConfig is what envoy-gateway-translate prints.
type envoyConfig struct {
	HTTPRoutes []gatewayv1.HTTPRoute
	GRPCRoutes []gatewayv1.GRPCRoute
	Routes     []struct {
		VirtualHosts []struct {
			Domains []string
			Routes  []gatewayRoute
		}
	}
	Endpoints []struct {
		ClusterName string
		Endpoints   []struct {
			Metadata struct {
				FilterMetadata struct {
					EnvoyGateway struct {
						Resources []struct{ Name string }
					} `json:"envoy-gateway"`
				}
			}
			LoadBalancingWeight int
		}
	}
}

type stringMatch struct {
	Exact, Prefix, Suffix, Contains string

	SafeRegex struct{ Regex string }
}

func (m stringMatch) fits(s string) bool {
	switch {
	case m.SafeRegex.Regex != "":
		return regexp.MustCompile("^(?:" + m.SafeRegex.Regex + ")$").MatchString(s)
	case m.Prefix != "":
		return strings.HasPrefix(s, m.Prefix)
	case m.Suffix != "":
		return strings.HasSuffix(s, m.Suffix)
	case m.Contains != "":
		return strings.Contains(s, m.Contains)
	default:
		return s == m.Exact
	}
}

type gatewayRoute struct {
	Match struct {
		Prefix, Path, PathSeparatedPrefix string

		SafeRegex struct{ Regex string }
		Grpc      *struct{}
		Headers   []struct {
			Name        string
			StringMatch stringMatch
		}
		QueryParameters []struct {
			Name        string
			StringMatch stringMatch
		}
	}
	DirectResponse struct{ Status int }
	Route          struct {
		Cluster          string
		WeightedClusters struct {
			Clusters []envoyCluster
		}
		Timeout        string
		PrefixRewrite  string
		RegexRewrite   struct{ Substitution string }
		UpgradeConfigs []struct{ UpgradeType string }
		RetryPolicy    struct {
			RetryOn    string
			NumRetries int
		}
		RequestMirrorPolicies []struct {
			Cluster         string
			RuntimeFraction struct {
				DefaultValue struct {
					Numerator   int
					Denominator string
				}
			}
		}
	}
}

// request is one for app.example.com.
type request struct {
	method, path   string
	headers, query map[string]string
}

func (r gatewayRoute) fits(q request) bool {
	m := r.Match
	path := q.path
	if path == "" {
		path = "/"
	}
	switch {
	case m.Path != "" && path != m.Path,
		m.PathSeparatedPrefix != "" && path != m.PathSeparatedPrefix && !strings.HasPrefix(path, m.PathSeparatedPrefix+"/"),
		!strings.HasPrefix(path, m.Prefix),
		m.SafeRegex.Regex != "" && !stringMatch{SafeRegex: m.SafeRegex}.fits(path),
		m.Grpc != nil && q.headers["content-type"] != "application/grpc":
		return false
	}
	headers := map[string]string{":method": q.method}
	if q.method == "" {
		headers[":method"] = "GET"
	}
	maps.Copy(headers, q.headers)
	for _, h := range m.Headers {
		if value, has := headers[strings.ToLower(h.Name)]; !has || !h.StringMatch.fits(value) {
			return false
		}
	}
	for _, p := range m.QueryParameters {
		if value, has := q.query[p.Name]; !has || !p.StringMatch.fits(value) {
			return false
		}
	}
	return true
}

// answer says what becomes of a request: Envoy takes the first route that fits.
func (c *envoyConfig) answer(q request) string {
	for _, routes := range c.Routes {
		for _, host := range routes.VirtualHosts {
			if !slices.Contains(host.Domains, "app.example.com") {
				continue
			}
			for _, r := range host.Routes {
				if r.fits(q) {
					return c.does(r)
				}
			}
		}
	}
	return "404"
}

// does says where a route leads.
func (c *envoyConfig) does(r gatewayRoute) string {
	if r.DirectResponse.Status != 0 {
		return fmt.Sprint(r.DirectResponse.Status)
	}
	out := c.shares(r)
	for _, m := range r.Route.RequestMirrorPolicies {
		fraction := m.RuntimeFraction.DefaultValue
		per := map[string]int{"": 1, "HUNDRED": 1, "TEN_THOUSAND": 100, "MILLION": 10000}[fraction.Denominator]
		out += fmt.Sprintf(" mirrored to %s %d", c.cluster(m.Cluster)[0].to, fraction.Numerator/per)
	}
	if rewritten := r.Route.PrefixRewrite + r.Route.RegexRewrite.Substitution; rewritten != "" {
		out += " rewritten to " + rewritten
	}
	if r.Route.Timeout != "" {
		out += " timeout " + r.Route.Timeout
	}
	return out
}

type gatewayShare struct {
	to     string
	weight int
}

// cluster are the Services behind a cluster.
func (c *envoyConfig) cluster(name string) (out []gatewayShare) {
	for _, e := range c.Endpoints {
		if e.ClusterName != name {
			continue
		}
		for _, locality := range e.Endpoints {
			service := locality.Metadata.FilterMetadata.EnvoyGateway.Resources[0].Name
			out = append(out, gatewayShare{strings.TrimPrefix(service, app+"-"), locality.LoadBalancingWeight})
		}
	}
	if out == nil {
		out = []gatewayShare{{"error", 1}}
	}
	return out
}

func (c *envoyConfig) shares(r gatewayRoute) string {
	var out []string
	share := func(s gatewayShare, sets string) {
		if s.weight == 0 {
			return
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %d%s", s.to, s.weight, sets)))
	}
	if r.Route.Cluster != "" {
		for _, s := range c.cluster(r.Route.Cluster) {
			share(s, "")
		}
	}
	for _, weighted := range r.Route.WeightedClusters.Clusters {
		sets := ""
		for _, h := range weighted.ResponseHeadersToAdd {
			sets += " sets " + h.Header.Value
		}
		share(gatewayShare{c.cluster(weighted.Name)[0].to, weighted.Weight}, sets)
	}
	if len(out) == 1 {
		name, remaining, _ := strings.Cut(out[0], " ")
		_, remaining, _ = strings.Cut(remaining, " ")
		return strings.TrimSpace(name + " " + remaining)
	}
	return strings.Join(out, ", ")
}
