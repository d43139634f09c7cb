package metrics

import (
	"errors"
	"math"
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Reduce makes one value of several series where the metric's policy says how. Any other
// answer it leaves as it is.
func Reduce(metric v1beta1.CanaryMetric, a Answer) Answer {
	var several *QueryError
	if metric.Policy == nil || !errors.As(a.Err, &several) || len(several.Series) < 2 {
		return a
	}
	values := several.Series
	one := values[0]
	switch metric.Policy.SeveralSeries {
	case v1beta1.SeriesSum:
		for _, v := range values[1:] {
			one += v
		}
	case v1beta1.SeriesMax:
		for _, v := range values[1:] {
			one = math.Max(one, v)
		}
	case v1beta1.SeriesWorst:
		one = limitsOf(metric).worst(values)
	case v1beta1.SeriesFail:
		return a
	default:
		return a
	}
	a.Sample, a.Err = Sample{Value: one}, nil
	return a
}

// worst is the value that is farthest out of the limits or, where all are within, the
// nearest to one; the highest where there are none. What is not a number is worse than any.
func (l limits) worst(values []float64) float64 {
	out, most := values[0], math.Inf(-1)
	for _, v := range values {
		if math.IsNaN(v) {
			return v
		}
		beyond := math.Inf(-1)
		if l.min != nil {
			beyond = math.Max(beyond, *l.min-v)
		}
		if l.max != nil {
			beyond = math.Max(beyond, v-*l.max)
		}
		if l.min == nil && l.max == nil {
			beyond = v
		}
		if beyond > most {
			out, most = v, beyond
		}
	}
	return out
}

// Aggregates reports whether a query of Prometheus makes one series of several, as far as
// its words tell: whether one of them is an aggregation or another function that gives one
// series at most, or a scalar.
func Aggregates(expr string) bool {
	word := func(r rune) bool {
		return r == '_' || r == ':' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	remaining := withoutTexts(expr)
	for remaining != "" {
		start := strings.IndexFunc(remaining, word)
		if start < 0 {
			return false
		}
		remaining = remaining[start:]
		end := strings.IndexFunc(remaining, func(r rune) bool { return !word(r) })
		if end < 0 {
			return false
		}
		name, after := strings.ToLower(remaining[:end]), strings.TrimSpace(remaining[end:])
		if aggregations[name] && (strings.HasPrefix(after, "(") || strings.HasPrefix(after, "by") || strings.HasPrefix(after, "without")) {
			return true
		}
		remaining = remaining[end:]
	}
	return false
}

// aggregations give one series, unless they are told to keep labels.
var aggregations = map[string]bool{
	"sum": true, "avg": true, "min": true, "max": true, "count": true, "group": true, "stddev": true, "stdvar": true, "quantile": true,
	"topk": true, "bottomk": true, "limitk": true, "scalar": true, "vector": true, "absent": true, "absent_over_time": true, "time": true,
}

// withoutTexts leaves out what stands in quotes: values of labels are no functions.
func withoutTexts(expr string) string {
	var out strings.Builder
	var quote rune
	escaped := false
	for _, r := range expr {
		switch {
		case quote == 0 && (r == '"' || r == '\'' || r == '`'):
			quote = r
		case quote == 0:
			out.WriteRune(r)
		case escaped:
			escaped = false
		case r == '\\' && quote != '`':
			escaped = true
		case r == quote:
			quote = 0
			out.WriteString(" ")
		}
	}
	return out.String()
}
