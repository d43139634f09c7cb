package integration

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/contour"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// TestContour has Contour make Envoy's routes of the HTTPProxies that we write, and looks at what becomes of requests by them.
func TestContour(t *testing.T) {
	judge := startJudge(t, "contour-translate")
	header := func(name, value string) map[string]string { return map[string]string{name: value} }
	insiders := providers.Traffic{Canary: 100, Matched: true}
	for name, tc := range map[string]struct {
		change  func(*v1beta1.Canary)
		traffic providers.Traffic
		users   string
		want    map[*request]string
	}{
		"weights":           {traffic: providers.Traffic{Primary: 90, Canary: 10}, want: map[*request]string{{}: "canary 10, primary 90", {path: "/any"}: "canary 10, primary 90"}},
		"no canary":         {traffic: providers.Traffic{Primary: 100}, want: map[*request]string{{}: "primary 100"}},
		"all to the canary": {traffic: providers.Traffic{Canary: 100}, want: map[*request]string{{}: "canary 100"}},
		"A/B testing": {
			change:  matching(`{"headers":{"x-canary":{"exact":"insider"}}}`, `{"headers":{"x-user":{"prefix":"a+b"}}}`, `{"headers":{"x-user":{"suffix":"@example.com"}}}`, `{"uri":{"prefix":"/beta"}}`, `{"queryParams":{"beta":{"prefix":"1"}}}`, `{"headers":{"cookie":{"regex":"^(.*?;)?\\s*(canary=always)(;.*)?$"}}}`),
			traffic: insiders, want: map[*request]string{
				{}: "primary 100", {headers: header("x-canary", "insider")}: "canary 100", {headers: header("x-canary", "insiders")}: "primary 100",
				{headers: header("x-user", "a+bc")}: "canary 100", {headers: header("x-user", "aab")}: "primary 100", {headers: header("x-user", "c@example.com")}: "canary 100",
				{path: "/beta/a"}: "canary 100", {path: "/better"}: "primary 100", {query: header("beta", "12")}: "canary 100", {query: header("beta", "2")}: "primary 100",
				{headers: header("cookie", "a=b; canary=always")}: "canary 100", {headers: header("cookie", "canary=never")}: "primary 100",
			},
		},
		"a share of those that match": {
			change:  matching(`{"headers":{"x-canary":{"exact":"insider"}}}`),
			traffic: providers.Traffic{Primary: 75, Canary: 25, Matched: true}, want: map[*request]string{{}: "primary 100", {headers: header("x-canary", "insider")}: "canary 25, primary 75"},
		},
		"A/B testing of an exact path": {
			change: func(c *v1beta1.Canary) {
				matching(`{"headers":{"x-canary":{"exact":"insider"}}}`)(c)
				c.Spec.Service.Match = []v1beta1.RawObject{raw(`{"uri":{"exact":"/a"}}`)}
			},
			traffic: insiders, want: map[*request]string{
				{path: "/a"}: "primary 100", {path: "/a", headers: header("x-canary", "insider")}: "canary 100", {path: "/a/b", headers: header("x-canary", "insider")}: "404",
			},
		},
		"mirroring": {change: mirroring, traffic: providers.Traffic{Primary: 100, Mirror: 20}, want: map[*request]string{{}: "primary 100 mirrored to canary 20"}},
		"a match of the service, timeout and retries": {
			change: func(c *v1beta1.Canary) {
				c.Spec.Service.Match = []v1beta1.RawObject{raw(`{"uri":{"prefix":"/app"}}`), raw(`{"uri":{"regex":"/v[0-9]+/.*"}}`)}
				c.Spec.Service.Timeout, c.Spec.Service.Retries = "15s", new(raw(`{"attempts":3,"perTryTimeout":"1s","retryOn":"5xx,gateway-error"}`))
			},
			traffic: providers.Traffic{Primary: 50, Canary: 50}, want: map[*request]string{
				{}: "404", {path: "/app/a"}: "canary 50, primary 50 timeout 15s retries 3 5xx,gateway-error", {path: "/v2/a"}: "canary 50, primary 50 timeout 15s retries 3 5xx,gateway-error",
			},
		},
		"a user's routes": {
			users: `{virtualhost: {fqdn: app.example.com}, routes: [
				{conditions: [{prefix: /}], services: [{name: podinfo, port: 80, protocol: h2c}], enableWebsockets: true},
				{conditions: [{prefix: /billing}], services: [{name: billing, port: 80, weight: 90}, {name: ledger, port: 80, weight: 10}]}]}`,
			change: matching(`{"headers":{"x-canary":{"exact":"insider"}}}`), traffic: insiders,
			want: map[*request]string{
				{}: "primary 100 upgrades websocket", {headers: header("x-canary", "insider")}: "canary 100 upgrades websocket",
				{path: "/billing", headers: header("x-canary", "insider")}: "billing 90, ledger 10",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newContour(t, judge, tc.users)
			if tc.change != nil {
				tc.change(w.canary)
			}
			route := providers.Route{Canary: w.canary, Traffic: tc.traffic}
			if err := w.router.Apply(t.Context(), route); err != nil {
				t.Fatal(err)
			}
			if state, err := w.router.Observe(t.Context(), route); err != nil || state.InSync {
				t.Errorf("before Contour has said anything: %+v, %v", state, err)
			}
			config := w.translate(t)
			if state, err := w.router.Observe(t.Context(), route); err != nil || !state.InSync || state.Traffic != tc.traffic {
				t.Errorf("observed %+v, %v", state, err)
			}
			for r, want := range tc.want {
				if got := config.answer(*r); got != want {
					t.Errorf("%+v comes to %q, want %q", *r, got, want)
				}
			}
		})
	}
}

