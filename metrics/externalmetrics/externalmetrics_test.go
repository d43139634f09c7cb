package externalmetrics

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/metricstest"
)

// items is an answer in the form of https://kubernetes.io/docs/reference/external-api/external-metrics.v1beta1/.
func items(values ...string) metricstest.Answer {
	list := make([]string, 0, len(values))
	for _, v := range values {
		list = append(list, `{"metricName":"queue","metricLabels":{"app":"a"},"timestamp":"2026-01-01T00:00:00Z","value":"`+v+`"}`)
	}
	return metricstest.Answer{Body: `{"kind":"ExternalMetricValueList","apiVersion":"external.metrics.k8s.io/v1beta1","metadata":{},"items":[` + strings.Join(list, ",") + `]}`}
}

func status(code int, reason, message string) metricstest.Answer {
	return metricstest.Answer{Status: code, Body: `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"` + message + `","reason":"` + reason + `"}`}
}

func TestProvider(t *testing.T) {
	metricstest.Run(t, metricstest.Suite{
		New:          New,
		Config:       metrics.Config{Type: "externalmetrics", Secret: map[string][]byte{"token": []byte("eyJhbGciOiJSUzI1NiJ9.e30.c2ln")}},
		Query:        metrics.Query{Expr: "shop/queue?labelSelector=app%3Da"},
		Value:        items("12500m"),
		Empty:        items(),
		Several:      items("1", "2"),
		Refused:      status(400, "BadRequest", "unable to parse requirement"),
		Unauthorized: status(403, "Forbidden", "queue.external.metrics.k8s.io is forbidden: User cannot list resource"),
		RateLimited:  status(429, "TooManyRequests", "too many requests"),
		Cases: map[string]metricstest.Case{
			"suffix":         {Answer: items("2k"), Want: 2000},
			"no such metric": {Answer: status(404, "NotFound", "queue.external.metrics.k8s.io not found"), WantErr: metrics.IsNoData},
			"nobody serves it": {Answer: metricstest.Answer{Status: 404, Header: map[string]string{"Content-Type": "text/plain"}, Body: "404 page not found"},
				WantErr: metrics.IsQueryError, WantMessage: "nobody serves"},
			"adapter is away": {Answer: status(503, "ServiceUnavailable", "service unavailable"), WantErr: metrics.IsUnavailable, WantMessage: "service unavailable"},
		},
		Request: func(t *testing.T, r *http.Request, _ string) {
			if r.Method != http.MethodGet || r.URL.Path != "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/queue" || r.FormValue("labelSelector") != "app=a" {
				t.Errorf("%s %s", r.Method, r.URL)
			}
			if r.Header.Get("Authorization") != "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln" {
				t.Error("the token is missing")
			}
		},
	})
}

func TestQueryFormat(t *testing.T) {
	for name, tc := range map[string]struct{ query, wantPath, wantSelector string }{
		"metric":         {"queue", "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/queue", ""},
		"slash":          {"/queue", "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/queue", ""},
		"line break":     {"shop/queue\n", "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/queue", ""},
		"selector":       {"shop/queue?labelSelector=app+in+(a,b)", "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/queue", "app in (a,b)"},
		"odd name":       {"shop/s0-kafka:x y", "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/s0-kafka:x%20y", ""},
		"empty":          {"", "", ""},
		"no metric":      {"shop/", "", ""},
		"up":             {"shop/..", "", ""},
		"up, escaped":    {"shop/%2e%2e", "", ""},
		"other API":      {"..%2fpods/x", "", ""},
		"too many parts": {"a/b/c", "", ""},
		"bad selector":   {"queue?labelSelector=a%3D%3D%3Db", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			path, selector, err := (&Provider{}).parse(metrics.Query{Expr: tc.query})
			if path != tc.wantPath || selector != tc.wantSelector || (err != nil) != (tc.wantPath == "") || err != nil && !metrics.IsQueryError(err) {
				t.Errorf("got %q %q %v", path, selector, err)
			}
		})
	}
}

// TestIdentity is about whose token goes where.
func TestIdentity(t *testing.T) {
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		items("1").Write(w)
	}))
	t.Cleanup(server.Close)
	own := &rest.Config{Host: server.URL, BearerToken: "the operator's"}
	elsewhere := &rest.Config{Host: "http://127.0.0.1:1", BearerToken: "the operator's"}
	secret := map[string][]byte{"token": []byte("the user's")}
	for name, tc := range map[string]struct {
		config metrics.Config
		want   string
	}{
		"in the cluster":               {metrics.Config{Kubernetes: own}, "Bearer the operator's"},
		"in the cluster, with Secret":  {metrics.Config{Kubernetes: own, Secret: secret}, "Bearer the user's"},
		"at an address":                {metrics.Config{Kubernetes: elsewhere, Address: server.URL}, ""},
		"at an address, with Secret":   {metrics.Config{Kubernetes: elsewhere, Address: server.URL, Secret: secret}, "Bearer the user's"},
		"at an address, by its prefix": {metrics.Config{Kubernetes: own, Address: server.URL}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := New(tc.config)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Query(t.Context(), metrics.Query{Expr: "queue"}); err != nil || got != tc.want {
				t.Errorf("asked as %q, %v", got, err)
			}
		})
	}
	if _, err := New(metrics.Config{Type: "externalmetrics"}); !metrics.IsConfigError(err) {
		t.Errorf("without a cluster: error %v", err)
	}
}
