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
	tls := httptest.NewTLSServer(server.Config.Handler)
	t.Cleanup(tls.Close)
	tlsHost := strings.TrimPrefix(tls.URL, "https://")
	for name, tc := range map[string]struct {
		config  metrics.Config
		want    string
		wantErr string // part of what is refused
	}{
		"in the cluster":              {config: metrics.Config{Kubernetes: own}, want: "Bearer the operator's"},
		"in the cluster, with Secret": {config: metrics.Config{Kubernetes: own, Secret: secret}, want: "Bearer the user's"},
		"at an address": {
			config:  metrics.Config{Kubernetes: elsewhere, Address: server.URL},
			wantErr: "needs a Secret with the key token: the operator's own token is only for its own API server, for which the address is left out, and for -metrics-own-token-hosts",
		},
		"at an address, with Secret":        {config: metrics.Config{Kubernetes: elsewhere, Address: server.URL, Secret: secret}, want: "Bearer the user's"},
		"at the own server's address":       {config: metrics.Config{Kubernetes: own, Address: server.URL}, want: "Bearer the operator's"},
		"at the own server's, with a slash": {config: metrics.Config{Kubernetes: own, Address: server.URL + "/"}, want: "Bearer the operator's"},
		"at a path of it":                   {config: metrics.Config{Kubernetes: own, Address: server.URL + "/proxy"}, wantErr: "needs a Secret"},
		"at an address that begins so":      {config: metrics.Config{Kubernetes: own, Address: server.URL + ".example"}, wantErr: "needs a Secret"},
		"at the name of every cluster's":    {config: metrics.Config{Kubernetes: own, Address: "https://kubernetes.default.svc"}, want: "Bearer the operator's"},
		"at a host that may":                {config: metrics.Config{Kubernetes: elsewhere, Address: tls.URL, OwnTokenHosts: []string{"x", tlsHost}, InsecureSkipVerify: true}, want: "Bearer the operator's"},
		"at a host that may, without TLS":   {config: metrics.Config{Kubernetes: elsewhere, Address: server.URL, OwnTokenHosts: []string{strings.TrimPrefix(server.URL, "http://")}}, wantErr: "needs a Secret"},
		"at another host than may":          {config: metrics.Config{Kubernetes: elsewhere, Address: tls.URL, OwnTokenHosts: []string{"example.com"}}, wantErr: "needs a Secret"},
		"outside of a cluster":              {config: metrics.Config{}, wantErr: "needs the URL of an API server"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.config.Type = "externalmetrics"
			p, err := New(tc.config)
			if tc.wantErr != "" {
				if !metrics.IsConfigError(err) || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Query(t.Context(), metrics.Query{Expr: "queue"}); err != nil || got != tc.want {
				t.Errorf("asked as %q, %v", got, err)
			}
		})
	}
}
