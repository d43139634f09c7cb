package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul"
	"github.com/sluice-delivery/sluice/providers/routertest"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// consulRights are what docs/consul.md says that the operator's token needs.
const consulRights = `
service_prefix "" { policy = "write" intentions = "write" }
node_prefix "" { policy = "read" }
`

// TestConsul has the router write to a real Consul server with ACLs and TLS, and
// judges what it wrote by the server's own discovery chain.
func TestConsul(t *testing.T) {
	server, err := cluster.StartConsul(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Kill)
	token, err := server.NewToken(t.Context(), "sluice", consulRights)
	if err != nil {
		t.Fatal(err)
	}
	c := &consulTest{Consul: server, token: token}
	t.Run("conformance", func(t *testing.T) { routertest.Run(t, c.world) })
	t.Run("discovery chain", c.testChain)
	t.Run("intentions", c.testIntentions)
	t.Run("rights", c.testRights)
}

type consulTest struct {
	*cluster.Consul
	token string
	made  atomic.Int64
}

// canary is one whose service nothing else uses, with instances of both halves.
func (c *consulTest) canary(t *testing.T) *v1beta1.Canary {
	t.Helper()
	name := fmt.Sprintf("app%d", c.made.Add(1))
	for _, half := range []string{"-primary", "-canary"} {
		c.register(t, name+half)
	}
	return &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name},
			Service:   v1beta1.CanaryService{Port: 80},
			Analysis:  &v1beta1.CanaryAnalysis{Interval: "10s", Threshold: 1, StepWeight: 10},
		},
	}
}

func (c *consulTest) register(t *testing.T, service string) {
	t.Helper()
	if err := c.Register(t.Context(), service); err != nil {
		t.Fatal(err)
	}
}

// router is one that is at work until the test ends, and a count of its writes.
func (c *consulTest) router(t *testing.T) (*consul.Router, *atomic.Int64) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(c.token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	writes := &atomic.Int64{}
	r := consul.New(consul.Config{
		Address: c.Address, TokenFile: file, CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile,
		Wrap: func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				if r.Method != http.MethodGet {
					writes.Add(1)
				}
				return next.RoundTrip(r)
			})
		},
	}, clock.RealClock{})
	run(t, r)
	return r, writes
}