// TestContourRefuses has what Contour says against an HTTPProxy be final, but for one that only waits to be included.
func TestContourRefuses(t *testing.T) {
	judge := startJudge(t, "contour-translate")
	for name, tc := range map[string]struct {
		change  func(*contourWorld)
		refused bool
		says    string
	}{
		"a Service that is not there": {func(w *contourWorld) { w.services = []string{"podinfo", "podinfo-primary"} }, true, "ServiceUnresolvedReference"},
		"a port that it has not":      {func(w *contourWorld) { w.canary.Spec.Service.Port = 81 }, true, "ServiceUnresolvedReference"},
		"nobody includes it":          {func(w *contourWorld) { w.root = false }, false, "orphaned"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newContour(t, judge, "")
			tc.change(w)
			route := providers.Route{Canary: w.canary, Traffic: providers.Traffic{Primary: 50, Canary: 50}}
			if err := w.router.Apply(t.Context(), route); err != nil {
				t.Fatal(err)
			}
			w.translate(t)
			state, err := w.router.Observe(t.Context(), route)
			if err != nil || state.InSync || state.Refused != tc.refused || !strings.Contains(strings.ToLower(state.Detail), strings.ToLower(tc.says)) {
				t.Errorf("observed %+v, %v", state, err)
			}
		})
	}
}

// TestContourUsers has users' HTTPProxies, drawn at random, be shared out and given back, by what Contour makes of them, and
// Contour have nothing against any that we write.
func TestContourUsers(t *testing.T) {
	outer, judge := t, startJudge(t, "contour-translate")
	routertest.UsersObjects(t, func(t *rapid.T) *routertest.Users {
		w := newContour(outer, judge, "")
		w.create(outer, routertest.DrawHTTPProxy(t, app))
		if w.translate(outer); !w.valid(outer) {
			return nil // nothing that Contour takes
		}
		return &routertest.Users{
			Router: w.router, Route: providers.Route{Canary: w.canary}, Serve: func() []routertest.Outcome { return w.outcomes(outer) },
			Mesh: func() { w.translate(outer) },
			Stored: func() any {
				live := w.get(outer)
				return []any{live.Spec, live.Labels, live.Annotations}
			},
		}
	})
}

// contourWorld is a cluster in memory.
type contourWorld struct {
	*routertest.API

	judge    *judge
	router   *contour.Router
	canary   *v1beta1.Canary
	services []string // that there are
	root     bool     // there is an HTTPProxy with the virtual host, which includes one without
}

func newContour(t *testing.T, judge *judge, users string) *contourWorld {
	t.Helper()
	w := &contourWorld{
		API: routertest.NewAPI(t, contour.AddToScheme, routertest.Mapper(httpProxies)), judge: judge, root: true,
		services: []string{app, app + "-primary", app + "-canary", "billing", "ledger"},
		canary: &v1beta1.Canary{
			ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: app, UID: "c1"},
			Spec: v1beta1.CanarySpec{
				TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: app},
				Service:   v1beta1.CanaryService{Port: 80}, Analysis: &v1beta1.CanaryAnalysis{StepWeight: 10},
			},
		},
	}
	w.router = contour.New(w.Client, ssa.New(w.Client), "")
	if users != "" {
		w.create(t, routertest.Spec(t, users))
	}
	return w
}

// create makes an HTTPProxy of a user's.
func (w *contourWorld) create(t *testing.T, spec map[string]any) {
	t.Helper()
	o := &contour.HTTPProxy{}
	o.Namespace, o.Name, o.Spec = "test", app, spec
	if err := w.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func (w *contourWorld) get(t *testing.T) *contour.HTTPProxy {
	t.Helper()
	live := &contour.HTTPProxy{}
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: app}, live); err != nil {
		t.Fatal(err)
	}
	return live
}

func (w *contourWorld) valid(t *testing.T) bool {
	t.Helper()
	conditions := w.get(t).Status.Conditions
	return len(conditions) == 1 && conditions[0].Type == "Valid" && conditions[0].Status == metav1.ConditionTrue
}

