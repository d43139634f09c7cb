package stackdriver

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/metricstest"
)

// serviceAccount is a key in the form of https://cloud.google.com/iam/docs/keys-create-delete.
func serviceAccount(t *testing.T) []byte {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "project-of-the-key", "private_key_id": "0123456789",
		"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email": "sluice@project-of-the-key.iam.gserviceaccount.com", "client_id": "1",
		"auth_uri": "http://127.0.0.1:1/auth", "token_uri": "http://127.0.0.1:1/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// data is an answer in the form of
// https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/query.
func data(series string) metricstest.Answer {
	return metricstest.Answer{Body: `{"timeSeriesDescriptor":{"labelDescriptors":[],"pointDescriptors":[{"key":"value_latency","valueType":"DOUBLE","metricKind":"GAUGE","unit":"ms"}]}` +
		series + `}`}
}

func series(points ...string) string {
	return `{"labelValues":[],"pointData":[` + strings.Join(points, ",") + `]}`
}

func point(values ...string) string {
	return `{"values":[` + strings.Join(values, ",") + `],"timeInterval":{"startTime":"2026-01-01T00:00:00Z","endTime":"2026-01-01T00:01:00Z"}}`
}

func failure(code int, status, message string) metricstest.Answer {
	raw, _ := json.Marshal(map[string]any{"error": map[string]any{"code": code, "message": message, "status": status}})
	return metricstest.Answer{Status: code, Body: string(raw)}
}

func TestProvider(t *testing.T) {
	list := func(s ...string) metricstest.Answer { return data(`,"timeSeriesData":[` + strings.Join(s, ",") + `]`) }
	double := func(v string) string { return `{"doubleValue":` + v + `}` }
	query := "fetch k8s_container\n| metric 'istio.io/service/server/response_latencies'\n"
	metricstest.Run(t, metricstest.Suite{
		New:    New,
		Config: metrics.Config{Type: "stackdriver", Secret: map[string][]byte{"project": []byte("shop-123456"), "serviceAccountKey": serviceAccount(t)}},
		Query:  metrics.Query{Expr: query},
		Value:  list(series(point(double("12.5")), point(double("9")))),
		Empty:  data(""),
		Several: list(`{"labelValues":[{"stringValue":"a"}],"pointData":[`+point(double("1"))+`]}`,
			`{"labelValues":[{"stringValue":"b"}],"pointData":[`+point(double("2"))+`]}`),
		Refused:      failure(400, "INVALID_ARGUMENT", "The query is invalid. Error: line 1, col 1: unknown table operation"),
		Unauthorized: failure(403, "PERMISSION_DENIED", "Permission monitoring.timeSeries.list denied (or the resource may not exist)."),
		RateLimited:  failure(429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Time series queries'"),
		Cases: map[string]metricstest.Case{
			"whole number":  {Answer: list(series(point(`{"int64Value":"42"}`))), Want: 42},
			"no points":     {Answer: list(series()), WantErr: metrics.IsNoData},
			"no value":      {Answer: list(series(point(`{}`))), WantErr: metrics.IsNoData},
			"two columns":   {Answer: list(series(point(double("1"), double("2")))), WantErr: metrics.IsQueryError, WantMessage: "2 series"},
			"distribution":  {Answer: list(series(point(`{"distributionValue":{"count":"3","mean":1.5}}`))), WantErr: metrics.IsQueryError, WantMessage: "a distribution"},
			"text":          {Answer: list(series(point(`{"stringValue":"x"}`))), WantErr: metrics.IsQueryError, WantMessage: "a text"},
			"says why":      {Answer: failure(403, "PERMISSION_DENIED", "Permission denied"), WantErr: metrics.IsUnavailable, WantMessage: "refused the credentials (403): Permission denied"},
			"internal":      {Answer: failure(500, "INTERNAL", "An internal error occurred."), WantErr: metrics.IsUnavailable, WantMessage: "An internal error occurred."},
			"expired token": {Answer: failure(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."), WantErr: metrics.IsUnavailable, WantMessage: "(401)"},
		},
		Request: func(t *testing.T, r *http.Request, body string) {
			var sent map[string]string
			if err := json.Unmarshal([]byte(body), &sent); err != nil || sent["query"] != query {
				t.Errorf("sent %s", body)
			}
			if r.Method != http.MethodPost || r.URL.Path != "/v3/projects/shop-123456/timeSeries:query" {
				t.Errorf("%s %s", r.Method, r.URL)
			}
			if got := claims(t, r); got["scope"] != scope || got["iss"] != "sluice@project-of-the-key.iam.gserviceaccount.com" {
				t.Errorf("token for %v", got)
			}
		},
	})
}

// claims are those of the token that the request has.
func claims(t *testing.T, r *http.Request) map[string]any {
	t.Helper()
	parts := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), ".")
	if len(parts) != 3 {
		t.Fatal("the request has no token")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConfiguration(t *testing.T) {
	account := serviceAccount(t)
	secret := func(pairs ...string) map[string][]byte {
		s := map[string][]byte{}
		for i := 0; i < len(pairs); i += 2 {
			s[pairs[i]] = []byte(pairs[i+1])
		}
		return s
	}
	for name, tc := range map[string]struct {
		config      metrics.Config
		wantProject string
		wantField   string
	}{
		"own identity":               {metrics.Config{Secret: secret("project", "shop\n")}, "shop", ""},
		"private endpoint":           {metrics.Config{Secret: secret("project", "shop"), Address: "https://monitoring-x.p.googleapis.com"}, "shop", ""},
		"own identity elsewhere":     {metrics.Config{Secret: secret("project", "shop"), Address: "https://evil.test"}, "", "address"},
		"own identity, similar name": {metrics.Config{Secret: secret("project", "shop"), Address: "https://evilgoogleapis.com"}, "", "address"},
		"own identity, other API":    {metrics.Config{Secret: secret("project", "shop"), Address: "https://storage.googleapis.com"}, "", "address"},
		"own identity is not lent":   {metrics.Config{Secret: secret("project", "shop"), NoOwnIdentity: true}, "", "secret.serviceAccountKey"},
		"own identity, not TLS":      {metrics.Config{Secret: secret("project", "shop"), Address: "http://monitoring.googleapis.com"}, "", "address"},
		"key elsewhere":              {metrics.Config{Secret: secret("project", "shop", "serviceAccountKey", string(account)), Address: "http://emulator:8080"}, "shop", ""},
		"project of the key":         {metrics.Config{Secret: secret("serviceAccountKey", string(account))}, "project-of-the-key", ""},
		"no project":                 {metrics.Config{}, "", "secret.project"},
		"not a key":                  {metrics.Config{Secret: secret("project", "shop", "serviceAccountKey", "{}")}, "", "secret.serviceAccountKey"},
		"key that runs a program": {metrics.Config{Secret: secret("project", "shop", "serviceAccountKey",
			`{"type":"external_account","credential_source":{"executable":{"command":"/bin/true"}}}`)}, "", "secret.serviceAccountKey"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := New(tc.config)
			if tc.wantField != "" {
				var wrong *metrics.ConfigError
				if !errors.As(err, &wrong) || wrong.Field != tc.wantField {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := p.(*Provider).project; got != tc.wantProject {
				t.Errorf("project %q", got)
			}
		})
	}
}

// TestNoIdentity runs where no identity is to be had.
func TestNoIdentity(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/does/not/exist")
	p, err := New(metrics.Config{Secret: map[string][]byte{"project": []byte("shop")}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Query(t.Context(), metrics.Query{Expr: "fetch x"})
	if !metrics.IsUnavailable(err) || !strings.Contains(err.Error(), "no identity of Google Cloud") {
		t.Errorf("error %v", err)
	}
}
