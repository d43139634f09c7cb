// Package skywalking asks Apache SkyWalking for the value of a GraphQL query.
// It is one JSON request and needs no GraphQL library.
package skywalking

import (
	"context"
	"strconv"

	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/httpjson"
)

// Provider is a metrics.Provider over a SkyWalking OAP server.
type Provider struct {
	client *httpjson.Client
	clock  clock.PassiveClock
}

var _ metrics.Provider = (*Provider)(nil)

// New returns a provider for the OAP server at the address. A Secret with
// username and password, or with token, is used if the server is behind a
// proxy that asks for it.
func New(c metrics.Config) (metrics.Provider, error) {
	client, err := httpjson.New(c, httpjson.Options{Auth: httpjson.OptionalAuth(c)})
	if err != nil {
		return nil, err
	}
	return &Provider{client: client, clock: c.Time()}, nil
}

// minute is the layout of a time with the step MINUTE.
const minute = "2006-01-02 1504"

// Query sends q.Expr with the variable $duration, the last interval in UTC
// (https://skywalking.apache.org/docs/main/latest/en/api/query-protocol/), and gives
// the newest value of the one metric that it reads.
func (p *Provider) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	now := p.clock.Now().UTC()
	variables := map[string]any{"duration": map[string]string{
		"start": now.Add(-q.Window()).Format(minute),
		"end":   now.Format(minute),
		"step":  "MINUTE",
	}}
	var data map[string]any
	if err := p.client.GraphQL(ctx, q, "/graphql", q.Expr, variables, &data); err != nil {
		return metrics.Sample{}, err
	}
	var series [][]*float64
	for _, field := range data {
		s, message := seriesOf(field)
		if message != "" {
			return metrics.Sample{}, &metrics.QueryError{Expr: q.Expr, Message: "the provider refused it: " + p.client.Detail(message)}
		}
		series = append(series, s...)
	}
	if err := httpjson.One(q, len(series), "read one metric, without labels"); err != nil {
		return metrics.Sample{}, err
	}
	return httpjson.Newest(complete(series[0]))
}

// complete leaves out the current minute, which is still being counted, unless
// it is all there is.
func complete(values []*float64) []*float64 {
	if n := len(values) - 1; n > 0 {
		if _, err := httpjson.Newest(values[:n]); err == nil {
			return values[:n]
		}
	}
	return values
}

// seriesOf finds the series in the answer to any of the queries for metrics:
// readMetricsValue (a number), readNullableMetricsValue (value, isEmptyValue),
// readMetricsValues (values.values), readLabeledMetricsValues (a list of those)
// and execExpression (results, with values as text, or an error).
func seriesOf(v any) (series [][]*float64, failure string) {
	switch v := v.(type) {
	case float64:
		return [][]*float64{{&v}}, ""
	case []any:
		return listOf(v)
	case map[string]any:
		if message, ok := v["error"].(string); ok && message != "" {
			return nil, message
		}
		for _, key := range []string{"results", "values"} {
			if inner, ok := v[key]; ok {
				return seriesOf(inner)
			}
		}
		if _, ok := v["value"]; ok {
			return [][]*float64{{valueOf(v)}}, ""
		}
	}
	return nil, ""
}

// listOf reads a list of points as one series, and any other list as several.
func listOf(list []any) (series [][]*float64, failure string) {
	var points []*float64
	for _, e := range list {
		if o, ok := e.(map[string]any); ok {
			if _, ok := o["value"]; ok {
				points = append(points, valueOf(o))
				continue
			}
		}
		s, message := seriesOf(e)
		if message != "" {
			return nil, message
		}
		series = append(series, s...)
	}
	if points != nil {
		series = append(series, points)
	}
	return series, ""
}

func valueOf(point map[string]any) *float64 {
	if empty, _ := point["isEmptyValue"].(bool); empty {
		return nil
	}
	switch v := point["value"].(type) {
	case float64:
		return &v
	case string:
		if f, err := strconv.ParseFloat(v, 64); err == nil {
			return &f
		}
	}
	return nil
}
