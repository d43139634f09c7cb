package integration

import (
	"math"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/model"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/builtin"
	"github.com/sluice-delivery/sluice/metrics/prometheus"
)

// nativePod is a pod that counts its requests in a native histogram and in nothing else.
type nativePod struct {
	name      string
	born      int // scrape
	restarts  int // scrape; 0 is never
	perScrape int
	slow, bad float64 // shares of its requests
	durations *client.HistogramVec
	// all, failed and late are its requests in each scrape.
	all, failed, late []int
}

// scrape lets the time between two scrapes pass.
func (p *nativePod) scrape(r *rand.Rand, at int) {
	all, failed, late := 0, 0, 0
	if at >= p.born {
		if at == p.born || p.restarts > 0 && at == p.restarts {
			p.durations = client.NewHistogramVec(client.HistogramOpts{
				Name: "http_request_duration_seconds", NativeHistogramBucketFactor: 1.1,
				ConstLabels: client.Labels{"kubernetes_namespace": "test", "kubernetes_pod_name": p.name},
			}, []string{"status"})
		}
		for range p.perScrape {
			all++
			status, took := "200", 0.02+0.02*r.Float64()
			if r.Float64() < p.bad {
				status, failed = "503", failed+1
			}
			if r.Float64() < p.slow {
				took, late = 0.3+0.3*r.Float64(), late+1
			}
			p.durations.WithLabelValues(status).Observe(took)
		}
	}
	p.all, p.failed, p.late = append(p.all, all), append(p.failed, failed), append(p.late, late)
}

// nativePods are what pods have counted at a time.
type nativePods struct {
	pods []*nativePod
	at   time.Time
}

// Describe implements client.Collector: what there is changes.
func (nativePods) Describe(chan<- *client.Desc) {}

// Collect implements client.Collector.
func (all nativePods) Collect(out chan<- client.Metric) {
	for _, p := range all.pods {
		if p.durations == nil {
			continue
		}
		one := make(chan client.Metric)
		go func() {
			p.durations.Collect(one)
			close(one)
		}()
		for m := range one {
			out <- client.NewMetricWithTimestamp(all.at, m)
		}
	}
}

// TestNativeHistograms: what a real Prometheus has scraped of native histograms every 15 seconds, of pods that are born and
// restart, is counted as it was: requests, those that failed, and those that were slow.
func TestNativeHistograms(t *testing.T) {
	const scrapes = 40
	r := rand.New(rand.NewPCG(3, 3))
	pods := []*nativePod{
		{name: "podinfo-7d4b9c6f58-x2x2x", born: 5, perScrape: 150, slow: 0.06, bad: 0.03},
		{name: "podinfo-7d4b9c6f58-z4z4z", born: 5, perScrape: 150, slow: 0.06, bad: 0.03, restarts: 20},
		{name: "podinfo-primary-6c8d7b5f94-b6b6b", born: 0, perScrape: 600, slow: 0.01, bad: 0.01},
	}
	begin := time.Now().Add(-scrapes * scrapeEvery * time.Second).Truncate(time.Second)
	var mu sync.Mutex
	shown := -1
	address := scrapedFrom(t, scrapes, func(w http.ResponseWriter, request *http.Request, page int) {
		mu.Lock()
		defer mu.Unlock()
		for ; shown < page; shown++ {
			for _, p := range pods {
				p.scrape(r, shown+1)
			}
		}
		registry := client.NewRegistry()
		registry.MustRegister(nativePods{pods: pods, at: begin.Add(time.Duration(page*scrapeEvery) * time.Second)})
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, request)
	})
	provider, err := prometheus.New(metrics.Config{Type: "prometheus", Address: address})
	if err != nil {
		t.Fatal(err)
	}
	sources, err := builtin.Sources(v1beta1.ProviderKubernetes, v1beta1.ProviderKubernetes)
	if err != nil {
		t.Fatal(err)
	}
	v := builtin.Vars{
		Name: "podinfo", Namespace: "test", Target: "podinfo", Primary: "podinfo-primary", Kind: "Deployment", Service: "podinfo",
		Interval: model.Duration(scrapeEvery * time.Second).String(), Before: "1h",
	}
	query := func(expr string, err error, scrape int) []metrics.Series {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		series, err := provider.QuerySeries(t.Context(), metrics.Query{Expr: expr, At: begin.Add(time.Duration(scrape*scrapeEvery) * time.Second)})
		if err != nil {
			t.Fatalf("%v: %s", err, expr)
		}
		return series
	}
	which, err := builtin.Which(sources, v)
	if found := query(which, err, scrapes/2); len(found) != 1 || found[0].Value != 1 {
		t.Errorf("the application that counts is found as %v", found)
	}
	var counted, want [2][3]float64 // of canary and primary: requests, failed and slow ones
	for scrape := 1; scrape < scrapes; scrape++ {
		for i, version := range []builtin.Version{builtin.Canary, builtin.Primary} {
			for _, metric := range builtin.Names() {
				classic, err := sources[0].Counts(metric, v, version)
				if series := query(classic, err, scrape); len(series) > 0 {
					t.Fatalf("a native histogram has classic series: %v", series)
				}
			}
			expr, err := sources[0].NativeCounts(v1beta1.MetricRequestSuccessRate, v, nil, version)
			failures := sources[0].Read(v1beta1.MetricRequestSuccessRate, version, query(expr, err, scrape)).Failures
			expr, err = sources[0].NativeCounts(v1beta1.MetricRequestDuration, v, []float64{100, 1000}, version)
			durations := sources[0].Read(v1beta1.MetricRequestDuration, version, query(expr, err, scrape)).Durations
			slow := 0.0
			if len(durations.Bounds) == 2 {
				slow = durations.SlowerThan(0).Bad
			}
			if durations.Requests != failures.Requests {
				t.Errorf("scrape %d: %g requests were counted, and the durations of %g", scrape, failures.Requests, durations.Requests)
			}
			for k, n := range []float64{failures.Requests, failures.Bad, slow} {
				counted[i][k] += n
			}
		}
	}
	for _, p := range pods {
		i := 0
		if p.name == pods[2].name {
			i = 1
		}
		for scrape := 1; scrape < scrapes; scrape++ {
			want[i][0], want[i][1], want[i][2] = want[i][0]+float64(p.all[scrape]), want[i][1]+float64(p.failed[scrape]), want[i][2]+float64(p.late[scrape])
		}
	}
	t.Logf("counted %v, there were %v", counted, want)
	for i := range want {
		for k := range want[i] {
			if math.Abs(counted[i][k]-want[i][k]) > 0.01*want[i][k] {
				t.Errorf("version %d, number %d: counted %g, there were %g", i, k, counted[i][k], want[i][k])
			}
		}
	}
}
