package skywalking

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/metricstest"
)

const document = `query queryData($duration: Duration!) { service_apdex: readMetricsValues(
  condition: { name: "service_apdex", entity: { scope: Service, serviceName: "a", normal: true } },
  duration: $duration) { label values { values { value } } } }`

// data is an answer in the form of https://skywalking.apache.org/docs/main/v9.4.0/en/api/query-protocol/.
func data(fields string) metricstest.Answer {
	return metricstest.Answer{Body: `{"data":{` + fields + `}}`}
}

func TestProvider(t *testing.T) {
	metricstest.Run(t, metricstest.Suite{
		New: New,
		Config: metrics.Config{Type: "skywalking", Clock: clocktesting.NewFakePassiveClock(time.Unix(1767225630, 0)),
			Secret: map[string][]byte{"username": []byte("sluice-user"), "password": []byte("hunter2-long")}},
		AddressNeeded: true,
		Query:         metrics.Query{Expr: document, Interval: 2 * time.Minute},
		Value:         data(`"service_apdex":{"label":null,"values":{"values":[{"value":9},{"value":12.5},{"value":1000}]}}`),
		Empty:         data(`"service_apdex":{"label":null,"values":{"values":[]}}`),
		Several:       data(`"a":{"values":{"values":[{"value":1}]}},"b":{"values":{"values":[{"value":2}]}}`),
		Refused: metricstest.Answer{Body: `{"errors":[{"message":"Validation error (FieldUndefined@[readMetricValues]) : Field 'readMetricValues' in type 'Query' is undefined",
			"locations":[{"line":2,"column":3}],"extensions":{"classification":"ValidationError"}}]}`},
		Unauthorized: metricstest.Answer{Status: 401, Header: map[string]string{"WWW-Authenticate": `Basic realm="oap"`}},
		RateLimited:  metricstest.Answer{Status: 429},
		Cases: map[string]metricstest.Case{
			"only the current minute": {Answer: data(`"a":{"values":{"values":[{"value":7}]}}`), Want: 7},
			"nothing before it":       {Answer: data(`"a":{"values":{"values":[{"value":null},{"value":7}]}}`), Want: 7},
			"only gaps":               {Answer: data(`"a":{"values":{"values":[{"value":null},{"value":null}]}}`), WantErr: metrics.IsNoData},
			"no answer":               {Answer: data(``), WantErr: metrics.IsNoData},
			"single value":            {Answer: data(`"a":3`), Want: 3},
			"nullable value":          {Answer: data(`"a":{"value":3,"isEmptyValue":false}`), Want: 3},
			"nullable without value":  {Answer: data(`"a":{"value":0,"isEmptyValue":true}`), WantErr: metrics.IsNoData},
			"labels": {Answer: data(`"a":[{"label":"p50","values":{"values":[{"value":1}]}},{"label":"p99","values":{"values":[{"value":2}]}}]`),
				WantErr: metrics.IsQueryError, WantMessage: "2 series"},
			"expression": {Answer: data(`"a":{"type":"TIME_SERIES_VALUES","error":null,"results":[{"metric":{"labels":[]},"values":[{"id":"1","value":"4.5"},{"id":"2","value":null}]}]}`),
				Want: 4.5},
			"wrong expression": {Answer: data(`"a":{"type":"UNKNOWN","error":"no such metric","results":[]}`), WantErr: metrics.IsQueryError, WantMessage: "no such metric"},
		},
		Request: func(t *testing.T, r *http.Request, body string) {
			var sent map[string]any
			if err := json.Unmarshal([]byte(body), &sent); err != nil {
				t.Error(err)
			}
			want := map[string]any{"query": document, "variables": map[string]any{
				"duration": map[string]any{"start": "2025-12-31 2358", "end": "2026-01-01 0000", "step": "MINUTE"}}}
			if d := cmp.Diff(want, sent); d != "" || r.Method != http.MethodPost || r.URL.Path != "/graphql" {
				t.Errorf("%s %s %s", r.Method, r.URL, d)
			}
			if user, password, _ := r.BasicAuth(); user != "sluice-user" || password != "hunter2-long" {
				t.Error("the credentials are missing")
			}
		},
	})
}