// run starts a router, and reads its events, until the test ends.
func run(t *testing.T, r *consul.Router) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Start(ctx) }()
	go func() {
		for {
			select {
			case <-r.Changed():
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// ready waits until a router knows what there is.
func ready(t *testing.T, r providers.Router, canary *v1beta1.Canary) {
	t.Helper()
	await(t, "the first answer", func(ctx context.Context) error {
		_, err := r.Observe(ctx, route(canary, 0))
		return err
	})
}

func (c *consulTest) world(t *testing.T) routertest.World {
	canary := c.canary(t)
	r, writes := c.router(t)
	ready(t, r, canary)
	return routertest.World{
		Router: r, Canary: canary, Deadline: limit,
		Writes: func() int { return int(writes.Load()) },
		Drift: func(t *testing.T, traffic providers.Traffic) {
			e := c.entry(t, "service-splitter", canary.Name)
			e["Splits"] = splits(canary.Name, traffic)
			c.put(t, e)
		},
		Users: func(t *testing.T) func(*testing.T) {
			splitter := map[string]any{"Kind": "service-splitter", "Name": canary.Name, "Meta": map[string]any{"of": "a user"}, "Splits": []any{
				map[string]any{"Weight": 100, "ServiceSubset": "v1"}, map[string]any{"Weight": 0, "ServiceSubset": "v2"},
			}}
			resolver := map[string]any{"Kind": "service-resolver", "Name": canary.Name, "ConnectTimeout": "3s", "Subsets": map[string]any{
				"v1": map[string]any{"Filter": "Service.Meta.version == v1"}, "v2": map[string]any{"Filter": "Service.Meta.version == v2"},
			}}
			defaults := map[string]any{"Kind": "service-defaults", "Name": canary.Name, "Protocol": "http", "LocalConnectTimeoutMs": 900}
			all := []map[string]any{defaults, resolver, splitter}
			before := make([]map[string]any, len(all))
			for i, e := range all {
				c.put(t, e)
				before[i] = c.entry(t, e["Kind"].(string), canary.Name)
			}
			return func(t *testing.T) {
				for i, e := range all {
					if d := cmp.Diff(content(before[i]), content(c.entry(t, e["Kind"].(string), canary.Name))); d != "" {
						t.Errorf("%s (-was +is)\n%s", e["Kind"], d)
					}
				}
			}
		},
		// There is no Replay: once the halves are without their protocol, Consul refuses the splitter of a release, "uses a protocol
		// "tcp" that does not permit advanced routing or splitting behavior". A Consul that takes it is held to it in memory.
		Others: func(t *testing.T) func(*testing.T) {
			c.put(t, map[string]any{"Kind": "service-defaults", "Name": canary.Name, "Protocol": "http"})
			c.put(t, map[string]any{
				"Kind": "service-router", "Name": canary.Name, "Meta": map[string]any{"external-source": "kubernetes"},
				"Routes": []any{map[string]any{"Match": map[string]any{"HTTP": map[string]any{"PathPrefix": "/a"}}}},
			})
			c.put(t, map[string]any{
				"Kind": "service-splitter", "Name": canary.Name, "Meta": map[string]any{"external-source": "kubernetes"}, "Splits": []any{map[string]any{"Weight": 100}},
			})
			before := c.entry(t, "service-splitter", canary.Name)
			return func(t *testing.T) {
				if d := cmp.Diff(before, c.entry(t, "service-splitter", canary.Name)); d != "" {
					t.Errorf("(-was +is)\n%s", d)
				}
			}
		},
		Mistakes: map[string]func(*v1beta1.Canary){
			"timeout": func(c *v1beta1.Canary) { c.Spec.Service.Timeout = "soon" },
			"retries": func(c *v1beta1.Canary) { r := raw(`{"attempts":"many"}`); c.Spec.Service.Retries = &r },
			"match": func(c *v1beta1.Canary) {
				c.Spec.Analysis.Match = []v1beta1.RawObject{raw(`{"method":{"exact":"FETCH"}}`)}
			},
		},
	}
}

func splits(apex string, traffic providers.Traffic) []any {
	return []any{
		map[string]any{"Service": apex + "-primary", "Weight": traffic.Primary}, map[string]any{"Service": apex + "-canary", "Weight": traffic.Canary},
	}
}

// entry reads a config entry.
func (c *consulTest) entry(t *testing.T, kind, name string) map[string]any {
	t.Helper()
	var out map[string]any
	if err := c.Call(t.Context(), http.MethodGet, "/v1/config/"+kind+"/"+name, nil, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// put writes a config entry as somebody else does.
func (c *consulTest) put(t *testing.T, e map[string]any) {
	t.Helper()
	if err := c.Call(t.Context(), http.MethodPut, "/v1/config", e, nil); err != nil {
		t.Fatal(err)
	}
}

// content is an entry without what every write changes.
func content(e map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range e {
		if k != "CreateIndex" && k != "ModifyIndex" {
			out[k] = v
		}
	}
	return out
}

// compiled is what Consul's discovery chain does with requests for a service: routes with their
// conditions in order, each with who gets how much. The last is for the rest.
func (c *consulTest) compiled(t *testing.T, service string) []string {
	t.Helper()
	var out struct {
		Chain struct {
			StartNode string
			Nodes     map[string]struct {
				Type   string
				Routes []struct {
					Definition struct {
						Match *struct{ HTTP json.RawMessage }
					}
					NextNode string
				}
				Splits []struct {
					Definition struct {
						ResponseHeaders *struct{ Add map[string]string }
					}
					Weight   float64
					NextNode string
				}
				Resolver struct{ Target string }
			}
			Targets map[string]struct{ Service string }
		}
	}
	if err := c.Call(t.Context(), http.MethodGet, "/v1/discovery-chain/"+service, nil, &out); err != nil {
		t.Fatal(err)
	}
	var show func(node string) string
	show = func(node string) string {
		n := out.Chain.Nodes[node]
		if n.Type == "resolver" {
			return out.Chain.Targets[n.Resolver.Target].Service
		}
		var parts []string
		for _, s := range n.Splits {
			part := fmt.Sprintf("%g%% %s", s.Weight, show(s.NextNode))
			if h := s.Definition.ResponseHeaders; h != nil {
				part += " " + strings.SplitN(h.Add["set-cookie"], ";", 2)[0]
			}
			parts = append(parts, part)
		}
		return strings.Join(parts, ", ")
	}
	start := out.Chain.Nodes[out.Chain.StartNode]
	if start.Type != "router" {
		return []string{show(out.Chain.StartNode)}
	}
	var routes []string
	for _, r := range start.Routes {
		line := show(r.NextNode)
		if m := r.Definition.Match; m != nil && string(m.HTTP) != `{"PathPrefix":"/"}` {
			line = string(m.HTTP) + ": " + line
		}
		routes = append(routes, line)
	}
	return routes
}

// testChain judges every kind of traffic by what Consul makes of it.
func (c *consulTest) testChain(t *testing.T) {
	sessions := providers.Sessions{Canary: "a", Primary: "1", Raised: 10}
	const toPrimary = "100% NAME-primary, 0% NAME-canary"
	for name, tc := range map[string]struct {
		change  func(*v1beta1.Canary)
		pods    bool // the target's pods are registered as the service itself
		traffic providers.Traffic
		want    []string
	}{
		"weights":              {traffic: providers.Traffic{Primary: 70, Canary: 30}, want: []string{"70% NAME-primary, 30% NAME-canary"}},
		"weights, one service": {pods: true, traffic: providers.Traffic{Primary: 70, Canary: 30}, want: []string{"70% NAME-primary, 30% NAME"}},
		"A/B":                  {change: beta, traffic: providers.Traffic{Canary: 100, Matched: true}, want: []string{`{"Header":[{"Name":"x-beta","Present":true}]}: NAME-canary`, toPrimary}},
		"A/B, one service":     {change: beta, pods: true, traffic: providers.Traffic{Canary: 100, Matched: true}, want: []string{`{"Header":[{"Name":"x-beta","Present":true}]}: NAME`, "100% NAME-primary, 0% NAME"}},
		"A/B with shares":      {change: beta, traffic: providers.Traffic{Primary: 60, Canary: 40, Matched: true}, want: []string{`{"Header":[{"Name":"x-beta","Present":true}]}: 60% NAME-primary, 40% NAME-canary`, toPrimary}},
		"sessions": {
			change: sticky, traffic: providers.Traffic{Primary: 80, Canary: 20, Sessions: sessions},
			want: []string{
				`{"Header":[{"Name":"cookie","Regex":"(.*;\\s*)?v=a\\s*(;.*)?"}]}: NAME-canary`,
				`{"Header":[{"Name":"cookie","Regex":"(.*;\\s*)?v-primary=1\\.ca978112\\s*(;.*)?"}]}: NAME-primary`,
				`{"Header":[{"Name":"cookie","Regex":"(.*;\\s*)?v-primary=[^;]*\\.ca978112\\s*(;.*)?"}]}: 88.89% NAME-primary v-primary=1.ca978112, 11.11% NAME-canary v=a`,
				"80% NAME-primary v-primary=1.ca978112, 20% NAME-canary v=a",
			},
		},
		"sessions have ended": {
			change: sticky, traffic: providers.Traffic{Primary: 100, Sessions: providers.Sessions{Ended: "a"}},
			want: []string{`{"Header":[{"Name":"cookie","Regex":"(.*;\\s*)?v=a\\s*(;.*)?"}]}: ` + toPrimary, toPrimary},
		},
		"settings": {
			change: func(c *v1beta1.Canary) {
				c.Spec.Service.Timeout, c.Spec.Service.Match = "5s", []v1beta1.RawObject{raw(`{"uri":{"prefix":"/api"}}`)}
			},
			traffic: providers.Traffic{Primary: 90, Canary: 10},
			want:    []string{`{"PathPrefix":"/api"}: 90% NAME-primary, 10% NAME-canary`, "NAME-primary", "90% NAME-primary, 10% NAME-canary"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			canary := c.canary(t)
			if tc.change != nil {
				tc.change(canary)
			}
			r, _ := c.router(t)
			at := providers.Route{Canary: canary, Traffic: tc.traffic}
			if tc.pods {
				at.PodAnnotations = map[string]string{consul.ServiceAnnotation: canary.Name}
				// Without clients so far: there is an instance only once the route is there.
				first := at
				first.Traffic = providers.Traffic{Primary: 100}
				ready(t, r, canary)
				settle(t, r, first)
				c.register(t, canary.Name)
			}
			ready(t, r, canary)
			settle(t, r, at)
			got := c.compiled(t, canary.Name)
			for i := range got {
				got[i] = strings.ReplaceAll(got[i], canary.Name, "NAME")
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func beta(c *v1beta1.Canary) {
	c.Spec.Analysis.Match = []v1beta1.RawObject{raw(`{"headers":{"x-beta":{}}}`)}
}

func sticky(c *v1beta1.Canary) {
	c.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "v"}
}

// testIntentions follows what guards a service.
func (c *consulTest) testIntentions(t *testing.T) {
	canary := c.canary(t)
	halves := []string{canary.Name + "-primary", canary.Name + "-canary"}
	guard := func(action string) {
		c.put(t, map[string]any{"Kind": "service-intentions", "Name": canary.Name, "Sources": []any{
			map[string]any{"Name": "web", "Action": action},
			map[string]any{"Name": "*", "Permissions": []any{map[string]any{"Action": "allow", "HTTP": map[string]any{"PathPrefix": "/health"}}}},
		}})
	}
	c.put(t, map[string]any{"Kind": "service-defaults", "Name": canary.Name, "Protocol": "http"})
	guard("allow")
	r, writes := c.router(t)
	ready(t, r, canary)
	for _, action := range []string{"allow", "deny"} {
		guard(action)
		want := c.entry(t, "service-intentions", canary.Name)["Sources"]
		await(t, "the intention "+action, func(ctx context.Context) error {
			if err := r.Apply(ctx, route(canary, 10)); err != nil {
				return err
			}
			state, err := r.Observe(ctx, route(canary, 10))
			if err != nil || !state.InSync {
				return fmt.Errorf("it is %+v, %w", state, err)
			}
			for _, half := range halves {
				if d := cmp.Diff(want, c.entry(t, "service-intentions", half)["Sources"]); d != "" { //nolint:contextcheck // reads by the context of the test
					return fmt.Errorf("%s: %s", half, d)
				}
			}
			return nil
		})
	}
	before := writes.Load()
	settle(t, r, route(canary, 10))
	if n := writes.Load() - before; n != 0 {
		t.Errorf("with nothing changed it wrote %d times", n)
	}
	deleted := canary.DeepCopy()
	deleted.DeletionTimestamp = new(metav1.Now())
	if err := r.Release(t.Context(), route(deleted, 0)); err != nil {
		t.Fatal(err)
	}
	for _, half := range halves {
		var got any
		if err := c.Call(t.Context(), http.MethodGet, "/v1/config/service-intentions/"+half, nil, &got); err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("%s is still guarded by %v, %v", half, got, err)
		}
	}
	if c.entry(t, "service-intentions", canary.Name)["Sources"] == nil {
		t.Error("the service's own intentions are gone")
	}
}

// testRights: a token that may not do what the documentation asks for is told.
func (c *consulTest) testRights(t *testing.T) {
	canary := c.canary(t)
	token, err := c.NewToken(t.Context(), "reader", `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`)
	if err != nil {
		t.Fatal(err)
	}
	reader := &consulTest{Consul: c.Consul, token: token}
	r, _ := reader.router(t)
	ready(t, r, canary)
	if err := r.Apply(t.Context(), route(canary, 0)); !providers.IsUnreachable(err) || !strings.Contains(err.Error(), "refuses the token") || strings.Contains(err.Error(), token) {
		t.Errorf("without the right to write: %v", err)
	}
}
