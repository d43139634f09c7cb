// Package stackdriver asks Google Cloud Monitoring for the value of a query in
// MQL. It uses the REST form of the API: the official client brings gRPC and the
// types of the whole API for one request.
package stackdriver

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/httpjson"
)

const (
	// DefaultAddress is the API's own.
	DefaultAddress = "https://monitoring.googleapis.com"

	project           = "project"
	serviceAccountKey = "serviceAccountKey"
)

// Provider is a metrics.Provider over one project of Google Cloud.
type Provider struct {
	config  metrics.Config
	project string
	tokens  tokens
}

var _ metrics.Provider = (*Provider)(nil)

// New returns a provider. The Secret has project, and serviceAccountKey (the
// JSON of one) unless the operator has an identity of its own, as with Workload
// Identity. That identity is used at addresses of Google only.
func New(c metrics.Config) (metrics.Provider, error) {
	p := &Provider{config: c, project: strings.TrimSpace(string(c.Secret[project]))}
	if key := c.Secret[serviceAccountKey]; len(key) > 0 {
		parsed, err := parseKey(key)
		if err != nil {
			return nil, err
		}
		p.tokens = parsed
		if p.project == "" {
			p.project = parsed.project
		}
	} else {
		if c.NoOwnIdentity {
			return nil, &metrics.ConfigError{Field: "secret." + serviceAccountKey, Message: "it is needed: the operator's -cloud-identity-namespaces does not lend its own identity to this namespace"}
		}
		if !googles(c.Address) {
			return nil, &metrics.ConfigError{Field: "address", Message: "not an address of Google Monitoring (https, monitoring.googleapis.com): the Secret needs the key " + serviceAccountKey + " for another one"}
		}
		p.tokens = &ambient{}
	}
	if p.project == "" {
		return nil, &metrics.ConfigError{Field: "secret." + project, Message: "the Secret of a stackdriver provider needs the key " + project}
	}
	if _, err := p.client(""); err != nil {
		return nil, err
	}
	return p, nil
}

// endpoint is a host that serves Cloud Monitoring, in a region, everywhere, or in a private network.
var endpoint = regexp.MustCompile(`^monitoring(\.[a-z0-9-]+\.rep|\.mtls|-[a-z0-9-]+\.p)?\.googleapis\.com$`)

func googles(address string) bool {
	if address == "" {
		return true
	}
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "https" && u.User == nil && (u.Port() == "" || u.Port() == "443") && endpoint.MatchString(u.Hostname())
}

func (p *Provider) client(token string) (*httpjson.Client, error) {
	return httpjson.New(p.config, httpjson.Options{DefaultAddress: DefaultAddress, Auth: map[string]string{"Authorization": "Bearer " + token}})
}

// answer is what https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/query documents.
type answer struct {
	TimeSeriesData []struct {
		PointData []struct {
			Values []value `json:"values"`
		} `json:"pointData"`
	} `json:"timeSeriesData"`
}

// value is a TypedValue. The JSON of an int64 is text.
type value struct {
	Double       *float64        `json:"doubleValue"`
	Int64        *json.Number    `json:"int64Value"`
	Bool         *bool           `json:"boolValue"`
	String       *string         `json:"stringValue"`
	Distribution json.RawMessage `json:"distributionValue"`
}

// Query gives the newest value of the one time series that q.Expr selects.
func (p *Provider) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	token, err := p.tokens.token(ctx, q)
	if err != nil {
		return metrics.Sample{}, err
	}
	client, err := p.client(token)
	if err != nil {
		return metrics.Sample{}, err
	}
	body, err := json.Marshal(map[string]string{"query": q.Expr})
	if err != nil {
		return metrics.Sample{}, &metrics.QueryError{Expr: q.Expr, Message: "it cannot be put into a request"}
	}
	var a answer
	r := httpjson.Request{Method: http.MethodPost, Path: "/v3/projects/" + url.PathEscape(p.project) + "/timeSeries:query", Body: body}
	if err := client.JSON(ctx, q, r, &a); err != nil {
		return metrics.Sample{}, err
	}
	if err := httpjson.One(q, len(a.TimeSeriesData), "aggregate them, for example with group_by []"); err != nil {
		return metrics.Sample{}, err
	}
	points := a.TimeSeriesData[0].PointData // the newest first
	if len(points) == 0 {
		return metrics.Sample{}, metrics.ErrNoData
	}
	if err := httpjson.One(q, len(points[0].Values), "select one value column"); err != nil {
		return metrics.Sample{}, err
	}
	return points[0].Values[0].sample(q)
}

func (v value) sample(q metrics.Query) (metrics.Sample, error) {
	var what string
	switch {
	case v.Double != nil:
		return metrics.Sample{Value: *v.Double}, nil
	case v.Int64 != nil:
		f, err := v.Int64.Float64()
		if err != nil {
			return metrics.Sample{}, err
		}
		return metrics.Sample{Value: f}, nil
	case len(v.Distribution) > 0:
		what = "a distribution where a number is needed: use percentile() or mean()"
	case v.Bool != nil, v.String != nil:
		what = "a text or a truth value where a number is needed"
	default:
		return metrics.Sample{}, metrics.ErrNoData
	}
	return metrics.Sample{}, &metrics.QueryError{Expr: q.Expr, Message: "it gives " + what}
}
