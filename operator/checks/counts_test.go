package checks

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/compare"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/judgement"
)

// tally is a Prometheus that has counted so much.
type tally struct {
	fakeProvider
	err error
	// asked are the queries, each with its time, and ranges those over a time.
	asked  []metrics.Query
	ranges int
}

func series(value float64, labels ...string) metrics.Series {
	out := metrics.Series{Value: value, Labels: map[string]string{}}
	for i := 0; i < len(labels); i += 2 {
		out.Labels[labels[i]] = labels[i+1]
	}
	return out
}

func (p *tally) series(expr string) []metrics.Series {
	if !strings.Contains(expr, "_bucket") {
		return []metrics.Series{series(100, "count", "canary"), series(98, "count", "canary-good"), series(900, "count", "primary"), series(891, "count", "primary-good")}
	}
	var out []metrics.Series
	for of, below := range map[string][]float64{"canary": {10, 60, 90, 100}, "primary": {100, 700, 890, 900}} {
		for i, bound := range []string{"50", "250", "500", "+Inf"} {
			out = append(out, series(below[i], "count", of, "le", bound))
		}
	}
	return out
}

func (p *tally) QuerySeries(_ context.Context, q metrics.Query) ([]metrics.Series, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, q)
	return p.series(q.Expr), p.err
}

func (p *tally) QueryRange(_ context.Context, q metrics.Query, from, to time.Time, step time.Duration) ([][]metrics.Series, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ranges++
	out := make([][]metrics.Series, to.Sub(from)/step+1)
	for i := len(out) - 30; i < len(out); i++ { // the application is half an hour old
		out[i] = p.series(q.Expr)
	}
	return out, p.err
}

// compared is a Canary at step 1 whose requests were counted until 15 s ago.
func compared(all ...v1beta1.CanaryMetric) *v1beta1.Canary {
	c := newCanary("a").Canary
	c.Spec.Analysis.Metrics = all
	c.Status.Step = &v1beta1.StepStatus{Index: 1}
	c.Status.Judgement = &v1beta1.JudgementStatus{Step: 1, Counted: metav1.NewMicroTime(start.Add(-15 * time.Second))}
	return c
}

func compares(name string) v1beta1.CanaryMetric {
	return v1beta1.CanaryMetric{Name: name, Comparison: &v1beta1.MetricComparison{}}
}

// ended runs what an id names and gives its end.
func ended(t *testing.T, k *Checker, c *v1beta1.Canary, id release.CheckID) *release.CheckRun {
	t.Helper()
	seen, _ := k.Results(c)
	k.Run(t.Context(), c, id, seen)
	awaitFinished(t, k)
	run, _ := k.Results(c)
	return run
}

func TestCounts(t *testing.T) {
	p := &tally{}
	k := newTestChecker(p)
	slow := compares(v1beta1.MetricRequestDuration)
	slow.ThresholdRange = &v1beta1.CanaryThresholdRange{Max: new(400.0)}
	c := compared(compares(v1beta1.MetricRequestSuccessRate), slow, v1beta1.CanaryMetric{Name: "health", Query: "health"})
	run := ended(t, k, c, id(1))
	if run.Counted == nil || !run.Counted.Since.Equal(start.Add(-15*time.Second)) || !run.Counted.At.Equal(start) || len(run.Counted.Readings) != 2 {
		t.Fatalf("counted %+v, results %+v", run.Counted, run.Results)
	}
	failures, slowness := run.Counted.Readings[0], run.Counted.Readings[1]
	want := []compare.Block{{Canary: compare.Counts{Requests: 100, Bad: 2}, Primary: compare.Counts{Requests: 900, Bad: 9}, Length: 15 * time.Second}}
	if d := cmp.Diff(want, failures.Blocks); d != "" {
		t.Error(d)
	}
	if h := failures.History; h == nil || len(h.Minutes) != 1 || len(h.Minutes[0]) != 30 || h.Minutes[0][0] != (compare.Counts{Requests: 900, Bad: 9}) {
		t.Errorf("history %+v", h)
	}
	if d := cmp.Diff([]float64{500, 50, 250}, slowness.History.Edges); d != "" {
		t.Errorf("edges: %s", d)
	}
	if b := slowness.Blocks; len(b) != 3 || b[0].Canary != (compare.Counts{Requests: 100, Bad: 10}) || b[0].Primary.Bad != 10 || b[2].Canary.Bad != 40 {
		t.Errorf("slow requests %+v", b)
	}
	for _, q := range p.asked {
		if !q.At.Equal(start) || !strings.Contains(q.Expr, "[15s]") || !strings.Contains(q.Expr, "[1h] offset 15s") {
			t.Errorf("asked at %s for %s", q.At, q.Expr)
		}
	}
	if got := slower(compare.Histogram{}, 500); got != (compare.Counts{}) {
		t.Errorf("of no histogram %+v are slow", got)
	}
	if got := slower(compare.Histogram{Bounds: []float64{100}, Below: []float64{7}, Requests: 9}, 500); got.Bad != 2 {
		t.Errorf("beyond the last bound %+v are slow", got)
	}
	if r := run.Results; len(r) != 3 || r[0].Source != "istio" || r[0].Verdict != v1beta1.CheckPassed || r[0].Value != "" || r[1].Value != "100" || r[2].Value != "100" {
		t.Errorf("results %+v", r)
	}

	// The next look has the history in the status.
	if !judgement.Take(c.GetAnalysis(), &c.Status, run.Counted, time.Hour) {
		t.Fatal("not taken")
	}
	c.Status.Judgement.Counted = metav1.NewMicroTime(start.Add(-10 * time.Second))
	next := id(1)
	next.Look = 1
	run = ended(t, k, c, next)
	if len(run.Results) != 0 || run.Counted == nil || run.Counted.Readings[0].History != nil || p.ranges != 2 {
		t.Errorf("a look gives %+v, %d histories were asked for", run, p.ranges)
	}
	if b := run.Counted.Readings[1].Blocks; len(b) != 3 || b[0].Canary.Bad != 10 || b[0].Length != 10*time.Second {
		t.Errorf("slow requests at the edges of the evidence %+v", b)
	}
}

