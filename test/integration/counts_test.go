package integration

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/builtin"
	"github.com/sluice-delivery/sluice/metrics/compare"
	"github.com/sluice-delivery/sluice/metrics/prometheus"
)

const (
	scrapeEvery = 15 // seconds
	// countedPast and countedFor are seconds before and after a release begins.
	countedPast, countedFor = 300, 600
)

// countedPod is a pod whose requests a Prometheus has counted. Its series of failed requests is born with the first of them.
type countedPod struct {
	name, workload string
	phase          int
	born, restarts int // seconds; 0 is never
	perSecond      int
	share          float64
	good, bad      int // of its present process
	// seen is what was scraped since the release began, and scraped the counters at the last scrape.
	seen, scraped compare.Counts
}

// second lets a second pass.
func (p *countedPod) second(r *rand.Rand, s int) {
	if s < p.born {
		return
	}
	if p.restarts != 0 && s == p.restarts {
		p.good, p.bad, p.scraped = 0, 0, compare.Counts{}
	}
	for range p.perSecond {
		if r.Float64() < p.share {
			p.bad++
		} else {
			p.good++
		}
	}
}

// scrape writes the counters.
func (p *countedPod) scrape(page *strings.Builder, namespace string, s int, at time.Time) {
	now := compare.Counts{Requests: float64(p.good + p.bad), Bad: float64(p.bad)}
	if s > 0 {
		p.seen = p.seen.Plus(now.Since(p.scraped))
	}
	p.scraped = now
	for code, n := range map[string]int{"200": p.good, "503": p.bad} {
		if n > 0 {
			fmt.Fprintf(page, "istio_requests_total{reporter=\"destination\",destination_workload_namespace=%q,destination_workload=%q,pod=%q,response_code=%q,grpc_response_status=\"\"} %d %d\n",
				namespace, p.workload, p.name, code, n, at.UnixMilli())
		}
	}
}

// countedApp is an application in a release: two fresh pods of the canary, one of which restarts, a third that comes
// later, and four of the primary.
func countedApp(r *rand.Rand, canary float64) []*countedPod {
	pods := []*countedPod{
		{name: "c0", workload: "podinfo", born: 1, perSecond: 1, share: canary},
		{name: "c1", workload: "podinfo", born: 1, perSecond: 1, share: canary, restarts: 200},
		{name: "c2", workload: "podinfo", born: 300, perSecond: 1, share: canary},
	}
	for i := range 4 {
		pods = append(pods, &countedPod{name: fmt.Sprint("p", i), workload: "podinfo-primary", born: -countedPast, perSecond: 4, share: 0.01, good: 9000, bad: 90})
	}
	for _, p := range pods {
		p.phase = r.IntN(scrapeEvery)
	}
	return pods
}

