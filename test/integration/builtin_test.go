package integration

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/builtin"
	"github.com/sluice-delivery/sluice/metrics/prometheus"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// Counters are exposed as they were every 5 seconds for two minutes.
const (
	tick  = 5 * time.Second
	ticks = 24
)

// traffic is what a canary answered in each tick.
type traffic struct {
	good, bad float64
	// restarts is the tick after which the counters begin at 0 again; 0: they never do.
	restarts int
	// unlike a canary without requests, one that is missing has no counters at all.
	missing bool
	nan     bool
}

// at are the counters at a tick.
func (x traffic) at(k int) (good, bad float64) {
	if x.restarts > 0 && k > x.restarts {
		k -= x.restarts
	}
	good, bad = x.good*float64(k), x.bad*float64(k)
	if x.nan {
		good, bad = math.NaN(), math.NaN()
	}
	return good, bad
}

// meshes write the counters of a canary as each mesh's proxies do: name is that of
// the namespace, and where there is none that of the service. All requests take
// 50 to 100 milliseconds.
var meshes = map[string]func(out *strings.Builder, name string, good, bad float64, at int64){
	v1beta1.ProviderIstio: func(out *strings.Builder, name string, good, bad float64, at int64) {
		labels := fmt.Sprintf(`reporter="destination",destination_workload_namespace=%q,destination_workload="podinfo"`, name)
		fmt.Fprintf(out, "istio_requests_total{%s,response_code=\"200\",grpc_response_status=\"0\"} %v %d\n", labels, good/2, at)
		fmt.Fprintf(out, "istio_requests_total{%s,response_code=\"404\",grpc_response_status=\"\"} %v %d\n", labels, good/2, at)
		fmt.Fprintf(out, "istio_requests_total{%s,response_code=\"503\",grpc_response_status=\"\"} %v %d\n", labels, bad/2, at)
		// gRPC's errors hide in an HTTP 200.
		fmt.Fprintf(out, "istio_requests_total{%s,response_code=\"200\",grpc_response_status=\"14\"} %v %d\n", labels, bad/2, at)
		buckets(out, "istio_request_duration_milliseconds_bucket", labels, []string{"50", "100", "+Inf"}, good+bad, at)
	},
	v1beta1.ProviderLinkerd: func(out *strings.Builder, name string, good, bad float64, at int64) {
		labels := fmt.Sprintf(`direction="inbound",namespace=%q,deployment="podinfo"`, name)
		fmt.Fprintf(out, "response_total{%s,classification=\"success\"} %v %d\n", labels, good, at)
		fmt.Fprintf(out, "response_total{%s,classification=\"failure\"} %v %d\n", labels, bad, at)
		buckets(out, "response_latency_ms_bucket", labels, []string{"50", "100", "+Inf"}, good+bad, at)
	},
	v1beta1.ProviderConsul: func(out *strings.Builder, name string, good, bad float64, at int64) {
		labels := fmt.Sprintf(`local_cluster=%q,envoy_cluster_name="local_app"`, name)
		fmt.Fprintf(out, "envoy_cluster_upstream_rq_xx{%s,envoy_response_code_class=\"2\"} %v %d\n", labels, good, at)
		fmt.Fprintf(out, "envoy_cluster_upstream_rq_xx{%s,envoy_response_code_class=\"5\"} %v %d\n", labels, bad, at)
		buckets(out, "envoy_cluster_upstream_rq_time_bucket", labels, []string{"50", "100", "+Inf"}, good+bad, at)
	},
	v1beta1.ProviderKubernetes: func(out *strings.Builder, name string, good, bad float64, at int64) {
		labels := fmt.Sprintf(`kubernetes_namespace=%q,kubernetes_pod_name="podinfo-5d4bb7fdf8-4bz8p"`, name)
		fmt.Fprintf(out, "http_request_duration_seconds_count{%s,status=\"200\"} %v %d\n", labels, good, at)
		fmt.Fprintf(out, "http_request_duration_seconds_count{%s,status=\"500\"} %v %d\n", labels, bad, at)
		buckets(out, "http_request_duration_seconds_bucket", labels, []string{"0.05", "0.1", "+Inf"}, good+bad, at)
	},
}

// buckets writes a histogram of requests that all are in the second bucket. Its
// counts are never NaN.
func buckets(out *strings.Builder, name, labels string, bounds []string, n float64, at int64) {
	if math.IsNaN(n) {
		n = 0
	}
	for i, le := range bounds {
		count := n
		if i == 0 {
			count = 0
		}
		fmt.Fprintf(out, "%s{%s,le=%q} %v %d\n", name, labels, le, count, at)
	}
}

