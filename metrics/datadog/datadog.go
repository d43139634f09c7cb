// Package datadog asks Datadog for the value of a metrics query. It speaks the
// one endpoint that it needs itself: the official client has a model of every
// Datadog product, tens of thousands of lines.
package datadog

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/httpjson"
)

const (
	// DefaultAddress is Datadog's site US1.
	DefaultAddress = "https://api.datadoghq.com"

	apiKey         = "datadog_api_key"
	applicationKey = "datadog_application_key"

	// windows is how many intervals a query looks back: a metric that is
	// reported rarely has no point in each of them.
	windows = 10
)

// Provider is a metrics.Provider over Datadog.
type Provider struct {
	client *httpjson.Client
	clock  clock.PassiveClock
}

var _ metrics.Provider = (*Provider)(nil)

// New returns a provider. The Secret has datadog_api_key and
// datadog_application_key.
func New(c metrics.Config) (metrics.Provider, error) {
	api, err := c.SecretValue(apiKey)
	if err != nil {
		return nil, err
	}
	application, err := c.SecretValue(applicationKey)
	if err != nil {
		return nil, err
	}
	client, err := httpjson.New(c, httpjson.Options{
		DefaultAddress: DefaultAddress,
		Auth:           map[string]string{"DD-API-KEY": api, "DD-APPLICATION-KEY": application},
	})
	if err != nil {
		return nil, err
	}
	return &Provider{client: client, clock: c.Time()}, nil
}

// answer is what https://docs.datadoghq.com/api/latest/metrics/#query-timeseries-points documents.
type answer struct {
	Status string   `json:"status"`
	Error  string   `json:"error"`
	Series []series `json:"series"`
}

type series struct {
	// Interval is the seconds that a point stands for.
	Interval int64 `json:"interval"`
	// Pointlist has pairs of milliseconds and value; either may be null.
	Pointlist [][]*float64 `json:"pointlist"`
}

// Query gives the newest complete point of the one series that q.Expr selects in
// the last ten intervals. The last bucket is still being filled and would show
// too few requests; it is used only where there is no other.
func (p *Provider) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	now := p.clock.Now()
	var a answer
	err := p.client.JSON(ctx, q, httpjson.Request{Path: "/api/v1/query", Parameters: url.Values{
		"query": {q.Expr},
		"from":  {strconv.FormatInt(now.Add(-windows*q.Window()).Unix(), 10)},
		"to":    {strconv.FormatInt(now.Unix(), 10)},
	}}, &a)
	if err != nil {
		return metrics.Sample{}, err
	}
	if a.Status == "error" || a.Error != "" {
		return metrics.Sample{}, &metrics.QueryError{Expr: q.Expr, Message: "the provider refused it: " + p.client.Detail(a.Error)}
	}
	if err := httpjson.One(q, len(a.Series), "aggregate them, for example with sum: and without by {}"); err != nil {
		return metrics.Sample{}, err
	}
	return httpjson.Newest(a.Series[0].values(now))
}

// values are the values of the complete points, or of all if none is complete.
func (s series) values(now time.Time) []*float64 {
	var all, complete []*float64
	for _, point := range s.Pointlist {
		if len(point) != 2 || point[0] == nil || point[1] == nil {
			continue
		}
		all = append(all, point[1])
		if end := int64(*point[0])/1000 + s.Interval; end <= now.Unix() {
			complete = append(complete, point[1])
		}
	}
	if len(complete) == 0 {
		return all
	}
	return complete
}
