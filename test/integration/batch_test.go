package integration

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/batch"
	"github.com/sluice-delivery/sluice/metrics/builtin"
	"github.com/sluice-delivery/sluice/metrics/prometheus"
)

// batchedPages are two scrapes, a minute apart, of applications of which some have no requests, some only bad ones, and some
// are not there.
func batchedPages(r *rand.Rand, apps int, end time.Time) []string {
	pages := make([]string, 2)
	for i := range apps {
		if i%7 == 6 {
			continue
		}
		for scrape := range pages {
			at := end.Add(time.Duration(scrape-len(pages)) * 30 * time.Second).UnixMilli()
			labels := func(more string) string {
				return fmt.Sprintf(`{reporter="destination",destination_workload_namespace="app-%d",destination_workload="podinfo"%s}`, i, more)
			}
			grown := scrape * r.IntN(50)
			if i%7 == 5 {
				grown = 0
			}
			for code, n := range map[string]int{"200": 100 + grown, "503": 10 + scrape*r.IntN(20)} {
				if i%7 == 4 && code == "200" || i%7 == 5 && code == "503" {
					continue
				}
				pages[scrape] += fmt.Sprintf("istio_requests_total%s %d %d\n", labels(fmt.Sprintf(`,response_code=%q,grpc_response_status=""`, code)), n, at)
			}
			for _, le := range []string{"10", "100", "1000", "+Inf"} {
				pages[scrape] += fmt.Sprintf("istio_request_duration_milliseconds_bucket%s %d %d\n", labels(fmt.Sprintf(`,le=%q`, le)), 100+grown, at)
			}
		}
	}
	return pages
}

// batchedQueries are all that a built-in metric of an application may need, and one that no server understands.
func batchedQueries(t *testing.T, apps int) (out []string) {
	t.Helper()
	sources, err := builtin.Sources(v1beta1.ProviderIstio, v1beta1.ProviderIstio)
	if err != nil {
		t.Fatal(err)
	}
	for i := range apps {
		v := builtin.Vars{Name: "podinfo", Namespace: fmt.Sprint("app-", i), Target: "podinfo", Primary: "podinfo-primary", Kind: "Deployment", Service: "podinfo", Interval: "1m"}
		which, err := builtin.Which(sources, v)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, which)
		for _, s := range sources {
			for _, query := range []func() (string, error){
				func() (string, error) { return s.Expr(v1beta1.MetricRequestSuccessRate, v) },
				func() (string, error) { return s.Expr(v1beta1.MetricRequestDuration, v) },
				func() (string, error) { return s.Requests(builtin.Canary, v) },
				func() (string, error) { return s.Scrapes(builtin.Canary, v) },
			} {
				expr, err := query()
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, expr)
			}
		}
	}
	return append(out, `istio_requests_total`)
}

// TestBatched asks a real Prometheus for all that the releases of many applications need, by itself and together, at the
// same moment: each query gets the same, be it a number, none, not a number or an error.
func TestBatched(t *testing.T) {
	const apps = 28
	r := rand.New(rand.NewPCG(1, 2))
	end := time.Now().Truncate(time.Second)
	target, err := url.Parse(scraped(t, batchedPages(r, apps, end)))
	if err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int64
	forward := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	clock := clocktesting.NewFakePassiveClock(end)
	provider, err := prometheus.New(metrics.Config{Type: "prometheus", Address: server.URL, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	queries := batchedQueries(t, apps)
	alone, together := make([]string, len(queries)), make([]string, len(queries))
	kinds := map[string]int{}
	for i, expr := range queries {
		sample, err := provider.Query(t.Context(), metrics.Query{Expr: expr})
		alone[i] = answered(sample, err)
		kinds[strings.Fields(alone[i])[0]]++
	}
	if kinds["number"] < apps || kinds["none"] < apps || kinds["NaN"] == 0 || kinds["error"] == 0 {
		t.Errorf("the answers are %v: not of each kind", kinds)
	}
	requests.Store(0)
	batched := batch.New(provider, clock)
	var wg sync.WaitGroup
	for i, expr := range queries {
		wg.Go(func() {
			sample, err := batched.QueryTogether(t.Context(), metrics.Query{Expr: expr})
			together[i] = answered(sample, err)
		})
	}
	wg.Wait()
	for i, expr := range queries {
		if together[i] != alone[i] {
			t.Errorf("%s\nalone: %s\ntogether: %s", expr, alone[i], together[i])
		}
	}
	n := requests.Load()
	t.Logf("%d queries by %d requests: %v", len(queries), n, kinds)
	if int(n)*5 > len(queries) {
		t.Errorf("%d requests for %d queries", n, len(queries))
	}
}

// TestCountedTogether asks a real Prometheus how many requests many applications had in the time before a moment that is past:
// by one request for many of them each gets what it gets by itself.
func TestCountedTogether(t *testing.T) {
	const apps = 28
	end := time.Now().Truncate(time.Second)
	provider, err := prometheus.New(metrics.Config{Type: "prometheus", Address: scraped(t, batchedPages(rand.New(rand.NewPCG(3, 4)), apps, end))})
	if err != nil {
		t.Fatal(err)
	}
	sources, err := builtin.Sources(v1beta1.ProviderIstio, v1beta1.ProviderIstio)
	if err != nil {
		t.Fatal(err)
	}
	batched := batch.New(provider, nil)
	var wg sync.WaitGroup
	var counted atomic.Int64
	for i := range apps {
		for _, metric := range builtin.Names() {
			wg.Go(func() {
				at := end.Add(-time.Duration(i) * 500 * time.Millisecond)
				v := builtin.Vars{Name: "podinfo", Namespace: fmt.Sprint("app-", i), Target: "podinfo", Primary: "podinfo-primary", Kind: "Deployment", Service: "podinfo", Interval: "31s", Before: "1h"}
				read := func(query func(context.Context, metrics.Query) ([]metrics.Series, error), v builtin.Vars, q metrics.Query) builtin.Counted {
					var err error
					if q.Expr, err = sources[0].Counts(metric, v, builtin.Canary, builtin.Primary); err != nil {
						t.Error(err)
					}
					series, err := query(t.Context(), q)
					if err != nil {
						t.Error(err)
					}
					return sources[0].Read(metric, builtin.Canary, series)
				}
				alone := read(provider.QuerySeries, v, metrics.Query{At: at})
				v.At = at
				if d := cmp.Diff(alone, read(batched.QuerySeriesTogether, v, metrics.Query{})); d != "" {
					t.Errorf("%s of app %d, alone and together: %s", metric, i, d)
				}
				if alone.Failures.Requests > 0 || alone.Durations.Requests > 0 {
					counted.Add(1)
				}
			})
		}
	}
	wg.Wait()
	if n := counted.Load(); n < apps {
		t.Errorf("%d of %d queries counted any request", n, 2*apps)
	}
}

// answered is what a query was answered, to the last bit.
func answered(sample metrics.Sample, err error) string {
	switch {
	case metrics.IsNoData(err):
		return "none"
	case err != nil:
		return "error " + err.Error()
	case math.IsNaN(sample.Value):
		return "NaN"
	default:
		return fmt.Sprintf("number %x", math.Float64bits(sample.Value))
	}
}
