package newrelic

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/metricstest"
)

// insightsRows is an answer in the form of
// https://docs.newrelic.com/docs/apis/insights-apis/query-insights-event-data-api/.
func insightsRows(rows string) metricstest.Answer {
	return metricstest.Answer{Body: `{"results":` + rows + `,"performanceStats":{"inspectedCount":124,"omittedCount":0,"matchCount":43,"wallClockTime":101},
		"metadata":{"eventTypes":["Metric"],"eventType":"Metric","openEnded":true,"beginTime":"2026-01-01T00:00:00Z","endTime":"2026-01-01T00:02:00Z",
		"beginTimeMillis":1767225600000,"endTimeMillis":1767225720000,"rawSince":"120 SECONDS AGO","rawUntil":"NOW","rawCompareWith":"",
		"guid":"1","routerGuid":"2","messages":[],"contents":[{"function":"sum","attribute":"x","simple":true}]}}`}
}

func TestInsights(t *testing.T) {
	metricstest.Run(t, metricstest.Suite{
		New: New,
		Config: metrics.Config{Type: "newrelic", Secret: map[string][]byte{
			"newrelic_account_id": []byte("1234567"),
			"newrelic_query_key":  []byte("NRIQ-0123456789abcdef"),
		}},
		Required: []string{"newrelic_account_id", "newrelic_query_key"},
		Query:    metrics.Query{Expr: "SELECT average(duration) FROM Transaction WHERE name = 'since'\n", Interval: 2 * time.Minute},
		Value:    insightsRows(`[{"average":12.5}]`),
		Empty:    insightsRows(`[{"average":null}]`),
		Several:  insightsRows(`[{"average":1},{"max":2}]`),
		Refused:  metricstest.Answer{Status: 400, Body: `{"error":"NRQL Syntax Error: Error at line 1 position 8, unexpected 'FROM'","metadata":{}}`},
		Unauthorized: metricstest.Answer{Status: 401,
			Body: `{"error":"Invalid query key."}`},
		RateLimited: metricstest.Answer{Status: 429, Body: `{"error":"Rate limit exceeded"}`},
		Cases: map[string]metricstest.Case{
			"name of a template function": {Answer: insightsRows(`[{"result":3}]`), Want: 3},
			"count of nothing":            {Answer: insightsRows(`[{"count":0}]`), Want: 0},
			"percentile":                  {Answer: insightsRows(`[{"percentiles":{"95":0.25}}]`), Want: 0.25},
			"two percentiles":             {Answer: insightsRows(`[{"percentiles":{"95":0.25,"99":1}}]`), WantErr: metrics.IsQueryError, WantMessage: "2 series"},
			"no row":                      {Answer: insightsRows(`[]`), WantErr: metrics.IsNoData},
			"facets": {Answer: metricstest.Answer{Body: `{"facets":[{"name":"a","results":[{"average":1}]},{"name":"b","results":[{"average":2}]}],"totalResult":{}}`},
				WantErr: metrics.IsQueryError, WantMessage: "leave out FACET"},
		},
		Request: func(t *testing.T, r *http.Request, _ string) {
			const want = "SELECT average(duration) FROM Transaction WHERE name = 'since' SINCE 120 seconds ago"
			if r.Method != http.MethodGet || r.URL.Path != "/v1/accounts/1234567/query" || r.FormValue("nrql") != want {
				t.Errorf("%s %s", r.Method, r.URL)
			}
			if r.Header.Get("X-Query-Key") != "NRIQ-0123456789abcdef" {
				t.Error("the key is missing")
			}
		},
	})
}

// graphRows is an answer in the form of
// https://docs.newrelic.com/docs/apis/nerdgraph/examples/nerdgraph-nrql-tutorial/.
func graphRows(rows string) metricstest.Answer {
	return metricstest.Answer{Body: `{"data":{"actor":{"account":{"nrql":{"results":` + rows + `}}}}}`}
}

