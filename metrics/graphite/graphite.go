// Package graphite asks Graphite's render API for the value of a target.
package graphite

import (
	"context"
	"encoding/json"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/httpjson"
)

// windows is how many intervals a query looks back: a metric that is reported
// rarely has no point in each of them.
const windows = 10

// Provider is a metrics.Provider over Graphite.
type Provider struct {
	client *httpjson.Client
	clock  clock.PassiveClock
}

var _ metrics.Provider = (*Provider)(nil)

// New returns a provider. A Secret, if there is one, has username and password.
func New(c metrics.Config) (metrics.Provider, error) {
	var auth map[string]string
	if len(c.Secret) > 0 {
		for _, key := range []string{"username", "password"} {
			if _, err := c.SecretValue(key); err != nil {
				return nil, err
			}
		}
		auth = httpjson.OptionalAuth(metrics.Config{Secret: map[string][]byte{
			"username": c.Secret["username"], "password": c.Secret["password"],
		}})
	}
	client, err := httpjson.New(c, httpjson.Options{Auth: auth})
	if err != nil {
		return nil, err
	}
	return &Provider{client: client, clock: c.Time()}, nil
}

// series is what https://graphite.readthedocs.io/en/stable/render_api.html#json documents.
type series struct {
	// Datapoints has pairs of value and seconds. A value is null in a gap. It
	// may be 1e9999, which is how Graphite writes infinity, so it is no float64 yet.
	Datapoints [][]json.Number `json:"datapoints"`
}

// Query gives the newest value of the one series that q.Expr selects. It is a
// target, or the parameters of a render URL, of which target is one; unless they
// have from and until, the last ten intervals are asked for.
func (p *Provider) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	var answer []series
	err := p.client.JSON(ctx, q, httpjson.Request{Path: "/render", Parameters: parameters(q, p.clock.Now())}, &answer)
	if err != nil {
		return metrics.Sample{}, err
	}
	if err := httpjson.One(q, len(answer), "aggregate them, for example with sumSeries()"); err != nil {
		return metrics.Sample{}, err
	}
	return httpjson.Newest(answer[0].values())
}

// rendered tells the parameters of a URL from a target.
var rendered = regexp.MustCompile(`(^|&) ?target=`)

// parameters are those of the render API for q.
func parameters(q metrics.Query, now time.Time) url.Values {
	// A long target is written on several lines, and Graphite knows no newlines.
	expr := strings.Join(strings.Fields(q.Expr), " ")
	v := url.Values{}
	if rendered.MatchString(expr) {
		v = split(expr)
	} else {
		v.Set("target", expr)
	}
	if !v.Has("from") {
		v.Set("from", strconv.FormatInt(now.Add(-windows*q.Window()).Unix(), 10))
		if !v.Has("until") {
			v.Set("until", strconv.FormatInt(now.Unix(), 10))
		}
	}
	v.Set("format", "json")
	return v
}

// split parses the query part of a URL. Other than net/url it keeps what is not
// escaped as it should be: a target may have a semicolon or a percent sign.
func split(query string) url.Values {
	v := url.Values{}
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if unescaped, err := url.QueryUnescape(value); err == nil {
			value = unescaped
		}
		v.Add(key, strings.TrimSpace(value))
	}
	return v
}

// values are those of the points that have one.
func (s series) values() []*float64 {
	values := make([]*float64, 0, len(s.Datapoints))
	for _, point := range s.Datapoints {
		if len(point) == 0 || point[0] == "" {
			continue
		}
		// A number out of range comes with the infinity that it stands for, and
		// that it is a number was looked at when it was decoded.
		f, _ := strconv.ParseFloat(point[0].String(), 64)
		values = append(values, &f)
	}
	return values
}
