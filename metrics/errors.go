package metrics

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNoData says that the provider answered and has no value for the query.
var ErrNoData = errors.New("no data")

// ErrNothingCounted is [ErrNoData] of a query that counts or sums what there is: where
// there is nothing, the provider has no row in place of a 0.
var ErrNothingCounted = fmt.Errorf("nothing to count: %w", ErrNoData)

// ErrCredentials is the cause of an [*UnavailableError] when the provider does
// not accept who asks: a wrong or expired key, or a right that is missing.
var ErrCredentials = errors.New("the provider refused the credentials")

// ErrRateLimited is the cause of an [*UnavailableError] when the provider wants
// to be asked less often.
var ErrRateLimited = errors.New("the provider limits the rate of requests")

// UnavailableError says that the provider gave no answer: network, time-out,
// overload or a fault on its side.
type UnavailableError struct {
	// Provider is a name or an address, without credentials.
	Provider string
	Err      error
}

// Error implements error.
func (e *UnavailableError) Error() string {
	return fmt.Sprintf("metric provider %s is unavailable: %v", e.Provider, e.Err)
}

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }

// QueryError says that the query can never give one number: the provider
// refused it, or it selects several series.
type QueryError struct {
	Expr    string
	Message string
	// Series are the values of the series where there are several; a policy may make one of them.
	Series []float64
}

// Error implements error.
func (e *QueryError) Error() string { return "query failed: " + e.Message }

// UnknownMetricError says that there is no built-in metric of this name.
type UnknownMetricError struct {
	Provider, Metric string
	// Known lists the names that exist for the provider, none for an unknown provider.
	Known []string
}

// Error implements error.
func (e *UnknownMetricError) Error() string {
	if len(e.Known) == 0 {
		return fmt.Sprintf("no built-in metrics for provider %q: use a templateRef or a query", e.Provider)
	}
	return fmt.Sprintf("no built-in metric %q for provider %q (there are: %s): use a templateRef or a query",
		e.Metric, e.Provider, strings.Join(e.Known, ", "))
}

// IsNoData reports whether err says that there is no value.
func IsNoData(err error) bool { return errors.Is(err, ErrNoData) }

// IsUnavailable reports whether err says that the provider gave no answer.
func IsUnavailable(err error) bool { return is[*UnavailableError](err) }

// IsQueryError reports whether err says that the query itself is wrong.
func IsQueryError(err error) bool { return is[*QueryError](err) }

// IsUnknownMetric reports whether err says that a built-in metric does not exist.
func IsUnknownMetric(err error) bool { return is[*UnknownMetricError](err) }

func is[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}
