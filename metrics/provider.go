// Package metrics asks metric providers for the numbers that an analysis
// judges, and judges them. Implementations live in folders of their own and
// import this package, never the other way round.
package metrics

import (
	"context"
	"time"
)

// Query is ready to be sent: nothing in it is left to fill in.
type Query struct {
	// Expr is in the language of the provider (PromQL for Prometheus).
	Expr string
	// Interval is the time that the query looks back, for the providers that
	// take it beside the query. 0 means a minute.
	Interval time.Duration
	// Timeout bounds the whole request. 0 means the provider's own limit.
	Timeout time.Duration
	// At is the moment that the query is about, for the providers that can go back; zero is now.
	At time.Time
}

// Window is the time that the query looks back: Interval, or a minute without one.
func (q Query) Window() time.Duration {
	if q.Interval <= 0 {
		return time.Minute
	}
	return q.Interval
}

// Sample is what a query gave.
type Sample struct {
	// Value may be NaN or infinite.
	Value float64
}

// Provider answers queries.
type Provider interface {
	// Query asks for one number. Its errors are told apart by [IsNoData] (the
	// provider answered that it has no value), [IsUnavailable] (no answer; the
	// same query may succeed later) and [IsQueryError] (the query is wrong and
	// stays wrong). It is called from many goroutines at once and must return
	// when ctx ends.
	Query(ctx context.Context, q Query) (Sample, error)
}

// Series is one of several results of a query.
type Series struct {
	// Labels tell it from the others.
	Labels map[string]string
	// Value may be NaN or infinite.
	Value float64
}

// SeriesProvider is a Provider that can give all results of a query, and those of the past.
type SeriesProvider interface {
	Provider
	// QuerySeries gives all results at q.At, none where there are none. Its errors are those of Query.
	QuerySeries(ctx context.Context, q Query) ([]Series, error)
	// QueryRange gives the results at from and at each step after it until to: one entry for each of those moments, the
	// oldest first, empty where there were none. Its errors are those of Query.
	QueryRange(ctx context.Context, q Query, from, to time.Time, step time.Duration) ([][]Series, error)
}

// Checker is a Provider that can tell what is wrong with a query without asking anybody, so that it is known
// before a release needs it.
type Checker interface {
	// Check returns a [*QueryError], or nil.
	Check(q Query) error
}

// Together is a Provider that can answer queries of many Canaries by one request. What it gives is what Query would.
type Together interface {
	Provider
	// QueryTogether asks for one number, with others who ask at about the same time. The query must give an instant vector;
	// what may cost a server much is better asked for alone. Its errors are those of Query.
	QueryTogether(ctx context.Context, q Query) (Sample, error)
}

// SeriesTogether is Together for all results of a query.
type SeriesTogether interface {
	SeriesProvider
	// QuerySeriesTogether gives all results, with others who ask at about the same time. What the query is about must be in it,
	// as it may be evaluated a moment later. Its errors are those of QuerySeries.
	QuerySeriesTogether(ctx context.Context, q Query) ([]Series, error)
}