func failure(message, class string) metricstest.Answer {
	return metricstest.Answer{Body: `{"data":{"actor":{"account":{"nrql":null}}},"errors":[{"locations":[{"column":66,"line":1}],
		"message":"` + message + `","path":["actor","account","nrql"],"extensions":{"errorClass":"` + class + `"}}]}`}
}

func TestNerdGraph(t *testing.T) {
	metricstest.Run(t, metricstest.Suite{
		New: New,
		Config: metrics.Config{Type: "newrelic", Secret: map[string][]byte{
			"newrelic_account_id": []byte("1234567"),
			"newrelic_api_key":    []byte("NRAK-0123456789ABCDEF"),
		}},
		Required:     []string{"newrelic_account_id"},
		Query:        metrics.Query{Expr: "SELECT count(*) FROM Transaction since 5 minutes ago"},
		Value:        graphRows(`[{"count":12.5}]`),
		Empty:        graphRows(`[{"average.duration":null}]`),
		Several:      graphRows(`[{"facet":"a","appName":"a","count":1},{"facet":"b","appName":"b","count":2}]`),
		Refused:      failure("NRQL Syntax Error: Error at line 1 position 1, unexpected 'SELEC'", "INVALID_INPUT"),
		Unauthorized: metricstest.Answer{Status: 401, Body: `{"errors":[{"message":"The API key provided is invalid"}]}`},
		RateLimited:  failure("Too many requests", "TOO_MANY_REQUESTS"),
		Cases: map[string]metricstest.Case{
			"percentile":       {Answer: graphRows(`[{"percentile.duration":{"95":0.25}}]`), Want: 0.25},
			"not this account": {Answer: failure("User is not authorized", "ACCESS_DENIED"), WantErr: metrics.IsUnavailable, WantMessage: "refused the credentials"},
			"slow query":       {Answer: failure("NRDB:1109013 query timed out", "TIMEOUT"), WantErr: metrics.IsUnavailable, WantMessage: "timed out"},
			"no data at all":   {Answer: metricstest.Answer{Body: `{}`}, WantErr: metrics.IsUnavailable, WantMessage: "not what its API sends"},
		},
		Request: func(t *testing.T, r *http.Request, body string) {
			var sent struct {
				Variables struct {
					Account int    `json:"account"`
					NRQL    string `json:"nrql"`
				} `json:"variables"`
			}
			if err := json.Unmarshal([]byte(body), &sent); err != nil {
				t.Error(err)
			}
			v := sent.Variables
			if r.Method != http.MethodPost || r.URL.Path != "/graphql" || v.Account != 1234567 || v.NRQL != "SELECT count(*) FROM Transaction since 5 minutes ago" {
				t.Errorf("%s %s %s", r.Method, r.URL, body)
			}
			if r.Header.Get("API-Key") != "NRAK-0123456789ABCDEF" {
				t.Error("the key is missing")
			}
		},
	})
}

func TestConfiguration(t *testing.T) {
	secret := func(account string) map[string][]byte {
		return map[string][]byte{"newrelic_account_id": []byte(account), "newrelic_api_key": []byte("NRAK-0123456789ABCDEF")}
	}
	for name, tc := range map[string]struct {
		config   metrics.Config
		wantErr  bool
		wantName string
	}{
		"default":         {metrics.Config{Secret: secret("1")}, false, "https://api.newrelic.com"},
		"region":          {metrics.Config{Secret: secret("1"), Region: "EU"}, false, "https://api.eu.newrelic.com"},
		"unknown region":  {metrics.Config{Secret: secret("1"), Region: "mars"}, true, ""},
		"account by name": {metrics.Config{Secret: secret("acme")}, true, ""},
		"whole address":   {metrics.Config{Secret: secret("1"), Address: "https://api.newrelic.com/graphql"}, false, "https://api.newrelic.com"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := New(tc.config)
			if tc.wantErr != metrics.IsConfigError(err) {
				t.Fatalf("error %v", err)
			}
			if err == nil && p.(*nerdGraph).client.Name() != tc.wantName {
				t.Errorf("asks %s", p.(*nerdGraph).client.Name())
			}
		})
	}
}
