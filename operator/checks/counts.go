package checks

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/builtin"
	"github.com/sluice-delivery/sluice/metrics/compare"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/judgement"
	"github.com/sluice-delivery/sluice/operator/rollout/rounds"
)

const (
	// historyOf is how far back the primary's history goes, minute by minute.
	historyOf = 6 * time.Hour
	// countedBefore is how far before a time the last value of a counter is looked for.
	countedBefore = time.Hour
	// slowByDefault are the milliseconds beyond which requests are slow where neither spec nor history says.
	slowByDefault = 500
)

// counts are the requests of both versions since the status has counted them, for the metrics that compare them. All
// queries are about the same time, and all of them must be answered: what was not counted now is counted the next time.
// errs are why a metric could not be counted, by its index.
func (k counter) counts(ctx context.Context, c *v1beta1.Canary) (counted *release.Counted, errs map[int]error) {
	a := c.GetAnalysis()
	if !a.Compares() || c.Status.Judgement == nil {
		return nil, nil
	}
	w := window{since: c.Status.Judgement.Counted.Time, at: k.Clock.Now().Truncate(time.Millisecond), history: !judgement.Known(a, &c.Status)}
	if w.at.Sub(w.since) < time.Millisecond {
		return nil, nil
	}
	readings := make([]*release.Reading, len(a.Metrics))
	var mu sync.Mutex
	errs = map[int]error{}
	var wg sync.WaitGroup
	for i := range a.Metrics {
		if a.Metrics[i].Comparison == nil {
			continue
		}
		wg.Go(func() {
			place := k.Sources.Place(ctx, c, a.Metrics[i])
			k.queries.do(ctx, c.Namespace, place, func() {
				r, err := k.reading(ctx, c, i, w)
				mu.Lock()
				defer mu.Unlock()
				if readings[i] = r; err != nil {
					errs[i] = err
				}
			})
		})
	}
	wg.Wait()
	counted = &release.Counted{Since: w.since, At: w.at}
	for i, r := range readings {
		switch {
		case a.Metrics[i].Comparison == nil:
		case r == nil:
			return nil, errs
		default:
			counted.Readings = append(counted.Readings, *r)
		}
	}
	return counted, errs
}

// counter counts requests.
type counter struct{ *Checker }

// window is the time in which requests are counted.
type window struct {
	since, at time.Time
	// history is true where the primary's is needed too.
	history bool
}

func (w window) length() time.Duration { return w.at.Sub(w.since) }

// interval is its length as Prometheus writes it.
func (w window) interval() string {
	return model.Duration(w.length().Truncate(time.Millisecond)).String()
}

// reading counts for one metric.
func (k counter) reading(ctx context.Context, c *v1beta1.Canary, index int, w window) (r *release.Reading, err error) {
	ctx, cancel := context.WithTimeout(ctx, k.Timeout)
	defer cancel()
	metric := c.GetAnalysis().Metrics[index]
	mistake := contained(ctx, c, metric.Name, func() {
		if metric.IsBuiltIn() {
			r, err = k.readBuiltIn(ctx, c, index, w)
			return
		}
		r, err = k.readTemplate(ctx, c, metric, w)
	})
	if mistake != nil {
		return nil, mistake
	}
	return r, err
}

// readBuiltIn counts for a built-in metric, by who counted for it the last time, else by the first who has requests of the
// primary.
func (k counter) readBuiltIn(ctx context.Context, c *v1beta1.Canary, index int, w window) (*release.Reading, error) {
	of, err := k.counting(ctx, c, index)
	if err != nil {
		return nil, err
	}
	server, ok := of.server.(metrics.SeriesProvider)
	if !ok {
		return nil, &metrics.QueryError{Message: "the metrics server gives no series of counts; Prometheus does"}
	}
	source, err := k.countingSource(ctx, c, of, index)
	if err != nil {
		return nil, err
	}
	of.vars.Interval, of.vars.Before = w.interval(), model.Duration(countedBefore).String()
	series, err := k.classicSeries(ctx, server, source, of, w)
	if err != nil {
		return nil, err
	}
	var native []float64 // the bounds that native histograms are read at
	if len(series) == 0 {
		bounds := nativeBounds(c, of.metric, w)
		if series, err = k.nativeSeries(ctx, server, source, of, w, bounds); err != nil {
			return nil, err
		}
		if len(series) > 0 {
			native = bounds
		}
	}
	canary, primary := source.Read(of.metric.Name, builtin.Canary, series), source.Read(of.metric.Name, builtin.Primary, series)
	var minutes []builtin.Counted
	if w.history {
		if minutes, err = k.history(ctx, server, source, of, w, native); err != nil {
			return nil, err
		}
	}
	if judgement.Latency(&of.metric) {
		r := slowness(c, of.metric, w, canary.Durations, primary.Durations, minutes)
		r.Source = source.Name
		return r, nil
	}
	r := &release.Reading{Metric: of.metric.Name, Source: source.Name, Blocks: []compare.Block{{Canary: canary.Failures, Primary: primary.Failures, Length: w.length()}}}
	if w.history {
		failures := make([]compare.Counts, len(minutes))
		for i, m := range minutes {
			failures[i] = m.Failures
		}
		r.History = &compare.History{Minutes: [][]compare.Counts{failures}}
	}
	return r, nil
}