// together is a tally that answers queries of many by one request, unless it is too old for the moment in them.
type together struct {
	tally
	old   bool
	grown []string
}

func (p *together) QuerySeriesTogether(ctx context.Context, q metrics.Query) ([]metrics.Series, error) {
	p.mu.Lock()
	p.grown = append(p.grown, q.Expr)
	p.mu.Unlock()
	if p.old {
		return nil, &metrics.QueryError{Message: "unexpected character: '@'"}
	}
	return p.QuerySeries(ctx, q)
}

// TestCountsTogether: requests are counted with those of other Canaries, at the moment that the query names; of a server that
// knows no such moment by themselves.
func TestCountsTogether(t *testing.T) {
	for name, old := range map[string]bool{"a server that can": false, "one that is too old": true} {
		t.Run(name, func(t *testing.T) {
			p := &together{old: old}
			run := ended(t, newTestChecker(p), compared(compares(v1beta1.MetricRequestSuccessRate)), id(1))
			if run.Counted == nil || run.Counted.Readings[0].Blocks[0].Canary != (compare.Counts{Requests: 100, Bad: 2}) {
				t.Fatalf("counted %+v, results %+v", run.Counted, run.Results)
			}
			moment := fmt.Sprintf("[15s] @ %d.", start.Unix())
			if len(p.grown) != 1 || !strings.Contains(p.grown[0], moment) {
				t.Errorf("asked together for %v, want %s in it", p.grown, moment)
			}
			if last := p.asked[len(p.asked)-1]; old != last.At.Equal(start) || old == strings.Contains(last.Expr, " @ ") {
				t.Errorf("the server was asked at %s for %s", last.At, last.Expr)
			}
		})
	}
}

// native is a tally whose histograms are native ones.
type native struct{ tally }

func (p *native) series(expr string) []metrics.Series {
	if strings.Contains(expr, "_bucket") {
		return nil // no series has this name
	}
	var out []metrics.Series
	for _, le := range boundOf.FindAllStringSubmatch(expr, -1) {
		bound, _ := strconv.ParseFloat(le[1], 64)
		for of, n := range map[string]float64{"canary": 100, "primary": 900} {
			if strings.Contains(expr, strconv.Quote(of)) {
				out = append(out, series(n*min(1, bound/1000), "count", of, "le", le[1])) // they take up to a second
			}
		}
	}
	return out
}

var boundOf = regexp.MustCompile(`"le", "([^"]+)"`)

func (p *native) QuerySeries(_ context.Context, q metrics.Query) ([]metrics.Series, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, q)
	return p.series(q.Expr), nil
}

func (p *native) QueryRange(_ context.Context, q metrics.Query, from, to time.Time, step time.Duration) ([][]metrics.Series, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ranges++
	out := make([][]metrics.Series, to.Sub(from)/step+1)
	for i := range out {
		out[i] = p.series(q.Expr)
	}
	return out, nil
}

