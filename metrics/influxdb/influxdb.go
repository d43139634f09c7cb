// Package influxdb asks InfluxDB for the value of a query: in Flux through the
// API of version 2, or in InfluxQL through that of version 1. Both are one
// request; the official clients bring far more than reading one number needs.
package influxdb

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/httpjson"
)

// The keys of the Secret.
const (
	token    = "token"
	org      = "org"
	username = "username"
	password = "password"
	database = "database"
)

// Provider is a metrics.Provider over InfluxDB.
type Provider struct {
	client        *httpjson.Client
	org, database string
}

var _ metrics.Provider = (*Provider)(nil)

// New returns a provider. A Secret, if there is one, has token and org for Flux;
// for InfluxQL it has database, and username and password or token.
func New(c metrics.Config) (metrics.Provider, error) {
	auth, err := authorization(c)
	if err != nil {
		return nil, err
	}
	client, err := httpjson.New(c, httpjson.Options{Auth: auth})
	if err != nil {
		return nil, err
	}
	return &Provider{client: client, org: string(c.Secret[org]), database: string(c.Secret[database])}, nil
}

// authorization are the headers for the keys of the Secret. Which language the
// queries are in is not known yet, so the keys have to be complete for one of them.
func authorization(c metrics.Config) (map[string]string, error) {
	has := func(key string) bool { return len(c.Secret[key]) > 0 }
	var needed []string
	switch {
	case len(c.Secret) == 0:
		return nil, nil
	case has(token) && !has(database):
		needed = []string{org}
	case has(token):
		return map[string]string{"Authorization": "Token " + string(c.Secret[token])}, nil
	case has(username) || has(password):
		needed = []string{username, password, database}
	case !has(database):
		needed = []string{token}
	}
	for _, key := range needed {
		if _, err := c.SecretValue(key); err != nil {
			return nil, err
		}
	}
	if has(token) {
		return map[string]string{"Authorization": "Token " + string(c.Secret[token])}, nil
	}
	return httpjson.OptionalAuth(c), nil
}

// Query gives the newest value of the one series that q.Expr selects.
func (p *Provider) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	if err := p.Check(q); err != nil {
		return metrics.Sample{}, err
	}
	if isFlux(q.Expr) {
		return p.flux(ctx, q)
	}
	return p.influxQL(ctx, q)
}

// Check implements metrics.Checker. What does not only read is refused.
func (p *Provider) Check(q metrics.Query) error {
	switch {
	case isFlux(q.Expr) && writes.MatchString(q.Expr):
		return &metrics.QueryError{Expr: q.Expr, Message: "it must only read: to() and requests to other servers are not allowed"}
	case !isFlux(q.Expr) && !reads(q.Expr):
		return &metrics.QueryError{Expr: q.Expr, Message: "it must be one SELECT without INTO, which only reads"}
	}
	return nil
}

// writes finds the functions of Flux that write, or call others.
var writes = regexp.MustCompile(`\bto\s*\(|"(experimental/)?http("|/)|"(influxdata/influxdb/)?(slack|pagerduty)"|"experimental/(mqtt|bigtable)"|"(sql|socket|kafka)"`)

// isFlux tells Flux from InfluxQL: it pipes what it reads through functions.
func isFlux(expr string) bool {
	return strings.HasPrefix(strings.TrimSpace(expr), "from(") || strings.Contains(expr, "|>")
}

// flux is https://docs.influxdata.com/influxdb/v2/api/v2/#operation/PostQuery.
func (p *Provider) flux(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	body, err := json.Marshal(map[string]any{
		"query": q.Expr,
		"type":  "flux",
		"dialect": map[string]any{
			"annotations": []string{"datatype", "group", "default"}, "header": true, "delimiter": ",",
		},
	})
	if err != nil {
		return metrics.Sample{}, &metrics.QueryError{Expr: q.Expr, Message: "it cannot be put into a request"}
	}
	parameters := url.Values{}
	if p.org != "" {
		parameters.Set("org", p.org)
	}
	var a annotated
	err = p.client.Do(ctx, q, httpjson.Request{
		Method: http.MethodPost, Path: "/api/v2/query", Parameters: parameters, Body: body, Accept: "application/csv",
	}, a.read)
	if err != nil {
		return metrics.Sample{}, err
	}
	if a.failure != "" {
		return metrics.Sample{}, p.refused(q, a.failure)
	}
	if err := httpjson.One(q, len(a.tables), `aggregate them, for example with group() |> sum()`); err != nil {
		return metrics.Sample{}, nothing(q, err)
	}
	for _, t := range a.tables {
		return t.sample(q)
	}
	return metrics.Sample{}, metrics.ErrNoData
}

// counting is a query that counts or sums at its end, in Flux or InfluxQL: where there is
// nothing InfluxDB has no row for it in place of a 0.
var counting = regexp.MustCompile(`(?i)\|>\s*(count|sum)\s*\([^)]*\)\s*(\|>\s*(yield|group|map|rename|keep|drop|toFloat|toInt)\s*\(.*\)\s*)*$|^\s*select\s+(count|sum)\s*\(`)

// nothing is the error of an answer without rows.
func nothing(q metrics.Query, err error) error {
	if metrics.IsNoData(err) && counting.MatchString(q.Expr) {
		return metrics.ErrNothingCounted
	}
	return err
}

// influxQL is https://docs.influxdata.com/influxdb/v1/tools/api/#query-http-endpoint.
// It is asked by GET, of which servers of version 1 only warn that a statement
// changes something, and carry it out.
func (p *Provider) influxQL(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	parameters := url.Values{"q": {strings.TrimSpace(q.Expr)}, "epoch": {"ns"}}
	if p.database != "" {
		parameters.Set("db", p.database)
	}
	var a results
	if err := p.client.Do(ctx, q, httpjson.Request{Path: "/query", Parameters: parameters}, a.read); err != nil {
		return metrics.Sample{}, err
	}
	if message := a.failure(); message != "" {
		return metrics.Sample{}, p.refused(q, message)
	}
	series := a.series()
	if err := httpjson.One(q, len(series), "aggregate them, without GROUP BY of a tag"); err != nil {
		return metrics.Sample{}, nothing(q, err)
	}
	return series[0].sample(q)
}

// reads tells whether InfluxQL is a single statement that changes nothing. A
// query with one of the words in a text is taken for one that changes something.
func reads(expr string) bool {
	expr = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(expr), ";"))
	words := strings.FieldsFunc(expr, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	return strings.HasPrefix(expr, "select") && words[0] == "select" && !slices.Contains(words, "into") && !strings.Contains(expr, ";")
}

func (p *Provider) refused(q metrics.Query, message string) error {
	return &metrics.QueryError{Expr: q.Expr, Message: "the provider refused it: " + p.client.Detail(message)}
}
