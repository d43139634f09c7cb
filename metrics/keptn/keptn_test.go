package keptn

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/metricstest"
)

var secret = map[string][]byte{"token": []byte("eyJhbGciOiJSUzI1NiJ9.e30.c2ln")}

// object is a KeptnMetric (https://keptn.sh/stable/docs/reference/crd-reference/metric/).
func object(status string) metricstest.Answer {
	return metricstest.Answer{Body: `{"apiVersion":"metrics.keptn.sh/v1beta1","kind":"KeptnMetric","metadata":{"name":"latency","namespace":"shop"},
		"spec":{"fetchIntervalSeconds":10,"provider":{"name":"prometheus"},"query":"x"},"status":` + status + `}`}
}

func status(code int, reason, message string) metricstest.Answer {
	return metricstest.Answer{Status: code, Body: `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"` + message + `","reason":"` + reason + `"}`}
}

func TestMetric(t *testing.T) {
	metricstest.Run(t, metricstest.Suite{
		New:          New,
		Config:       metrics.Config{Type: "keptn", Secret: secret},
		Query:        metrics.Query{Expr: "keptnmetric/shop/latency\n"},
		Value:        object(`{"value":"12.5","rawValue":"MTIuNQ==","lastUpdated":"2026-01-01T00:00:00Z"}`),
		Empty:        object(`{}`),
		NeverSeveral: "a KeptnMetric has one value",
		Refused:      status(404, "NotFound", "keptnmetrics.metrics.keptn.sh latency not found"),
		Unauthorized: status(403, "Forbidden", "keptnmetrics.metrics.keptn.sh latency is forbidden"),
		RateLimited:  status(429, "TooManyRequests", "too many requests"),
		Cases: map[string]metricstest.Case{
			"not a number": {Answer: object(`{"value":"warm"}`), WantErr: metrics.IsQueryError, WantMessage: "not a number"},
		},
		Request: func(t *testing.T, r *http.Request, _ string) {
			if r.Method != http.MethodGet || r.URL.Path != "/apis/metrics.keptn.sh/v1beta1/namespaces/shop/keptnmetrics/latency" {
				t.Errorf("%s %s", r.Method, r.URL)
			}
			if r.Header.Get("Authorization") != "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln" {
				t.Error("the token is missing")
			}
		},
	})
}

// cluster serves one Analysis that completes when it is looked at for the
// completes-th time, and never if that is 0.
type cluster struct {
	created   map[string]any
	pass      bool
	completes int32
	looks     atomic.Int32
	deleted   atomic.Int32
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const path = "/apis/metrics.keptn.sh/v1beta1/namespaces/shop/analyses"
	switch {
	case r.Method == http.MethodPost && r.URL.Path == path:
		raw, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(raw, &c.created)
		metricstest.Answer{Status: 201, Body: `{"metadata":{"name":"slo-x7k2p"}}`}.Write(w)
	case r.Method == http.MethodGet && r.URL.Path == path+"/slo-x7k2p":
		state := "Progressing"
		if look := c.looks.Add(1); c.completes > 0 && look >= c.completes {
			state = "Completed"
		}
		answer, _ := json.Marshal(map[string]any{"metadata": map[string]any{"name": "slo-x7k2p"}, "status": map[string]any{"state": state, "pass": c.pass}})
		metricstest.Answer{Body: string(answer)}.Write(w)
	case r.Method == http.MethodDelete && r.URL.Path == path+"/slo-x7k2p":
		c.deleted.Add(1)
		status(200, "", "").Write(w)
	default:
		status(404, "NotFound", r.Method+" "+r.URL.Path).Write(w)
	}
}

func TestAnalysis(t *testing.T) {
	for name, tc := range map[string]struct {
		pass      bool
		completes int32
		timeout   time.Duration
		want      float64
		wantErr   func(error) bool
	}{
		"passes":         {pass: true, completes: 2, want: 1},
		"fails":          {pass: false, completes: 1, want: 0},
		"never complete": {pass: true, completes: 0, timeout: 100 * time.Millisecond, wantErr: metrics.IsUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			c := &cluster{pass: tc.pass, completes: tc.completes}
			server := httptest.NewServer(c)
			t.Cleanup(server.Close)
			p, err := New(metrics.Config{Address: server.URL, Secret: secret})
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.Query(t.Context(), metrics.Query{Expr: "analysis/shop/slo/5m/Service=A;stage=b", Timeout: tc.timeout})
			if tc.wantErr != nil && !tc.wantErr(err) || tc.wantErr == nil && (err != nil || got.Value != tc.want) {
				t.Errorf("got %v, %v", got.Value, err)
			}
			if c.deleted.Load() != 1 {
				t.Error("the Analysis stays behind")
			}
			want := map[string]any{"apiVersion": "metrics.keptn.sh/v1beta1", "kind": "Analysis",
				"metadata": map[string]any{"generateName": "slo-", "namespace": "shop", "labels": map[string]any{"app.kubernetes.io/managed-by": "sluice"}},
				"spec": map[string]any{"analysisDefinition": map[string]any{"name": "slo"}, "timeframe": map[string]any{"recent": "5m"},
					"args": map[string]any{"Service": "A", "stage": "b"}}}
			if d := cmp.Diff(want, c.created); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestQueryFormat(t *testing.T) {
	for name, tc := range map[string]struct {
		query   string
		want    target
		wantErr bool
	}{
		"metric":          {query: "KeptnMetrics/Shop/Latency", want: target{namespace: "shop", name: "latency", duration: "1m"}},
		"analysis":        {query: "analysis/shop/slo", want: target{analysis: true, namespace: "shop", name: "slo", duration: "1m"}},
		"duration":        {query: "analyses/shop/slo/10m", want: target{analysis: true, namespace: "shop", name: "slo", duration: "10m"}},
		"argument with /": {query: "analysis/shop/slo//a=b/c;", want: target{analysis: true, namespace: "shop", name: "slo", duration: "1m", arguments: map[string]string{"a": "b/c"}}},
		"no value":        {query: "analysis/shop/slo/1m/a", wantErr: true},
		"other kind":      {query: "secret/shop/slo", wantErr: true},
		"too short":       {query: "keptnmetric/shop", wantErr: true},
		"no name":         {query: "keptnmetric/shop/", wantErr: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse(metrics.Query{Expr: tc.query})
			if (err != nil) != tc.wantErr || err != nil && !metrics.IsQueryError(err) {
				t.Fatalf("error %v", err)
			}
			if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(target{})); d != "" {
				t.Error(d)
			}
		})
	}
}