// TestCountsAddUp: looks at a real Prometheus see every request that was scraped once, and the comparison comes to its
// verdicts with them as it does with what was scraped.
func TestCountsAddUp(t *testing.T) {
	const apps = 12
	r := rand.New(rand.NewPCG(1, 1))
	begin := time.Now().Add(-countedFor * time.Second).Truncate(time.Second)
	var all [][]*countedPod
	var truth [apps]map[int][2]compare.Counts // by the second of a look, of canary and primary
	for i := range apps {
		canary := 0.01
		if i%2 == 1 {
			canary = 0.06
		}
		all = append(all, countedApp(r, canary))
		truth[i] = map[int][2]compare.Counts{}
	}
	var pages []string
	var page strings.Builder
	for s := -countedPast; s <= countedFor; s++ {
		for i, pods := range all {
			var seen [2]compare.Counts
			for _, p := range pods {
				p.second(r, s)
				if (s+countedPast)%scrapeEvery == p.phase && s >= p.born {
					p.scrape(&page, fmt.Sprint("app-", i), s, begin.Add(time.Duration(s)*time.Second))
				}
				of := 0
				if p.workload != "podinfo" {
					of = 1
				}
				seen[of] = seen[of].Plus(p.seen)
			}
			if s >= 0 && s%scrapeEvery == 0 {
				truth[i][s] = seen
			}
		}
		if (s+countedPast)%5 == 4 || s == countedFor {
			pages = append(pages, page.String())
			page.Reset()
		}
	}
	provider, err := prometheus.New(metrics.Config{Type: "prometheus", Address: scraped(t, pages)})
	if err != nil {
		t.Fatal(err)
	}
	source, err := builtin.Sources(v1beta1.ProviderIstio, v1beta1.ProviderIstio)
	if err != nil {
		t.Fatal(err)
	}
	var sums, scrapedSums [2]compare.Counts
	took, want := [2]int{}, [2]int{} // looks until the rollback, of good and of bad canaries
	for i := range apps {
		app := lookedAt{provider: provider, source: source[0], namespace: fmt.Sprint("app-", i), begin: begin}
		counted, looks := app.run(t, nil)
		_, wanted := app.run(t, truth[i])
		took[i%2] += looks
		want[i%2] += wanted
		last := truth[i][countedFor]
		for of, got := range counted {
			sums[of], scrapedSums[of] = sums[of].Plus(got), scrapedSums[of].Plus(last[of])
			// A series that begins anew at what it had before is not seen to have begun anew.
			if got.Requests < last[of].Requests-2 || got.Requests > last[of].Requests || got.Bad > last[of].Bad+2 {
				t.Errorf("app %d, version %d: counted %+v, scraped were %+v", i, of, got, last[of])
			}
		}
	}
	t.Logf("looks until a rollback: good canaries %d, bad ones %d; by what was scraped %d and %d", took[0], took[1], want[0], want[1])
	t.Logf("counted %.0f, scraped %.0f", sums, scrapedSums)
	for of, got := range sums {
		if got.Requests < 0.999*scrapedSums[of].Requests || got.Bad < 0.985*scrapedSums[of].Bad {
			t.Errorf("version %d: counted %+v of %+v", of, got, scrapedSums[of])
		}
	}
	if d := took[1] - want[1]; d*5 > want[1] || -d*5 > want[1] {
		t.Errorf("looks until a rollback are %v, by what was scraped %v", took, want)
	}
	if never := apps / 2 * (countedFor/scrapeEvery + 1); took[0] != never || took[1] >= never/2 {
		t.Errorf("good canaries are found after %d looks, bad ones after %d", took[0], took[1])
	}
}

// lookedAt is a release that is looked at every 15 seconds.
type lookedAt struct {
	provider  metrics.SeriesProvider
	source    builtin.Source
	namespace string
	begin     time.Time
}

// run gives what was counted, and after how many looks the release was rolled back: by the metrics server, or by what
// truth has for the second of a look.
func (a lookedAt) run(t *testing.T, truth map[int][2]compare.Counts) (counted [2]compare.Counts, looks int) {
	t.Helper()
	j := compare.Judge{Confidence: 0.99, Metrics: []compare.Metric{compare.Failures("errors")}}
	state, err := j.Begin([]compare.History{{Minutes: [][]compare.Counts{{{Requests: 960, Bad: 9}}}}})
	if err != nil {
		t.Fatal(err)
	}
	looks = countedFor/scrapeEvery + 1
	rolledBack := false
	for s := scrapeEvery; s <= countedFor; s += scrapeEvery {
		b := compare.Block{Length: scrapeEvery * time.Second}
		if truth == nil {
			b.Canary, b.Primary = a.count(t, s)
		} else {
			for of, to := range []*compare.Counts{&b.Canary, &b.Primary} {
				*to = truth[s][of].Since(truth[s-scrapeEvery][of])
			}
		}
		counted[0], counted[1] = counted[0].Plus(b.Canary), counted[1].Plus(b.Primary)
		if state, err = j.Look(state, []compare.Reading{{Metric: "errors", Blocks: []compare.Block{b}}}); err != nil {
			t.Fatal(err)
		}
		if !rolledBack && j.Answer(state, compare.Question{}).Verdict == compare.WorseThanTolerated {
			rolledBack, looks = true, s/scrapeEvery
		}
	}
	return counted, looks
}

// count asks for what came in the 15 seconds before a second.
func (a lookedAt) count(t *testing.T, s int) (canary, primary compare.Counts) {
	t.Helper()
	expr, err := a.source.Counts(v1beta1.MetricRequestSuccessRate, builtin.Vars{
		Name: "podinfo", Namespace: a.namespace, Target: "podinfo", Primary: "podinfo-primary", Kind: "Deployment", Service: "podinfo",
		Interval: model.Duration(scrapeEvery * time.Second).String(), Before: "1h",
	}, builtin.Canary, builtin.Primary)
	if err != nil {
		t.Fatal(err)
	}
	series, err := a.provider.QuerySeries(t.Context(), metrics.Query{Expr: expr, At: a.begin.Add(time.Duration(s) * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	return a.source.Read(v1beta1.MetricRequestSuccessRate, builtin.Canary, series).Failures,
		a.source.Read(v1beta1.MetricRequestSuccessRate, builtin.Primary, series).Failures
}
