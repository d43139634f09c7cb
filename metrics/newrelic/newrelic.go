// Package newrelic asks New Relic for the value of an NRQL query, through
// NerdGraph with a user key or through the older Insights API with a query key.
// Both are one small JSON request; the official client is far larger.
package newrelic

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/httpjson"
)

const (
	// DefaultInsightsAddress is the Insights API of the US data center.
	DefaultInsightsAddress = "https://insights-api.newrelic.com"
	// DefaultNerdGraphAddress is NerdGraph of the US data center.
	DefaultNerdGraphAddress = "https://api.newrelic.com"

	accountID = "newrelic_account_id"
	queryKey  = "newrelic_query_key"
	userKey   = "newrelic_api_key"
)

// defaults are the addresses by region.
var defaults = map[string]struct{ insights, nerdGraph string }{
	"":   {DefaultInsightsAddress, DefaultNerdGraphAddress},
	"us": {DefaultInsightsAddress, DefaultNerdGraphAddress},
	"eu": {"https://insights-api.eu.newrelic.com", "https://api.eu.newrelic.com"},
}

// New returns a provider. The Secret has newrelic_account_id, and
// newrelic_api_key (a user key, for NerdGraph) or newrelic_query_key (for
// Insights). A region of us or eu chooses the default address.
func New(c metrics.Config) (metrics.Provider, error) {
	account, err := c.SecretValue(accountID)
	if err != nil {
		return nil, err
	}
	id, err := strconv.ParseInt(strings.TrimSpace(account), 10, 64)
	if err != nil {
		return nil, &metrics.ConfigError{Field: "secret." + accountID, Message: "not a number: the account ID of New Relic is one"}
	}
	addresses, ok := defaults[strings.ToLower(c.Region)]
	if !ok {
		return nil, &metrics.ConfigError{Field: "region", Message: fmt.Sprintf("%q is not known; allowed: us, eu", c.Region)}
	}
	if len(c.Secret[userKey]) > 0 {
		return newNerdGraph(c, id, addresses.nerdGraph)
	}
	key, err := c.SecretValue(queryKey)
	if err != nil {
		return nil, &metrics.ConfigError{Field: "secret." + queryKey,
			Message: "the Secret of a newrelic provider needs the key " + userKey + " (a user key) or " + queryKey}
	}
	client, err := httpjson.New(c, httpjson.Options{DefaultAddress: addresses.insights, Auth: map[string]string{"X-Query-Key": key}})
	if err != nil {
		return nil, err
	}
	return &insights{client: client, account: id}, nil
}

// insights is https://docs.newrelic.com/docs/apis/insights-apis/query-insights-event-data-api/.
type insights struct {
	client  *httpjson.Client
	account int64
}

// Query implements metrics.Provider.
func (p *insights) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	var a struct {
		Results []map[string]any  `json:"results"`
		Facets  []json.RawMessage `json:"facets"`
	}
	path := fmt.Sprintf("/v1/accounts/%d/query", p.account)
	if err := p.client.JSON(ctx, q, httpjson.Request{Path: path, Parameters: url.Values{"nrql": {withWindow(q)}}}, &a); err != nil {
		return metrics.Sample{}, err
	}
	if len(a.Facets) > 0 {
		return metrics.Sample{}, httpjson.One(q, max(len(a.Facets), 2), "leave out FACET")
	}
	return sampleOf(q, a.Results)
}

// nerdGraph is https://docs.newrelic.com/docs/apis/nerdgraph/examples/nerdgraph-nrql-tutorial/.
type nerdGraph struct {
	client  *httpjson.Client
	path    string
	account int64
}

func newNerdGraph(c metrics.Config, account int64, address string) (metrics.Provider, error) {
	key, err := c.SecretValue(userKey)
	if err != nil {
		return nil, err
	}
	client, err := httpjson.New(c, httpjson.Options{DefaultAddress: address, Auth: map[string]string{"API-Key": key}})
	if err != nil {
		return nil, err
	}
	path := "/graphql"
	if strings.HasSuffix(strings.TrimSuffix(c.Address, "/"), path) {
		path = "" // the address is the one that New Relic's pages show
	}
	return &nerdGraph{client: client, account: account, path: path}, nil
}

const document = `query ($account: Int!, $nrql: Nrql!) { actor { account(id: $account) { nrql(query: $nrql) { results } } } }`

// Query implements metrics.Provider.
func (p *nerdGraph) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	var a struct {
		Actor struct {
			Account struct {
				NRQL struct {
					Results []map[string]any `json:"results"`
				} `json:"nrql"`
			} `json:"account"`
		} `json:"actor"`
	}
	variables := map[string]any{"account": p.account, "nrql": withWindow(q)}
	if err := p.client.GraphQL(ctx, q, p.path, document, variables, &a); err != nil {
		return metrics.Sample{}, err
	}
	return sampleOf(q, a.Actor.Account.NRQL.Results)
}

var (
	quoted = regexp.MustCompile("'[^']*'|`[^`]*`")
	since  = regexp.MustCompile(`(?i)\bSINCE\b`)
)

// withWindow is the NRQL with the time that it looks back, unless it says itself.
func withWindow(q metrics.Query) string {
	nrql := strings.TrimSpace(q.Expr)
	if since.MatchString(quoted.ReplaceAllString(nrql, "")) {
		return nrql
	}
	return fmt.Sprintf("%s SINCE %d seconds ago", nrql, int64(q.Window().Seconds()))
}

// sampleOf finds the one number of one row. Its name depends on the function in
// the query ("sum", "result", "percentile.duration": {"95": ...}), so any will do.
func sampleOf(q metrics.Query, rows []map[string]any) (metrics.Sample, error) {
	if err := httpjson.One(q, len(rows), "select one function, without FACET and TIMESERIES"); err != nil {
		return metrics.Sample{}, err
	}
	var found []float64
	numbers(rows[0], &found)
	if err := httpjson.One(q, len(found), "select one function, with one percentile"); err != nil {
		return metrics.Sample{}, err
	}
	return metrics.Sample{Value: found[0]}, nil
}

func numbers(v any, found *[]float64) {
	switch v := v.(type) {
	case float64:
		*found = append(*found, v)
	case map[string]any:
		for _, e := range v {
			numbers(e, found)
		}
	}
}