// TestBuiltInQueries asks the built-in queries of each mesh of a real Prometheus
// that has scraped what canaries of all kinds publish.
func TestBuiltInQueries(t *testing.T) {
	const none = -1 // no value: nothing came back, or not a number
	cases := map[string]struct {
		traffic
		wantRate, wantDuration float64
	}{
		"good":      {traffic{good: 10}, 100, 99.5},
		"bad":       {traffic{good: 8, bad: 2}, 80, 99.5},
		"all-bad":   {traffic{bad: 10}, 0, 99.5},
		"restarted": {traffic{good: 8, bad: 2, restarts: 18}, 80, 99.5},
		"idle":      {traffic{}, none, none},
		"missing":   {traffic{missing: true}, none, none},
		"nan":       {traffic{nan: true}, none, none},
	}
	end := time.Now().Truncate(time.Second)
	pages := make([]string, ticks+1)
	for k := range pages {
		var page strings.Builder
		at := end.Add(time.Duration(k-ticks) * tick).UnixMilli()
		for name, c := range cases {
			for _, write := range meshes {
				if good, bad := c.at(k); !c.missing {
					write(&page, name, good, bad, at)
				}
			}
		}
		pages[k] = page.String()
	}
	address := scraped(t, pages)
	provider, err := prometheus.New(metrics.Config{Type: "prometheus", Address: address, Clock: clocktesting.NewFakePassiveClock(end)})
	if err != nil {
		t.Fatal(err)
	}
	for mesh := range meshes {
		for name, c := range cases {
			t.Run(mesh+"/"+name, func(t *testing.T) {
				for metric, want := range map[string]float64{v1beta1.MetricRequestSuccessRate: c.wantRate, v1beta1.MetricRequestDuration: c.wantDuration} {
					sources, err := builtin.Sources(mesh, mesh)
					if err != nil {
						t.Fatal(err)
					}
					expr, err := sources[0].Expr(metric, builtin.Vars{
						Name: "podinfo", Namespace: name, Target: "podinfo", Primary: "podinfo-primary", Kind: "Deployment", Service: name, Interval: "1m",
					})
					if err != nil {
						t.Fatal(err)
					}
					got, err := provider.Query(t.Context(), metrics.Query{Expr: expr})
					switch {
					case want == none && (metrics.IsNoData(err) || err == nil && math.IsNaN(got.Value)):
					case want == none || err != nil || math.Abs(got.Value-want) > 0.01:
						t.Errorf("%s is %v, %v; want %v\n%s", metric, got.Value, err, want, expr)
					}
				}
			})
		}
	}
}

// scraped starts a Prometheus that scrapes the pages one after the other, and
// gives its address once it has all.
func scraped(t *testing.T, pages []string) string {
	t.Helper()
	return scrapedFrom(t, len(pages), func(w http.ResponseWriter, _ *http.Request, page int) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, pages[page])
	})
}

// scrapedFrom is scraped with a number of pages that serve writes, the last one again and again.
func scrapedFrom(t *testing.T, pages int, serve func(w http.ResponseWriter, r *http.Request, page int)) string {
	t.Helper()
	var served atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serve(w, r, min(int(served.Add(1)), pages)-1)
	}))
	t.Cleanup(target.Close)
	binary, err := cluster.Binary("prometheus")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := fmt.Sprintf("scrape_configs:\n- job_name: canaries\n  scrape_interval: 50ms\n  scrape_native_histograms: true\n  scrape_timeout: 50ms\n  static_configs:\n  - targets: [%q]\n",
		strings.TrimPrefix(target.URL, "http://"))
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	address := free(t)
	var log strings.Builder
	ctx, stop := context.WithCancel(t.Context())
	server := exec.CommandContext(ctx, binary, "--config.file", filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", address, "--log.level", "warn")
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = server.Wait()
		if t.Failed() {
			t.Logf("Prometheus says\n%s", log.String())
		}
	})
	err = rig.Await(t.Context(), "all pages being scraped", limit, func(context.Context) error {
		// One more: then the last one was not only served, but stored.
		if n := served.Load(); n <= int64(pages) {
			return fmt.Errorf("%d of %d", n, pages)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + address
}

// free is an address of this machine that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
