package telemetry

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
)

// Answers publishes how long metrics servers and hooks took to answer, and what. Its labels are types and outcomes, so the
// number of its series does not grow with the cluster.
type Answers struct {
	clock   clock.PassiveClock
	queries *prometheus.HistogramVec
	hooks   *prometheus.HistogramVec
}

// Outcomes of a query, and of the call of a hook.
const (
	outcomeValue       = "value"
	outcomeNoData      = "no_data"
	outcomeUnavailable = "unavailable"
	outcomeInvalid     = "invalid"
	outcomePassed      = "passed"
	outcomeFailed      = "failed"
)

// NewAnswers registers the metrics.
func NewAnswers(registry prometheus.Registerer, clk clock.PassiveClock) *Answers {
	buckets := []float64{0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}
	a := &Answers{
		clock: clk,
		queries: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "sluice", Name: "metric_query_duration_seconds",
			Help:    "Time that a query of a metrics server took, the wait for others that are asked with it included, by the type of the provider and by the outcome: value, no_data, unavailable, or invalid for a query that it refuses.",
			Buckets: buckets,
		}, []string{"provider", "outcome"}),
		hooks: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "sluice", Name: "hook_duration_seconds",
			Help:    "Time that a hook of a release took, by its type and by the outcome: passed or failed. A gate that is closed has failed.",
			Buckets: buckets,
		}, []string{"type", "outcome"}),
	}
	registry.MustRegister(a.queries, a.hooks)
	return a
}

// Hook publishes the call of a hook that began at a time. A nil Answers publishes nothing.
func (a *Answers) Hook(kind v1beta1.HookType, began time.Time, err error) {
	if a == nil || errors.Is(err, context.Canceled) {
		return
	}
	outcome := outcomePassed
	if err != nil {
		outcome = outcomeFailed
	}
	a.hooks.WithLabelValues(string(kind), outcome).Observe(a.clock.Since(began).Seconds())
}

// Timed makes providers as another constructor does, and publishes their queries.
func (a *Answers) Timed(construct func(metrics.Config) (metrics.Provider, error)) func(metrics.Config) (metrics.Provider, error) {
	return func(c metrics.Config) (metrics.Provider, error) {
		inner, err := construct(c)
		if err != nil {
			return nil, err
		}
		p := provider{Provider: inner, answers: a, name: c.Type}
		series, ok := inner.(metrics.SeriesProvider)
		if !ok {
			return p, nil
		}
		if together, ok := inner.(metrics.Together); ok {
			return togetherProvider{seriesProvider{p, series}, together}, nil
		}
		return seriesProvider{p, series}, nil
	}
}

// query publishes a query that began at a time. What was called off by the operator itself is no answer.
func (a *Answers) query(provider string, began time.Time, err error) {
	outcome := outcomeValue
	switch {
	case errors.Is(err, context.Canceled):
		return
	case metrics.IsNoData(err):
		outcome = outcomeNoData
	case metrics.IsQueryError(err):
		outcome = outcomeInvalid
	case err != nil:
		outcome = outcomeUnavailable
	}
	a.queries.WithLabelValues(provider, outcome).Observe(a.clock.Since(began).Seconds())
}

// provider is one whose queries are published.
type provider struct {
	metrics.Provider

	answers *Answers
	name    string
}

var _ metrics.Checker = provider{}

// Query implements metrics.Provider.
func (p provider) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	began := p.answers.clock.Now()
	sample, err := p.Provider.Query(ctx, q)
	p.answers.query(p.name, began, err)
	return sample, err
}

// Check implements metrics.Checker, and finds nothing wrong where the provider is none.
func (p provider) Check(q metrics.Query) error {
	if checker, ok := p.Provider.(metrics.Checker); ok {
		return checker.Check(q)
	}
	return nil
}

// seriesProvider is a provider that gives series.
type seriesProvider struct {
	provider

	series metrics.SeriesProvider
}

var _ metrics.SeriesProvider = seriesProvider{}

// QuerySeries implements metrics.SeriesProvider.
func (p seriesProvider) QuerySeries(ctx context.Context, q metrics.Query) ([]metrics.Series, error) {
	began := p.answers.clock.Now()
	out, err := p.series.QuerySeries(ctx, q)
	p.answers.query(p.name, began, err)
	return out, err
}

// QueryRange implements metrics.SeriesProvider.
func (p seriesProvider) QueryRange(ctx context.Context, q metrics.Query, from, to time.Time, step time.Duration) ([][]metrics.Series, error) {
	began := p.answers.clock.Now()
	out, err := p.series.QueryRange(ctx, q, from, to, step)
	p.answers.query(p.name, began, err)
	return out, err
}

// togetherProvider is one that answers queries of many together.
type togetherProvider struct {
	seriesProvider

	together metrics.Together
}

var _ metrics.Together = togetherProvider{}

// QueryTogether implements metrics.Together. That a query waits for others is part of what it takes.
func (p togetherProvider) QueryTogether(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	began := p.answers.clock.Now()
	sample, err := p.together.QueryTogether(ctx, q)
	p.answers.query(p.name, began, err)
	return sample, err
}
