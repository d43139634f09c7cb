package web

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/metricstest"
)

func answer(body string) metricstest.Answer { return metricstest.Answer{Body: body} }

func TestProvider(t *testing.T) {
	metricstest.Run(t, metricstest.Suite{
		New: New,
		Config: metrics.Config{Type: "web", JSONPath: "{.data.items[*].rate}",
			Headers: http.Header{"x-tenant": {"tenant-0123456789"}},
			Secret:  map[string][]byte{"token": []byte("t0ken-0123456789")}},
		AddressNeeded: true,
		Query:         metrics.Query{Expr: "/rates?service=a\n"},
		Value:         answer(`{"data":{"items":[{"rate":12.5}]}}`),
		Empty:         answer(`{"data":{"items":[]}}`),
		Several:       answer(`{"data":{"items":[{"rate":1},{"rate":2}]}}`),
		Refused:       metricstest.Answer{Status: 422, Body: `{"detail":"no such service"}`},
		Unauthorized:  metricstest.Answer{Status: 401, Body: `{"error":"invalid token"}`},
		RateLimited:   metricstest.Answer{Status: 429, Header: map[string]string{"Retry-After": "3"}},
		Cases: map[string]metricstest.Case{
			"number as text":   {Answer: answer(`{"data":{"items":[{"rate":" 99.5 "}]}}`), Want: 99.5},
			"null":             {Answer: answer(`{"data":{"items":[{"rate":null}]}}`), WantErr: metrics.IsNoData},
			"missing":          {Answer: answer(`{"data":{}}`), WantErr: metrics.IsNoData},
			"nothing":          {Answer: answer(`null`), WantErr: metrics.IsNoData},
			"text":             {Answer: answer(`{"data":{"items":[{"rate":"root:x:0:0"}]}}`), WantErr: metrics.IsQueryError, WantMessage: "selects a text that is no number where a number is needed"},
			"truth":            {Answer: answer(`{"data":{"items":[{"rate":true}]}}`), WantErr: metrics.IsQueryError, WantMessage: "true or false"},
			"list":             {Answer: answer(`{"data":{"items":[{"rate":[1]}]}}`), WantErr: metrics.IsQueryError, WantMessage: "a list"},
			"object":           {Answer: answer(`{"data":{"items":[{"rate":{}}]}}`), WantErr: metrics.IsQueryError, WantMessage: "an object"},
			"other shape":      {Answer: answer(`{"data":[{"items":3}]}`), WantErr: func(err error) bool { return err != nil }},
			"says what to set": {Answer: metricstest.Answer{Status: 404, Body: `{"message":"not here"}`}, WantErr: metrics.IsQueryError, WantMessage: "HTTP 404 Not Found: not here"},
		},
		Request: func(t *testing.T, r *http.Request, _ string) {
			if r.Method != http.MethodGet || r.URL.String() != "/rates?service=a" || r.Header.Get("X-Tenant") != "tenant-0123456789" ||
				r.Header.Get("Authorization") != "Bearer t0ken-0123456789" || r.Header.Get("Accept") != "application/json" {
				t.Errorf("%s %s", r.Method, r.URL)
			}
		},
	})
}

func TestPath(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answer(`{"a":{"b":7},"list":[{"n":"x","v":1},{"n":"y","v":2}],"whole":5}`).Write(w)
	}))
	t.Cleanup(server.Close)
	for name, tc := range map[string]struct {
		path       string
		want       float64
		wantErr    func(error) bool
		wantConfig bool
	}{
		"braces":        {path: "{.a.b}", want: 7},
		"dot":           {path: ".a.b", want: 7},
		"name":          {path: "a.b", want: 7},
		"dollar":        {path: "$.a.b", want: 7},
		"filter":        {path: `{.list[?(@.n=="y")].v}`, want: 2},
		"index":         {path: ".list[0].v", want: 1},
		"out of bounds": {path: ".list[9].v", wantErr: func(err error) bool { return err != nil }},
		"whole answer":  {path: "", wantErr: metrics.IsQueryError},
		"two":           {path: "{.a.b}{.whole}", wantErr: metrics.IsQueryError},
		"broken":        {path: "{.a[", wantConfig: true},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := New(metrics.Config{Address: server.URL, JSONPath: tc.path})
			if tc.wantConfig != metrics.IsConfigError(err) {
				t.Fatalf("error %v", err)
			}
			if err != nil {
				return
			}
			got, err := p.Query(t.Context(), metrics.Query{Expr: "/"})
			if tc.wantErr != nil && !tc.wantErr(err) || tc.wantErr == nil && (err != nil || got.Value != tc.want) {
				t.Errorf("got %v, %v", got.Value, err)
			}
		})
	}
}

func TestURL(t *testing.T) {
	for name, tc := range map[string]struct {
		address, query, want string
		wantErr              bool
	}{
		"below":             {"http://a:1/prefix", "/x?y=z", "http://a:1/prefix/x?y=z", false},
		"relative":          {"http://a:1/prefix/", "x", "http://a:1/prefix/x", false},
		"only a query":      {"http://a:1/prefix", "?y=z", "http://a:1/prefix?y=z", false},
		"empty":             {"http://a:1/prefix?y=z", "", "http://a:1/prefix?y=z", false},
		"escaped":           {"http://a:1", "/x%2Fy", "http://a:1/x%2Fy", false},
		"user in address":   {"http://u:p@a:1", "/x", "http://a:1/x", false},
		"whole":             {"http://a:1/prefix", "http://a:1/other", "http://a:1/other", false},
		"whole, no address": {"", "https://a/other", "https://a/other", false},
		"user in query":     {"", "https://u:p@a/other", "https://a/other", false},
		"other host":        {"http://a:1", "http://b:1/x", "", true},
		"other scheme":      {"https://a", "http://a/x", "", true},
		"without scheme":    {"http://a:1", "//b/x", "", true},
		"file":              {"", "file:///etc/passwd", "", true},
		"opaque":            {"http://a", "mailto:x", "", true},
		"nothing":           {"", "/x", "", true},
		"not a URL":         {"http://a:1", "http://[::1", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := New(metrics.Config{Address: tc.address})
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.(*Provider).resolve(metrics.Query{Expr: tc.query})
			if (err != nil) != tc.wantErr || err != nil && !metrics.IsQueryError(err) || err == nil && got.String() != tc.want {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
