package datadog

import (
	"net/http"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/metricstest"
)

// now is the end of the window in the recorded answers.
var now = time.Unix(1767225600, 0)

// one is an answer with one series, in the form of
// https://docs.datadoghq.com/api/latest/metrics/#query-timeseries-points.
func one(points string) metricstest.Answer {
	return metricstest.Answer{Body: `{"status":"ok","resp_version":1,"query":"avg:x{*}","from_date":1767225000000,"to_date":1767225600000,
		"res_type":"time_series","message":"","group_by":[],"values":[],"times":[],
		"series":[{"metric":"x","display_name":"x","query_index":0,"aggr":"avg","scope":"*","tag_set":[],"expression":"avg:x{*}",
		"start":1767225000000,"end":1767225599000,"interval":20,"length":2,"attributes":{},"unit":null,"pointlist":` + points + `}]}`}
}

func TestProvider(t *testing.T) {
	metricstest.Run(t, metricstest.Suite{
		New: New,
		Config: metrics.Config{Type: "datadog", Clock: clocktesting.NewFakePassiveClock(now), Secret: map[string][]byte{
			"datadog_api_key":         []byte("0123456789abcdef"),
			"datadog_application_key": []byte("fedcba9876543210"),
		}},
		Required: []string{"datadog_api_key", "datadog_application_key"},
		Query:    metrics.Query{Expr: "avg:x{pod:a-*}", Interval: 2 * time.Minute},
		Value:    one(`[[1767225560000.0,9],[1767225580000.0,12.5]]`),
		Empty:    metricstest.Answer{Body: `{"status":"ok","res_type":"time_series","series":[],"from_date":1767225000000,"to_date":1767225600000}`},
		Several: metricstest.Answer{Body: `{"status":"ok","series":[{"scope":"pod:a","interval":20,"pointlist":[[1767225560000.0,1]]},
			{"scope":"pod:b","interval":20,"pointlist":[[1767225560000.0,2]]}]}`},
		Refused:      metricstest.Answer{Status: 400, Body: `{"errors":["Error parsing query: \nunable to parse avg:x{: Rule 'scope_expr' didn't match at '' (line 1, column 7)."]}`},
		Unauthorized: metricstest.Answer{Status: 403, Body: `{"errors":["Forbidden"]}`},
		RateLimited: metricstest.Answer{Status: 429, Header: map[string]string{"Content-Type": "application/json", "X-RateLimit-Limit": "1600",
			"X-RateLimit-Period": "3600", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "120"}, Body: `{"errors":["Rate limit of 1600 requests in 3600 seconds reached. Please try again later."]}`},
		Cases: map[string]metricstest.Case{
			"unfinished bucket": {Answer: one(`[[1767225560000.0,9],[1767225590000.0,1000]]`), Want: 9},
			"only unfinished":   {Answer: one(`[[1767225590000.0,7]]`), Want: 7},
			"gap at the end":    {Answer: one(`[[1767225560000.0,9],[1767225580000.0,null]]`), Want: 9},
			"only gaps":         {Answer: one(`[[1767225560000.0,null]]`), WantErr: metrics.IsNoData},
			"no points":         {Answer: one(`[]`), WantErr: metrics.IsNoData},
			"error with 200": {Answer: metricstest.Answer{Body: `{"status":"error","error":"Invalid query","series":[]}`},
				WantErr: metrics.IsQueryError, WantMessage: "the provider refused it: Invalid query"},
			"says why": {Answer: metricstest.Answer{Status: 400, Body: `{"errors":["Error parsing query"]}`},
				WantErr: metrics.IsQueryError, WantMessage: "HTTP 400 Bad Request: Error parsing query"},
		},
		Request: func(t *testing.T, r *http.Request, _ string) {
			if r.Method != http.MethodGet || r.URL.Path != "/api/v1/query" || r.FormValue("query") != "avg:x{pod:a-*}" ||
				r.FormValue("from") != "1767224400" || r.FormValue("to") != "1767225600" {
				t.Errorf("%s %s", r.Method, r.URL)
			}
			if r.Header.Get("DD-API-KEY") != "0123456789abcdef" || r.Header.Get("DD-APPLICATION-KEY") != "fedcba9876543210" {
				t.Error("the keys are missing")
			}
		},
	})
}
