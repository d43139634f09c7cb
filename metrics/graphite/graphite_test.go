package graphite

import (
	"math"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/metricstest"
)

// now is the end of the window in the recorded answers.
var now = time.Unix(1767225600, 0)

// one is an answer with one series, in the form of
// https://graphite.readthedocs.io/en/stable/render_api.html#json.
func one(points string) metricstest.Answer {
	return metricstest.Answer{Body: `[{"target": "sumSeries(stats.shop.*)", "tags": {"aggregatedBy": "sum", "name": "stats.shop.*"}, "datapoints": ` + points + `}]`}
}

func TestProvider(t *testing.T) {
	metricstest.Run(t, metricstest.Suite{
		New: New,
		Config: metrics.Config{Type: "graphite", Clock: clocktesting.NewFakePassiveClock(now), Secret: map[string][]byte{
			"username": []byte("graphite-reader"),
			"password": []byte("correct-horse"),
		}},
		Required:      []string{"username", "password"},
		AddressNeeded: true,
		Query:         metrics.Query{Expr: "target=sumSeries(\n  stats.shop.*\n)\n", Interval: 2 * time.Minute},
		Value:         one(`[[9, 1767225540], [12.5, 1767225600]]`),
		Empty:         metricstest.Answer{Body: `[]`},
		Several: metricstest.Answer{Body: `[{"target": "stats.shop.a", "datapoints": [[1, 1767225600]]},
			{"target": "stats.shop.b", "datapoints": [[2, 1767225600]]}]`},
		Refused:      metricstest.Answer{Status: 400, Header: map[string]string{"Content-Type": "text/plain"}, Body: "Invalid target: sumSeries("},
		Unauthorized: metricstest.Answer{Status: 401, Header: map[string]string{"WWW-Authenticate": "Basic"}, Body: "Unauthorized"},
		RateLimited:  metricstest.Answer{Status: 429, Body: "Too Many Requests"},
		Cases: map[string]metricstest.Case{
			"gap at the end": {Answer: one(`[[9, 1767225540], [null, 1767225600]]`), Want: 9},
			"only gaps":      {Answer: one(`[[null, 1767225540], [null, 1767225600]]`), WantErr: metrics.IsNoData},
			"no points":      {Answer: one(`[]`), WantErr: metrics.IsNoData},
			"zero":           {Answer: one(`[[9, 1767225540], [0, 1767225600]]`), Want: 0},
			"infinity":       {Answer: one(`[[1e9999, 1767225600]]`), Want: math.Inf(1)},
			"as text":        {Answer: one(`[["3.5", "1767225600"]]`), Want: 3.5},
			"no number":      {Answer: one(`[["much", 1767225600]]`), WantErr: metrics.IsUnavailable, WantMessage: "not what its API sends"},
			"says why": {Answer: metricstest.Answer{Status: 400, Header: map[string]string{"Content-Type": "text/plain"}, Body: "Missing required parameter"},
				WantErr: metrics.IsQueryError, WantMessage: "HTTP 400 Bad Request: Missing required parameter"},
		},
		Request: func(t *testing.T, r *http.Request, _ string) {
			want := url.Values{"target": {"sumSeries( stats.shop.* )"}, "format": {"json"}, "from": {"1767224400"}, "until": {"1767225600"}}
			if diff := cmp.Diff(want, r.URL.Query()); r.Method != http.MethodGet || r.URL.Path != "/render" || diff != "" {
				t.Errorf("%s %s %s", r.Method, r.URL, diff)
			}
			if user, password, _ := r.BasicAuth(); user != "graphite-reader" || password != "correct-horse" {
				t.Error("the credentials are missing")
			}
		},
	})
}

func TestParameters(t *testing.T) {
	const from, until = "1767225000", "1767225600"
	for name, tc := range map[string]struct {
		expr string
		want url.Values
	}{
		"target":            {"a.b", url.Values{"target": {"a.b"}, "from": {from}, "until": {until}}},
		"target that has &": {"alias(a, 'x & y+z%')", url.Values{"target": {"alias(a, 'x & y+z%')"}, "from": {from}, "until": {until}}},
		"tag named target":  {"seriesByTag('target=a')", url.Values{"target": {"seriesByTag('target=a')"}, "from": {from}, "until": {until}}},
		"own beginning":     {"target=a&from=-5min", url.Values{"target": {"a"}, "from": {"-5min"}}},
		"own end":           {"target=a&until=-1min", url.Values{"target": {"a"}, "from": {from}, "until": {"-1min"}}},
		"target last":       {"from=-5min\n&target=a\n&until=now", url.Values{"target": {"a"}, "from": {"-5min"}, "until": {"now"}}},
		"two targets":       {"target=a&target=b", url.Values{"target": {"a", "b"}, "from": {from}, "until": {until}}},
		"escaped":           {"target=alias(a%2C%20'b%26c')", url.Values{"target": {"alias(a, 'b&c')"}, "from": {from}, "until": {until}}},
		"badly escaped":     {"target=alias(a;t=1,'100%')", url.Values{"target": {"alias(a;t=1,'100%')"}, "from": {from}, "until": {until}}},
		"other format":      {"target=a&format=png", url.Values{"target": {"a"}, "from": {from}, "until": {until}}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.want.Set("format", "json")
			if diff := cmp.Diff(tc.want, parameters(metrics.Query{Expr: tc.expr}, now)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWithoutSecret(t *testing.T) {
	if _, err := New(metrics.Config{Type: "graphite", Address: "http://graphite"}); err != nil {
		t.Error(err)
	}
}