// TestCountsOfNativeHistograms: where no series has buckets, slow requests are counted by native histograms, first at many
// durations, of which the primary's history chooses, then at those.
func TestCountsOfNativeHistograms(t *testing.T) {
	p := &native{}
	k := newTestChecker(p)
	slow := compares(v1beta1.MetricRequestDuration)
	slow.ThresholdRange = &v1beta1.CanaryThresholdRange{Max: new(400.0)}
	c := compared(slow)
	run := ended(t, k, c, id(1))
	if run.Counted == nil || len(run.Counted.Readings) != 1 || p.ranges != 1 {
		t.Fatalf("counted %+v, %d histories, results %+v", run.Counted, p.ranges, run.Results)
	}
	r := run.Counted.Readings[0]
	if d := cmp.Diff([]float64{400, 500}, r.History.Edges); d != "" {
		t.Errorf("edges: %s", d)
	}
	if b := r.Blocks; len(b) != 2 || b[0].Canary != (compare.Counts{Requests: 100, Bad: 60}) || b[0].Primary != (compare.Counts{Requests: 900, Bad: 540}) || b[1].Canary.Bad != 50 {
		t.Errorf("slow requests %+v", b)
	}
	if h := r.History.Minutes; len(h) != 2 || len(h[0]) != 360 || h[0][0] != (compare.Counts{Requests: 900, Bad: 540}) {
		t.Errorf("history of %d edges", len(h))
	}
	if !judgement.Take(c.GetAnalysis(), &c.Status, run.Counted, time.Hour) {
		t.Fatal("not taken")
	}
	c.Status.Judgement.Counted = metav1.NewMicroTime(start.Add(-10 * time.Second))
	next := id(1)
	next.Look = 1
	run = ended(t, k, c, next)
	if b := run.Counted.Readings[0].Blocks; len(b) != 2 || b[1].Canary != (compare.Counts{Requests: 100, Bad: 50}) {
		t.Errorf("slow requests at the edges of the evidence %+v", b)
	}
	if last := p.asked[len(p.asked)-1].Expr; strings.Contains(last, `"10000"`) || !strings.Contains(last, "histogram_fraction(-Inf, 400, ") {
		t.Errorf("asked for durations that say nothing: %s", last)
	}
}

// TestCountsFail: what can't be counted gives no verdict, and nothing is counted of the other metrics either.
func TestCountsFail(t *testing.T) {
	p := &tally{err: &metrics.UnavailableError{Provider: "prometheus", Err: errors.New("it is down")}}
	for name, tc := range map[string]struct {
		provider metrics.Provider
		metrics  []v1beta1.CanaryMetric
		want     v1beta1.CheckVerdict
		says     string
	}{
		"no answer":        {p, []v1beta1.CanaryMetric{compares(v1beta1.MetricRequestSuccessRate)}, v1beta1.CheckUnavailable, "it is down"},
		"no series":        {&fakeProvider{}, []v1beta1.CanaryMetric{compares(v1beta1.MetricRequestSuccessRate)}, v1beta1.CheckFailed, "gives no series"},
		"no such template": {&tally{}, []v1beta1.CanaryMetric{{Name: "x", TemplateRef: &v1beta1.CrossNamespaceObjectReference{Name: "x"}, Comparison: &v1beta1.MetricComparison{}}}, v1beta1.CheckUnavailable, "no templates here"},
	} {
		t.Run(name, func(t *testing.T) {
			run := ended(t, newTestChecker(tc.provider), compared(tc.metrics...), id(1))
			if run.Counted != nil || run.Results[0].Verdict != tc.want || !strings.Contains(run.Results[0].Message, tc.says) {
				t.Errorf("counted %+v, results %+v", run.Counted, run.Results)
			}
		})
	}
	c := compared(compares(v1beta1.MetricRequestSuccessRate))
	c.Status.Judgement = nil
	if run := ended(t, newTestChecker(&tally{}), c, id(1)); run.Counted != nil || run.Results[0].Verdict != v1beta1.CheckPassed {
		t.Errorf("before the counting began: %+v", run)
	}
}

// templates are Sources with one template.
type templates struct {
	servers
	provider metrics.Provider
}

func (s templates) Template(context.Context, *v1beta1.Canary, v1beta1.CanaryMetric) (metrics.Provider, metrics.Query, error) {
	return s.provider, metrics.Query{Expr: "value"}, nil
}

func (s templates) Count(_ context.Context, _ *v1beta1.Canary, _ v1beta1.CanaryMetric, version string, bad bool, interval string) (metrics.Provider, metrics.Query, error) {
	expr := "requests of " + version + " in " + interval
	if bad {
		expr = "bad " + expr
	}
	return s.provider, metrics.Query{Expr: expr}, nil
}

func TestCountsOfTemplate(t *testing.T) {
	p := &fakeProvider{answer: func(_ context.Context, q metrics.Query) (metrics.Sample, error) {
		if !q.At.Equal(start) {
			return metrics.Sample{}, errors.New("it is about another time")
		}
		value, ok := map[string]float64{
			"requests of canary in 15s": 100, "bad requests of canary in 15s": 3, "requests of primary in 15s": 900,
		}[q.Expr]
		if !ok {
			return metrics.Sample{}, metrics.ErrNoData
		}
		return metrics.Sample{Value: value}, nil
	}}
	k := newTestChecker(p, func(c *Config) { c.Sources = templates{c.Sources.(servers), p} })
	run := ended(t, k, compared(v1beta1.CanaryMetric{Name: "checkout", TemplateRef: &v1beta1.CrossNamespaceObjectReference{Name: "checkout"}, Comparison: &v1beta1.MetricComparison{}}), id(1))
	want := []release.Reading{{
		Metric:  "checkout",
		Blocks:  []compare.Block{{Canary: compare.Counts{Requests: 100, Bad: 3}, Primary: compare.Counts{Requests: 900}, Length: 15 * time.Second}},
		History: &compare.History{},
	}}
	if run.Counted == nil {
		t.Fatalf("nothing counted: %+v", run.Results)
	}
	if d := cmp.Diff(want, run.Counted.Readings); d != "" {
		t.Error(d)
	}
}
