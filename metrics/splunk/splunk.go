// Package splunk asks Splunk Observability Cloud for the value of a SignalFlow
// program. It uses the API's HTTP form: the official client speaks only the
// WebSocket form, and one short computation needs no connection that stays.
package splunk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/httpjson"
)

const (
	token = "sf_token_key"
	// windows is how many intervals a program looks back: a metric that is
	// reported rarely has no point in each of them.
	windows = 10
)

// Provider is a metrics.Provider over a realm of Splunk Observability Cloud.
type Provider struct {
	client *httpjson.Client
	clock  clock.PassiveClock
}

var _ metrics.Provider = (*Provider)(nil)

// New returns a provider. The Secret has sf_token_key. The address is that of
// the API or of the stream, as https or wss; a region is the realm, like us1,
// and makes up for an address.
func New(c metrics.Config) (metrics.Provider, error) {
	key, err := c.SecretValue(token)
	if err != nil {
		return nil, err
	}
	c.Address = streamAddress(c.Address)
	var otherwise string
	if c.Region != "" {
		if !realm.MatchString(c.Region) {
			return nil, &metrics.ConfigError{Field: "region", Message: fmt.Sprintf("%q is no name of a realm, like us1", c.Region)}
		}
		otherwise = "https://stream." + c.Region + ".signalfx.com"
	}
	client, err := httpjson.New(c, httpjson.Options{DefaultAddress: otherwise, Auth: map[string]string{"X-SF-Token": key}})
	if err != nil {
		return nil, err
	}
	return &Provider{client: client, clock: c.Time()}, nil
}

// realm is what a name of a realm looks like: it becomes part of a host name.
var realm = regexp.MustCompile(`^[a-z0-9-]+$`)

// streamAddress is the HTTP address of the stream, where programs run, for the
// addresses that people know: wss://stream.REALM... and https://api.REALM...
func streamAddress(address string) string {
	scheme, remaining, ok := strings.Cut(address, "://")
	if !ok {
		return address
	}
	switch scheme {
	case "ws":
		scheme = "http"
	case "wss":
		scheme = "https"
	}
	if realm, ok := strings.CutPrefix(remaining, "api."); ok {
		remaining = "stream." + realm
	}
	return scheme + "://" + remaining
}

// Query runs q.Expr over the last ten intervals and gives the newest value of
// the one time series that it publishes.
func (p *Provider) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	now := p.clock.Now()
	var c computation
	err := p.client.Do(ctx, q, httpjson.Request{
		Method: http.MethodPost,
		Path:   "/v2/signalflow/execute",
		Parameters: url.Values{
			"start":     {strconv.FormatInt(now.Add(-windows*q.Window()).UnixMilli(), 10)},
			"stop":      {strconv.FormatInt(now.UnixMilli(), 10)},
			"immediate": {"true"},
		},
		Body:        []byte(q.Expr),
		ContentType: "text/plain",
		Accept:      "text/event-stream",
	}, c.read)
	switch {
	case err != nil:
		return metrics.Sample{}, err
	case c.failure != "":
		return metrics.Sample{}, &metrics.QueryError{Expr: q.Expr, Message: "the provider refused it: " + p.client.Detail(c.failure)}
	case c.aborted != "":
		return metrics.Sample{}, &metrics.UnavailableError{Provider: p.client.Name(), Err: errors.New("it aborted the computation: " + p.client.Detail(c.aborted))}
	}
	if err := httpjson.One(q, len(c.newest), "aggregate them, for example with .sum()"); err != nil {
		return metrics.Sample{}, err
	}
	for _, v := range c.newest {
		return metrics.Sample{Value: v}, nil
	}
	return metrics.Sample{}, metrics.ErrNoData
}
