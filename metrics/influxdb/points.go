package influxdb

import (
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/httpjson"
)

// point is a value of a series; at is 0 if it has no time. Only differences of
// times count.
type point struct {
	at    int64
	value float64
}

// newest is the value of the newest point. Several at that time are several
// series that the query mixed, and none of them may win by its place.
func newest(q metrics.Query, points []point) (metrics.Sample, error) {
	var last []point
	for _, p := range points {
		switch {
		case len(last) == 0 || p.at > last[0].at:
			last = []point{p}
		case p.at == last[0].at:
			last = append(last, p)
		}
	}
	if err := httpjson.One(q, len(last), "they have the same time; aggregate them, for example with sum()"); err != nil {
		return metrics.Sample{}, err
	}
	return metrics.Sample{Value: last[0].value}, nil
}

func notNumber(q metrics.Query, what string) error {
	return &metrics.QueryError{Expr: q.Expr, Message: "its value is " + what + ", where one number is needed"}
}
