package factory

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sluice-delivery/sluice/metrics"
)

// FuzzAnswers has the servers of all providers answer anything: each says a number, or one of the errors that are known.
func FuzzAnswers(f *testing.F) {
	for _, body := range []string{
		"", "null", "1", `"1"`, "[]", "{}", `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"2"]}]}}`,
		`{"status":"success","data":{"resultType":"scalar","result":[1,"NaN"]}}`, `{"status":"error","errorType":"bad_data","error":"x"}`,
		`{"series":[{"pointlist":[[1,2],[2,null]]}]}`, `[{"datapoints":[[1,2],[null,3],[]]}]`, `{"results":[{"series":[{"columns":["time","m"],"values":[[1,2]]}]}]}`,
		",result,table,_time,_value\n,,0,2026-01-01T00:00:00Z,1\n", `{"results":[{"sum":1}]}`, `{"data":{"actor":{"account":{"nrql":{"results":[{"a":1}]}}}}}`,
		`{"result":[{"data":[{"values":[1,null]}]}]}`, `{"items":[{"value":"12500m"}]}`, `{"status":{"value":"1"}}`, `{"data":{"a":{"values":{"values":[{"value":1}]}}}}`,
		`{"MetricDataResults":[{"Id":"a","Values":[1],"Timestamps":[1]}]}`, `{"timeSeriesData":[{"pointData":[{"values":[{"doubleValue":1}]}]}]}`,
		"data: {\"type\":\"data\",\"logicalTimestampMs\":1,\"data\":[{\"tsId\":\"a\",\"value\":1}]}\n\n", `[[[[[[[[[[1]]]]]]]]]]`, `{"a":1e999}`, `{"a":"1e999"}`,
	} {
		f.Add(http.StatusOK, body)
	}
	f.Add(http.StatusTooManyRequests, "slow down")
	f.Add(http.StatusNoContent, "")
	answers := make(chan func(http.ResponseWriter), 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answer := <-answers
		answers <- answer // for who asks twice
		answer(w)
	}))
	f.Cleanup(server.Close)
	config := metrics.Config{Address: server.URL, Region: "us", Secret: map[string][]byte{
		"datadog_api_key": []byte("a"), "datadog_application_key": []byte("b"), "dynatrace_token": []byte("a"),
		"newrelic_account_id": []byte("1"), "newrelic_query_key": []byte("b"), "sf_token_key": []byte("a"),
		"token": []byte("a"), "org": []byte("c"), "database": []byte("d"),
	}}
	queries := map[string][]string{
		"datadog": {"a"}, "dynatrace": {"a"}, "graphite": {"a"}, "influxdb": {`from(bucket: "a") |> mean()`, "SELECT a FROM b"}, "newrelic": {"SELECT a FROM b"},
		"prometheus": {"up"}, "skywalking": {"query { a }"}, "splunk": {"data('a').publish()"}, "web": {"/"},
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < http.StatusOK || status > 599 {
			return
		}
		answers <- func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", contentType(body))
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
		defer func() { <-answers }()
		for name, all := range queries {
			c := config
			c.Type = name
			if name == "graphite" || name == "prometheus" || name == "skywalking" || name == "web" {
				c.Secret = nil
			}
			if name == "web" {
				c.JSONPath = "{..a}"
			}
			provider, err := New(c)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, query := range all {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				_, err = provider.Query(ctx, metrics.Query{Expr: query, Timeout: 30 * time.Second})
				cancel()
				if err != nil && !metrics.IsNoData(err) && !metrics.IsUnavailable(err) && !metrics.IsQueryError(err) {
					t.Errorf("%s: %d %q is answered with %T: %v", name, status, body, err, err)
				}
			}
		}
	})
}

func contentType(body string) string {
	if json.Valid([]byte(body)) {
		return "application/json"
	}
	return "text/plain"
}
