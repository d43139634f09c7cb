package dynatrace

import (
	"net/http"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/metricstest"
)

// data is an answer in the form of
// https://docs.dynatrace.com/docs/dynatrace-api/environment-api/metric-v2/get-data-points.
func data(series string) metricstest.Answer {
	return metricstest.Answer{Body: `{"totalCount":1,"nextPageKey":null,"resolution":"Inf","result":[{"metricId":"builtin:service.response.time:percentile(95)",
		"dataPointCountRatio":2.0E-6,"dimensionCountRatio":1.0E-5,"data":[` + series + `]}]}`}
}

func series(values string) string {
	return `{"dimensions":["SERVICE-ABCDEFG0123456789"],"dimensionMap":{"dt.entity.service":"SERVICE-ABCDEFG0123456789"},"timestamps":[1767225600000],"values":` + values + `}`
}

func TestProvider(t *testing.T) {
	const query = "builtin:service.response.time:filter(eq(dt.entity.service,SERVICE-ABCDEFG0123456789)):percentile(95)"
	metricstest.Run(t, metricstest.Suite{
		New: New,
		Config: metrics.Config{Type: "dynatrace", Clock: clocktesting.NewFakePassiveClock(time.Unix(1767225600, 0)),
			Secret: map[string][]byte{"dynatrace_token": []byte("dt0c01.ST2EY72KQINMH574WMNVI7YN.G3DFPBEJYMODIDAEX454M7YWBUVEFOWK")}},
		Required:      []string{"dynatrace_token"},
		AddressNeeded: true,
		Query:         metrics.Query{Expr: query, Interval: time.Minute},
		Value:         data(series("[12.5]")),
		Empty:         data(""),
		Several:       data(series("[1]") + "," + series("[2]")),
		Refused: metricstest.Answer{Status: 400, Body: `{"error":{"code":400,"message":"Constraints violated.","constraintViolations":[
			{"path":"metricSelector","message":"mismatched input '<EOF>'","parameterLocation":"QUERY","location":null}]}}`},
		Unauthorized: metricstest.Answer{Status: 401, Body: `{"error":{"code":401,"message":"Token Authentication failed"}}`},
		RateLimited: metricstest.Answer{Status: 429, Header: map[string]string{"Content-Type": "application/json", "Retry-After": "30"},
			Body: `{"error":{"code":429,"message":"Too many requests"}}`},
		Cases: map[string]metricstest.Case{
			"no result":   {Answer: metricstest.Answer{Body: `{"totalCount":0,"nextPageKey":null,"result":[]}`}, WantErr: metrics.IsNoData},
			"only a gap":  {Answer: data(series("[null]")), WantErr: metrics.IsNoData},
			"two metrics": {Answer: metricstest.Answer{Body: `{"result":[{"data":[` + series("[1]") + `]},{"data":[` + series("[2]") + `]}]}`}, WantErr: metrics.IsQueryError, WantMessage: "2 series"},
			"scope missing": {Answer: metricstest.Answer{Status: 403, Body: `{"error":{"code":403,"message":"Token is missing required scope. Use one of: metrics.read (Read metrics)"}}`},
				WantErr: metrics.IsUnavailable, WantMessage: "refused the credentials (403): Token is missing required scope. Use one of: metrics.read"},
			"when to ask again": {Answer: metricstest.Answer{Status: 429, Header: map[string]string{"Retry-After": "30"}}, WantErr: metrics.IsUnavailable, WantMessage: "asked again in 30s"},
		},
		Request: func(t *testing.T, r *http.Request, _ string) {
			if r.Method != http.MethodGet || r.URL.Path != "/api/v2/metrics/query" || r.FormValue("metricSelector") != query || r.FormValue("resolution") != "Inf" ||
				r.FormValue("from") != "1767225000000" || r.FormValue("to") != "1767225600000" {
				t.Errorf("%s %s", r.Method, r.URL)
			}
			if r.Header.Get("Authorization") != "Api-Token dt0c01.ST2EY72KQINMH574WMNVI7YN.G3DFPBEJYMODIDAEX454M7YWBUVEFOWK" {
				t.Error("the token is missing")
			}
		},
	})
}
