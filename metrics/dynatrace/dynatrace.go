// Package dynatrace asks Dynatrace for the value of a metric selector. It is
// one JSON request, for which Dynatrace has no Go client of its own.
package dynatrace

import (
	"context"
	"net/url"
	"strconv"

	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/httpjson"
)

const (
	token = "dynatrace_token"
	// windows is how many intervals the one value is made of.
	windows = 10
)

// Provider is a metrics.Provider over a Dynatrace environment.
type Provider struct {
	client *httpjson.Client
	clock  clock.PassiveClock
}

var _ metrics.Provider = (*Provider)(nil)

// New returns a provider. The Secret has dynatrace_token, an API token with the
// scope metrics.read; the address is that of the environment.
func New(c metrics.Config) (metrics.Provider, error) {
	key, err := c.SecretValue(token)
	if err != nil {
		return nil, err
	}
	client, err := httpjson.New(c, httpjson.Options{Auth: map[string]string{"Authorization": "Api-Token " + key}})
	if err != nil {
		return nil, err
	}
	return &Provider{client: client, clock: c.Time()}, nil
}

// answer is what https://docs.dynatrace.com/docs/dynatrace-api/environment-api/metric-v2/get-data-points documents.
type answer struct {
	Result []struct {
		Data []struct {
			Values []*float64 `json:"values"`
		} `json:"data"`
	} `json:"result"`
}

// Query gives the one value of the one series that q.Expr selects, aggregated
// by Dynatrace over the last ten intervals.
func (p *Provider) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	now := p.clock.Now()
	var a answer
	err := p.client.JSON(ctx, q, httpjson.Request{Path: "/api/v2/metrics/query", Parameters: url.Values{
		"metricSelector": {q.Expr},
		"resolution":     {"Inf"},
		"from":           {strconv.FormatInt(now.Add(-windows*q.Window()).UnixMilli(), 10)},
		"to":             {strconv.FormatInt(now.UnixMilli(), 10)},
	}}, &a)
	if err != nil {
		return metrics.Sample{}, err
	}
	var series [][]*float64
	for _, r := range a.Result {
		for _, d := range r.Data {
			series = append(series, d.Values)
		}
	}
	if err := httpjson.One(q, len(series), "filter or merge them, for example with :splitBy()"); err != nil {
		return metrics.Sample{}, err
	}
	return httpjson.Newest(series[0])
}
