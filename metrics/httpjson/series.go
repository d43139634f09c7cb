package httpjson

import (
	"fmt"

	"github.com/sluice-delivery/sluice/metrics"
)

// One is nil for exactly one series, [metrics.ErrNoData] for none, and a
// [*metrics.QueryError] with their number and the advice for more.
func One(q metrics.Query, n int, advice string) error {
	switch n {
	case 0:
		return metrics.ErrNoData
	case 1:
		return nil
	default:
		return &metrics.QueryError{Expr: q.Expr, Message: fmt.Sprintf("it selects %d series where one is needed: %s", n, advice)}
	}
}

// Newest is the last value that there is, or [metrics.ErrNoData].
func Newest(values []*float64) (metrics.Sample, error) {
	for i := len(values) - 1; i >= 0; i-- {
		if values[i] != nil {
			return metrics.Sample{Value: *values[i]}, nil
		}
	}
	return metrics.Sample{}, metrics.ErrNoData
}
