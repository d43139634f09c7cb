package integration

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
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
