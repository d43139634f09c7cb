// Package prometheus asks a Prometheus server, or anything that speaks its
// HTTP API, for the value of an instant query.
package prometheus

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/httpjson"
)

// DefaultTimeout bounds a query that has no time-out of its own.
const DefaultTimeout = 10 * time.Second

// Provider is a metrics.Provider over one server.
type Provider struct {
	api   promv1.API
	name  string
	clock clock.PassiveClock
	// detail makes the server's own words fit to be repeated.
	detail func(string) string
}

var _ metrics.SeriesProvider = (*Provider)(nil)

// New returns a provider for the server at c.Address. A path in the address is
// kept as a prefix, and so are its parameters, by which Thanos, Mimir and Cortex
// are told what to do (?dedup=true). c.Headers are sent with each request.
//
// c.Secret may hold username and password, or token, which becomes a bearer
// token; ca.crt is whose certificates are trusted, tls.crt and tls.key are shown
// to the server. They win over user and password in the address, and over the
// header Authorization.
//
// A [*metrics.ConfigError] names what is wrong; the server is not asked.
func New(c metrics.Config) (*Provider, error) {
	c.Type = "prometheus"
	address, err := httpjson.ParseAddress(c.Type, c.Address)
	if err != nil {
		return nil, err
	}
	authorization, err := authorize(c)
	if err != nil {
		return nil, err
	}
	transport, err := transportOf(c)
	if err != nil {
		return nil, err
	}
	known, err := httpjson.New(c, httpjson.Options{Auth: authorization}) // it knows what must not be repeated
	if err != nil {
		return nil, err
	}
	headers, err := headersOf(c, authorization)
	if err != nil {
		return nil, err
	}
	decorated := &decoratedTransport{next: transport, headers: headers, parameters: address.Query()}
	client, err := api.NewClient(api.Config{
		Address: address.String(),
		Client: &http.Client{
			Transport: &statusTransport{next: httpjson.Bounded(decorated)},
			// What is sent is for this server, not for one that it names.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			// The context of a query ends earlier; this is for the sake of a caller without one.
			Timeout: 2 * time.Minute,
		},
	})
	if err != nil {
		return nil, &metrics.ConfigError{Field: "address", Message: "not a URL that can be asked"}
	}
	return &Provider{api: promv1.NewAPI(client), name: nameOf(address), clock: c.Time(), detail: known.Detail}, nil
}

// nameOf is the server for people. Parameters may hold keys.
func nameOf(address *url.URL) string {
	short := *address
	short.RawQuery, short.Fragment, short.User = "", "", nil
	return short.String()
}

// Query evaluates q.Expr at q.At. The answer must be a scalar or exactly one series.
func (p *Provider) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	value, err := p.instant(ctx, q)
	if err != nil {
		return metrics.Sample{}, err
	}
	return sampleOf(q, value)
}

// instant evaluates a query at one moment.
func (p *Provider) instant(ctx context.Context, q metrics.Query) (model.Value, error) {
	timeout := timeoutOf(q)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	at := q.At
	if at.IsZero() {
		at = p.clock.Now()
	}
	value, _, _, err := p.api.Query(ctx, q.Expr, at, promv1.WithTimeout(timeout))
	if err != nil {
		return nil, p.classify(q, timeout, err)
	}
	return value, nil
}

func timeoutOf(q metrics.Query) time.Duration {
	if q.Timeout <= 0 {
		return DefaultTimeout
	}
	return q.Timeout
}

// QuerySeries evaluates q.Expr at q.At. The answer must be an instant vector of numbers.
func (p *Provider) QuerySeries(ctx context.Context, q metrics.Query) ([]metrics.Series, error) {
	value, err := p.instant(ctx, q)
	if err != nil {
		return nil, err
	}
	vector, ok := value.(model.Vector)
	switch {
	case value == nil:
		return nil, &metrics.UnavailableError{Provider: "prometheus", Err: errNoAnswer}
	case !ok:
		return nil, &metrics.QueryError{Expr: q.Expr, Message: fmt.Sprintf("it gives a %s where an instant vector is needed", value.Type())}
	}
	out := make([]metrics.Series, 0, len(vector))
	for _, s := range vector {
		if s.Histogram != nil {
			return nil, &metrics.QueryError{Expr: q.Expr, Message: "it gives a histogram where numbers are needed: use histogram_count() or the like"}
		}
		out = append(out, metrics.Series{Labels: labelsOf(s.Metric), Value: float64(s.Value)})
	}
	return out, nil
}