// countingSource is who counted the metric's requests in the last round, else the first of those that may whose series the
// server has.
func (k counter) countingSource(ctx context.Context, c *v1beta1.Canary, of *counting, index int) (builtin.Source, error) {
	if before := rounds.Before(c.Status.Checks, c.GetAnalysis().Metrics, index); before != nil {
		if i := slices.IndexFunc(of.sources, func(s builtin.Source) bool { return s.Name == before.Source }); i >= 0 {
			return of.sources[i], nil
		}
	}
	if len(of.sources) == 1 {
		return of.sources[0], nil
	}
	which, err := of.which(ctx)
	if err != nil {
		return builtin.Source{}, fmt.Errorf("find who counts requests: %w", err)
	}
	if which == nil {
		return of.sources[0], nil
	}
	return *which, nil
}

// classicSeries are counts by counters and classic histograms: with those of other Canaries by one request, if the server
// answers such.
func (k counter) classicSeries(ctx context.Context, server metrics.SeriesProvider, source builtin.Source, of *counting, w window) ([]metrics.Series, error) {
	if many, ok := server.(metrics.SeriesTogether); ok {
		pinned := of.vars
		pinned.At = w.at
		expr, err := source.Counts(of.metric.Name, pinned, builtin.Canary, builtin.Primary)
		if err != nil {
			return nil, err
		}
		series, err := many.QuerySeriesTogether(ctx, metrics.Query{Expr: expr})
		if !metrics.IsQueryError(err) { // an older server has no @ in its language
			return series, wrapped(err)
		}
	}
	expr, err := source.Counts(of.metric.Name, of.vars, builtin.Canary, builtin.Primary)
	if err != nil {
		return nil, err
	}
	series, err := server.QuerySeries(ctx, metrics.Query{Expr: expr, At: w.at})
	return series, wrapped(err)
}

// wrapped says of an error that it came of the counting.
func wrapped(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("count requests: %w", err)
}

// nativeSeries are counts by native histograms, none where there are none.
func (k counter) nativeSeries(ctx context.Context, server metrics.SeriesProvider, source builtin.Source, of *counting, w window, bounds []float64) ([]metrics.Series, error) {
	expr, err := source.NativeCounts(of.metric.Name, of.vars, bounds, builtin.Canary, builtin.Primary)
	if err != nil || expr == "" {
		return nil, err
	}
	series, err := server.QuerySeries(ctx, metrics.Query{Expr: expr, At: w.at})
	return series, wrapped(err)
}

// nativeBounds are the durations at which native histograms are read: those that the evidence is about, and where there is
// none yet as many as one may be chosen of.
func nativeBounds(c *v1beta1.Canary, metric v1beta1.CanaryMetric, w window) []float64 {
	if edges := judgement.Edges(&c.Status, metric.Name); !w.history && len(edges) > 0 {
		return edges
	}
	bounds := builtin.NativeBounds()
	if r := metric.ThresholdRange; r != nil && r.Max != nil && *r.Max > 0 {
		bounds = append(bounds, *r.Max)
	}
	slices.Sort(bounds)
	return slices.Compact(bounds)
}

// history is what was counted of the primary in the minutes before, without those at the beginning in which it had nothing.
// native are the bounds of native histograms, none for classic ones.
func (k counter) history(ctx context.Context, server metrics.SeriesProvider, source builtin.Source, of *counting, w window, native []float64) ([]builtin.Counted, error) {
	vars := of.vars
	vars.Interval, vars.Before = "1m", ""
	expr, err := source.Counts(of.metric.Name, vars, builtin.Primary)
	if len(native) > 0 {
		expr, err = source.NativeCounts(of.metric.Name, vars, native, builtin.Primary)
	}
	if err != nil {
		return nil, err
	}
	all, err := server.QueryRange(ctx, metrics.Query{Expr: expr}, w.since.Add(-historyOf).Add(time.Minute), w.since, time.Minute)
	if err != nil {
		return nil, fmt.Errorf("read the history of the primary: %w", err)
	}
	var out []builtin.Counted
	for _, series := range all {
		m := source.Read(of.metric.Name, builtin.Primary, series)
		if len(out) > 0 || m.Failures.Requests > 0 || m.Durations.Requests > 0 {
			out = append(out, m)
		}
	}
	return out, nil
}

// slowness are the requests slower than each edge of a metric's evidence. With a history the edges are chosen by it.
func slowness(c *v1beta1.Canary, metric v1beta1.CanaryMetric, w window, canary, primary compare.Histogram, minutes []builtin.Counted) *release.Reading {
	r := &release.Reading{Metric: metric.Name}
	edges := judgement.Edges(&c.Status, metric.Name)
	if w.history {
		r.History = historyOfDurations(metric, minutes)
		edges = r.History.Edges
	}
	for _, edge := range edges {
		r.Blocks = append(r.Blocks, compare.Block{Canary: slower(canary, edge), Primary: slower(primary, edge), Length: w.length()})
	}
	return r
}

