package checks

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/prometheus"
	"github.com/sluice-delivery/sluice/webhooks"
)

// BenchmarkPaceBesideSlowServers is how long a round of 200 Canaries takes,
// alone and beside 20 Canaries whose metrics server answers after 30 seconds and
// 20 that have a hook which hangs. The ratio of both is what the slow ones cost
// the others; 1 is nothing.
func BenchmarkPaceBesideSlowServers(b *testing.B) {
	var ratios []float64
	for b.Loop() {
		alone := slowest(b, 0)
		beside := slowest(b, 20)
		ratios = append(ratios, beside.Seconds()/alone.Seconds())
		b.Logf("the last of 200 rounds ends after %s alone, %s beside slow servers", alone.Round(time.Millisecond), beside.Round(time.Millisecond))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "beside/alone")
}

// slowest starts the rounds of 200 Canaries at once, after those of some whose
// servers are slow, and gives the time until the last of the 200 has ended.
func slowest(b *testing.B, slow int) time.Duration {
	b.Helper()
	const quick = 200
	ended := make(chan struct{})
	server := func(handler http.HandlerFunc) string {
		s := httptest.NewServer(handler)
		b.Cleanup(s.Close)
		return s.URL
	}
	answer := func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[0,"100"]}]}}`)
	}
	wait := func(r *http.Request) {
		select {
		case <-ended:
		case <-r.Context().Done():
		case <-time.After(30 * time.Second):
		}
	}
	good := server(answer)
	late := server(func(w http.ResponseWriter, r *http.Request) { wait(r); answer(w, r) })
	hanging := server(func(_ http.ResponseWriter, r *http.Request) { wait(r) })
	guard, err := webhooks.NewGuard(nil, []string{"127.0.0.1"})
	if err != nil {
		b.Fatal(err)
	}
	hooks := &Hooks{Client: webhooks.NewClient(webhooks.Options{Clock: clock.RealClock{}, Guard: guard}), Clock: clock.RealClock{}}
	known := map[string]metrics.Provider{}
	for _, address := range []string{good, late} {
		if known[address], err = prometheus.New(metrics.Config{Address: address}); err != nil {
			b.Fatal(err)
		}
	}
	known["http://default:9090"] = known[good] // where a Canary names none
	k := newTestChecker(nil, func(c *Config) {
		c.Sources = servers(func(address string) (metrics.Provider, error) { return known[address], nil })
		c.Hooks, c.Concurrency, c.Clock = hooks.Call, 64, clock.RealClock{}
	})

	isQuick := map[string]bool{}
	for i := range slow {
		c := newCanary(fmt.Sprintf("late-%d", i)).metrics(2).Canary
		c.Spec.MetricsServer = late
		k.Run(b.Context(), c, id(1), nil)
		c = newCanary(fmt.Sprintf("hanging-%d", i)).metrics(2).Canary
		c.Spec.Analysis.Webhooks = []v1beta1.CanaryWebhook{{Name: "hangs", URL: hanging}}
		k.Run(b.Context(), c, id(1), nil)
	}
	began := time.Now()
	for i := range quick {
		c := newCanary(fmt.Sprintf("quick-%d", i)).metrics(2).Canary
		c.Spec.Analysis.Webhooks = []v1beta1.CanaryWebhook{{Name: "answers", URL: good}}
		isQuick[c.Name] = true
		k.Run(b.Context(), c, id(1), nil)
	}
	for left := quick; left > 0; {
		if e := <-k.Finished(); isQuick[e.Object.GetName()] {
			left--
		}
	}
	took := time.Since(began)
	close(ended)
	return took
}
