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
)

// DefaultTimeout bounds a query that has no time-out of its own.
const DefaultTimeout = 10 * time.Second

// Options change how a Provider works. The zero value is good.
type Options struct {
	// Transport carries the requests. Nil means a transport of the provider's
	// own, which keeps connections for reuse and bounds each phase of a request.
	Transport http.RoundTripper
	// Clock gives the time that queries are evaluated at. Nil means the real one.
	Clock clock.PassiveClock
}

// Provider is a metrics.Provider over one server.
type Provider struct {
	api   promv1.API
	name  string
	clock clock.PassiveClock
}

var _ metrics.Provider = (*Provider)(nil)

// New returns a provider for the server at address, an http or https URL. A
// path in it is kept as a prefix, user and password are sent as basic auth.
func New(address string, opts Options) (*Provider, error) {
	u, err := url.Parse(address)
	if err != nil {
		// The parser's message would repeat the address, and a password with it.
		return nil, errors.New("metrics server: not a URL; allowed: http://HOST:PORT/PREFIX or https://")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("metrics server %q: allowed: http://HOST:PORT/PREFIX or https://", u.Redacted())
	}
	if opts.Transport == nil {
		opts.Transport = newTransport()
	}
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	client, err := api.NewClient(api.Config{
		Address: address,
		Client: &http.Client{
			Transport: &boundedTransport{next: opts.Transport, limit: maxResponse},
			// The context of a query ends earlier; this is for the sake of a caller without one.
			Timeout: 2 * time.Minute,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("metrics server %q: %w", u.Redacted(), err)
	}
	return &Provider{api: promv1.NewAPI(client), name: u.Redacted(), clock: opts.Clock}, nil
}

// Query evaluates q.Expr now. The answer must be a scalar or exactly one series.
func (p *Provider) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	timeout := q.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	value, _, _, err := p.api.Query(ctx, q.Expr, p.clock.Now(), promv1.WithTimeout(timeout))
	if err != nil {
		return metrics.Sample{}, p.classify(q, timeout, err)
	}
	return sampleOf(q, value)
}

func sampleOf(q metrics.Query, value model.Value) (metrics.Sample, error) {
	switch v := value.(type) {
	case *model.Scalar:
		return metrics.Sample{Value: float64(v.Value)}, nil
	case model.Vector:
		switch {
		case len(v) == 0:
			return metrics.Sample{}, metrics.ErrNoData
		case len(v) > 1:
			return metrics.Sample{}, &metrics.QueryError{Expr: q.Expr, Message: fmt.Sprintf(
				"it selects %d series where one is needed: aggregate them, for example with sum()", len(v))}
		case v[0].Histogram != nil:
			return metrics.Sample{}, &metrics.QueryError{Expr: q.Expr,
				Message: "it gives a histogram where a number is needed: use histogram_quantile() or the like"}
		}
		return metrics.Sample{Value: float64(v[0].Value)}, nil
	default:
		return metrics.Sample{}, &metrics.QueryError{Expr: q.Expr,
			Message: fmt.Sprintf("it gives a %s where an instant vector or a scalar is needed", value.Type())}
	}
}

// classify tells an error of the query (the server understood and refused it)
// from a server that gave no answer.
func (p *Provider) classify(q metrics.Query, timeout time.Duration, err error) error {
	if message, ok := refusal(err); ok {
		return &metrics.QueryError{Expr: q.Expr, Message: message}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %s: %w", timeout, context.DeadlineExceeded)
	}
	// url.Error repeats the whole URL; the provider's name says enough.
	var transport *url.Error
	if errors.As(err, &transport) {
		err = transport.Err
	}
	return &metrics.UnavailableError{Provider: p.name, Err: err}
}

func refusal(err error) (message string, ok bool) {
	if errors.Is(err, errTooLarge) {
		return errTooLarge.Error() + ": aggregate the series, for example with sum()", true
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