// translate has Contour look at the objects and write the conditions of the HTTPProxy.
func (w *contourWorld) translate(t *testing.T) *contourConfig {
	t.Helper()
	object := func(kind, name string, spec any) map[string]any {
		return map[string]any{"kind": kind, "metadata": map[string]any{"namespace": "test", "name": name}, "spec": spec}
	}
	live := w.get(t)
	objects := []any{object("HTTPProxy", app, live.Spec)}
	if live.Spec["virtualhost"] == nil && w.root {
		objects = append(objects, object("HTTPProxy", "root", map[string]any{
			"virtualhost": map[string]any{"fqdn": "app.example.com"}, "includes": []any{map[string]any{"name": app}},
		}))
	}
	for _, name := range w.services {
		objects = append(objects, object("Service", name, map[string]any{"ports": []any{
			map[string]any{"name": "http", "port": 80, "protocol": "TCP"}, map[string]any{"name": "more", "port": 9090, "protocol": "TCP"},
		}}))
	}
	config := &contourConfig{}
	w.judge.send(t, objects, config)
	for _, said := range config.Proxies {
		if said.Name != app {
			continue
		}
		live.Status.Conditions = nil
		if err := json.Unmarshal([]byte(`{"conditions":`+string(said.Conditions)+`}`), &live.Status); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Update(t.Context(), live); err != nil {
		t.Fatal(err)
	}
	return config
}

func (w *contourWorld) outcomes(t *testing.T) (out []routertest.Outcome) {
	t.Helper()
	config := w.translate(t)
	for _, of := range routertest.ProxyRequests() {
		q := request{path: of.Path, headers: map[string]string{}}
		for name, has := range map[string]bool{routertest.BetaHeader: of.Beta, routertest.InsidersHeader: of.Insider} {
			if has {
				q.headers[name] = "yes"
			}
		}
		o := routertest.Outcome{Request: of, Matches: of.Insider, Shares: map[string]float64{}, Copies: map[string]float64{}}
		if r := config.route(q); r != nil {
			for _, s := range r.all() {
				o.Shares[s.to] += s.share
			}
			for _, m := range r.Route.RequestMirrorPolicies {
				to, _ := service(m.Cluster)
				o.Copies[to] += float64(m.RuntimeFraction.DefaultValue.Numerator)
			}
			o.Treatment = r.treatment()
		}
		out = append(out, o)
	}
	return out
}

// contourConfig is what contour-translate prints.
type contourConfig struct {
	Proxies []struct {
		Name       string
		Conditions json.RawMessage
	}
	Routes []struct {
		VirtualHosts []struct{ Routes []contourRoute }
	}
}

type contourRoute struct{ gatewayRoute }

// route is the one for a request: Envoy takes the first that fits. There is one virtual host.
func (c *contourConfig) route(q request) *contourRoute {
	for _, routes := range c.Routes {
		for _, host := range routes.VirtualHosts {
			if i := slices.IndexFunc(host.Routes, func(r contourRoute) bool { return r.fits(q) }); i >= 0 {
				return &host.Routes[i]
			}
		}
	}
	return nil
}

// answer says what becomes of a request.
func (c *contourConfig) answer(q request) string {
	r := c.route(q)
	if r == nil {
		return "404"
	}
	var parts []string
	for _, s := range r.all() {
		to, _, _ := strings.Cut(strings.TrimPrefix(s.to, app+"-"), ":")
		parts = append(parts, fmt.Sprintf("%s %g", to, math.Round(s.share)))
	}
	out := strings.Join(parts, ", ")
	for _, m := range r.Route.RequestMirrorPolicies {
		to, _ := service(m.Cluster)
		out += fmt.Sprintf(" mirrored to %s %d", strings.TrimPrefix(to, app+"-"), m.RuntimeFraction.DefaultValue.Numerator)
	}
	return out + r.treatment()
}

func (r *contourRoute) treatment() (out string) {
	if r.Route.Timeout != "" {
		out += " timeout " + r.Route.Timeout
	}
	if r.Route.RetryPolicy.RetryOn != "" {
		out += fmt.Sprintf(" retries %d %s", r.Route.RetryPolicy.NumRetries, r.Route.RetryPolicy.RetryOn)
	}
	for _, u := range r.Route.UpgradeConfigs {
		out += " upgrades " + u.UpgradeType
	}
	return out
}

type contourShare struct {
	to    string
	share float64
}

// all are the Services that get requests, with their shares in percent, sorted by name.
func (r *contourRoute) all() (out []contourShare) {
	clusters, total := r.Route.WeightedClusters.Clusters, 0
	if r.Route.Cluster != "" {
		clusters = []envoyCluster{{Name: r.Route.Cluster, Weight: 1}}
	}
	for _, c := range clusters {
		total += c.Weight
	}
	for _, c := range clusters {
		if c.Weight > 0 {
			name, port := service(c.Name)
			out = append(out, contourShare{name + ":" + port, 100 * float64(c.Weight) / float64(total)})
		}
	}
	slices.SortFunc(out, func(a, b contourShare) int { return strings.Compare(a.to, b.to) })
	return out
}

// service is what a cluster of Contour's is of: NAMESPACE/NAME/PORT/SETTINGS.
func service(cluster string) (name, port string) {
	parts := strings.Split(cluster, "/")
	return parts[1], parts[2]
}