// QueryRange evaluates q.Expr at each step from one moment to another.
func (p *Provider) QueryRange(ctx context.Context, q metrics.Query, from, to time.Time, step time.Duration) ([][]metrics.Series, error) {
	timeout := timeoutOf(q)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	value, _, _, err := p.api.QueryRange(ctx, q.Expr, promv1.Range{Start: from, End: to, Step: step}, promv1.WithTimeout(timeout))
	if err != nil {
		return nil, p.classify(q, timeout, err)
	}
	matrix, ok := value.(model.Matrix)
	if !ok {
		return nil, &metrics.UnavailableError{Provider: "prometheus", Err: errNoAnswer}
	}
	out := make([][]metrics.Series, to.Sub(from)/step+1)
	for _, s := range matrix {
		labels := labelsOf(s.Metric)
		for _, v := range s.Values {
			if i := int(v.Timestamp.Time().Sub(from.Truncate(time.Millisecond)) / step); i >= 0 && i < len(out) {
				out[i] = append(out[i], metrics.Series{Labels: labels, Value: float64(v.Value)})
			}
		}
	}
	return out, nil
}

func labelsOf(m model.Metric) map[string]string {
	out := make(map[string]string, len(m))
	for name, value := range m {
		out[string(name)] = string(value)
	}
	return out
}

var errNoAnswer = errors.New("its answer is not what Prometheus sends")

func sampleOf(q metrics.Query, value model.Value) (metrics.Sample, error) {
	switch v := value.(type) {
	case *model.Scalar:
		return metrics.Sample{Value: float64(v.Value)}, nil
	case model.Vector:
		switch {
		case len(v) == 0:
			return metrics.Sample{}, metrics.ErrNoData
		case len(v) > 1:
			return metrics.Sample{}, severalOf(q, v)
		case v[0].Histogram != nil:
			return metrics.Sample{}, &metrics.QueryError{Expr: q.Expr,
				Message: "it gives a histogram where a number is needed: use histogram_quantile() or the like"}
		}
		return metrics.Sample{Value: float64(v[0].Value)}, nil
	case nil: // a JSON that has nothing of an answer in it
		return metrics.Sample{}, &metrics.UnavailableError{Provider: "prometheus", Err: errNoAnswer}
	default:
		return metrics.Sample{}, &metrics.QueryError{Expr: q.Expr,
			Message: fmt.Sprintf("it gives a %s where an instant vector or a scalar is needed", value.Type())}
	}
}

// severalOf is the error of a query that selects several series, with their values where
// all have one.
func severalOf(q metrics.Query, v model.Vector) error {
	out := &metrics.QueryError{Expr: q.Expr, Message: fmt.Sprintf(
		"it selects %d series where one is needed: aggregate them, for example with sum(), or say by policy.severalSeries what is made of them", len(v))}
	for _, series := range v {
		if series.Histogram != nil {
			out.Series = nil
			break
		}
		out.Series = append(out.Series, float64(series.Value))
	}
	return out
}

// classify tells an error of the query (the server understood and refused it)
// from a server that gave no answer.
func (p *Provider) classify(q metrics.Query, timeout time.Duration, err error) error {
	if message, ok := refusal(err); ok {
		return &metrics.QueryError{Expr: q.Expr, Message: p.detail(message)}
	}
	var status *statusError
	if errors.As(err, &status) {
		return &metrics.UnavailableError{Provider: p.name, Err: status.sort(p.detail)}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %s: %w", timeout, context.DeadlineExceeded)
	}
	// url.Error repeats the whole URL; the provider's name says enough.
	var transport *url.Error
	if errors.As(err, &transport) {
		err = transport.Err
	}
	if redacted := p.detail(err.Error()); redacted != err.Error() {
		err = errors.New(redacted)
	}
	return &metrics.UnavailableError{Provider: p.name, Err: err}
}

func refusal(err error) (message string, ok bool) {
	if errors.Is(err, httpjson.ErrTooLarge) {
		return httpjson.ErrTooLarge.Error() + ": aggregate the series, for example with sum()", true
	}
	var status *statusError
	if errors.As(err, &status) && status.aboutQuery() {
		return status.Error(), true
	}
	var answer *promv1.Error
	if !errors.As(err, &answer) {
		return "", false
	}
	// A server that is not Prometheus may refuse without its error type.
	refused := answer.Type == promv1.ErrBadData || answer.Type == promv1.ErrExec || answer.Type == promv1.ErrClient
	return answer.Msg, refused
}