func historyOfDurations(metric v1beta1.CanaryMetric, minutes []builtin.Counted) *compare.History {
	limit := 0.0
	if r := metric.ThresholdRange; r != nil && r.Max != nil {
		limit = *r.Max
	}
	var all compare.Histogram
	for _, m := range minutes {
		all = plus(all, m.Durations)
	}
	out := &compare.History{}
	for _, i := range compare.Edges(all, limit) {
		out.Edges = append(out.Edges, all.Bounds[i])
	}
	if len(out.Edges) == 0 { // the primary has had no requests
		if limit <= 0 {
			limit = slowByDefault
		}
		out.Edges = []float64{limit}
	}
	for _, edge := range out.Edges {
		var counts []compare.Counts
		for _, m := range minutes {
			counts = append(counts, slower(m.Durations, edge))
		}
		out.Minutes = append(out.Minutes, counts)
	}
	return out
}

// plus are two histograms as one, with the bounds that the second has.
func plus(a, b compare.Histogram) compare.Histogram {
	if len(b.Bounds) == 0 {
		return a
	}
	out := compare.Histogram{Bounds: b.Bounds, Below: slices.Clone(b.Below), Requests: a.Requests + b.Requests}
	for i, bound := range out.Bounds {
		if k := slices.Index(a.Bounds, bound); k >= 0 {
			out.Below[i] += a.Below[k]
		}
	}
	return out
}

// slower are the requests that took longer than an edge: than the first bound that is not below it, or else the last.
func slower(h compare.Histogram, edge float64) compare.Counts {
	if len(h.Bounds) == 0 {
		return compare.Counts{} // nobody knows how long they took
	}
	i := slices.IndexFunc(h.Bounds, func(b float64) bool { return b >= edge*(1-1e-9) })
	if i < 0 {
		i = len(h.Bounds) - 1
	}
	return h.SlowerThan(i)
}

// readTemplate counts by the queries of a MetricTemplate.
func (k counter) readTemplate(ctx context.Context, c *v1beta1.Canary, metric v1beta1.CanaryMetric, w window) (*release.Reading, error) {
	number := func(version builtin.Version, bad bool, at time.Time, interval string) (float64, error) {
		provider, query, err := k.Sources.Count(ctx, c, metric, string(version), bad, interval)
		if err != nil {
			return 0, err
		}
		query.At, query.Interval = at, w.length()
		sample, err := provider.Query(ctx, query)
		if err != nil && !metrics.IsNoData(err) {
			return 0, err
		}
		if !(sample.Value > 0) { // nor is NaN a request
			return 0, nil
		}
		return sample.Value, nil
	}
	counts := func(version builtin.Version) (compare.Counts, error) {
		all, err := number(version, false, w.at, w.interval())
		if err != nil {
			return compare.Counts{}, err
		}
		bad, err := number(version, true, w.at, w.interval())
		return compare.Counts{Requests: all, Bad: min(all, bad)}, err
	}
	canary, err := counts(builtin.Canary)
	if err != nil {
		return nil, err
	}
	primary, err := counts(builtin.Primary)
	if err != nil {
		return nil, err
	}
	r := &release.Reading{Metric: metric.Name, Blocks: []compare.Block{{Canary: canary, Primary: primary, Length: w.length()}}}
	if w.history {
		if r.History, err = k.templateHistory(ctx, c, metric, w); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// templateHistory is the primary's by the queries of a MetricTemplate, where its provider can tell of the past.
func (k counter) templateHistory(ctx context.Context, c *v1beta1.Canary, metric v1beta1.CanaryMetric, w window) (*compare.History, error) {
	var both [2][]float64
	for i, bad := range []bool{false, true} {
		provider, query, err := k.Sources.Count(ctx, c, metric, string(builtin.Primary), bad, "1m")
		if err != nil {
			return nil, err
		}
		server, ok := provider.(metrics.SeriesProvider)
		if !ok {
			return &compare.History{}, nil
		}
		all, err := server.QueryRange(ctx, query, w.since.Add(-historyOf).Add(time.Minute), w.since, time.Minute)
		if err != nil {
			return nil, fmt.Errorf("read the history of the primary: %w", err)
		}
		for _, series := range all {
			sum := 0.0
			for _, s := range series {
				if s.Value > 0 {
					sum += s.Value
				}
			}
			both[i] = append(both[i], sum)
		}
	}
	var minutes []compare.Counts
	for i, n := range both[0] {
		if len(minutes) > 0 || n > 0 {
			minutes = append(minutes, compare.Counts{Requests: n, Bad: min(n, both[1][i])})
		}
	}
	return &compare.History{Minutes: [][]compare.Counts{minutes}}, nil
}
