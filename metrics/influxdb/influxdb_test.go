package influxdb

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/metricstest"
)

// lines is an answer to a Flux query in the form of
// https://docs.influxdata.com/influxdb/v2/reference/syntax/annotated-csv/.
func lines(rows ...string) metricstest.Answer {
	return metricstest.Answer{Header: map[string]string{"Content-Type": "text/csv; charset=utf-8"}, Body: strings.Join(rows, "\r\n") + "\r\n\r\n"}
}

// block has rows with a time and a value of the type.
func block(kind string, rows ...string) []string {
	return append([]string{
		"#datatype,string,long,dateTime:RFC3339," + kind + ",string",
		"#group,false,false,false,false,true",
		"#default,_result,,,,",
		",result,table,_time,_value,app",
	}, rows...)
}

func values(kind string, rows ...string) metricstest.Answer { return lines(block(kind, rows...)...) }

const flux = `from(bucket: "shop") |> range(start: -2m) |> mean()`

func TestFlux(t *testing.T) {
	torn := values("double", ",,0,2026-01-01T00:00:00Z,1,a", ",,0,2026-01-01T00:01:00Z,2,a")
	torn.Body = strings.TrimSuffix(torn.Body, ",,0,2026-01-01T00:01:00Z,2,a\r\n\r\n")
	failed := lines("#datatype,string,long", ",error,reference", ",Failed to parse query,897")
	failed.Body = strings.TrimSuffix(failed.Body, "\r\n")
	metricstest.Run(t, metricstest.Suite{
		New: New,
		Config: metrics.Config{Type: "influxdb", Secret: map[string][]byte{
			"token": []byte("0123456789abcdef=="),
			"org":   []byte("acme-shop"),
		}},
		Required:      []string{"token", "org"},
		AddressNeeded: true,
		Query:         metrics.Query{Expr: flux},
		Value:         values("double", ",,0,2026-01-01T00:00:00Z,9,a", ",,0,2026-01-01T00:01:00Z,12.5,a"),
		Empty:         metricstest.Answer{Header: map[string]string{"Content-Type": "text/csv"}, Body: "\r\n"},
		Several:       values("double", ",,0,2026-01-01T00:00:00Z,1,a", ",,1,2026-01-01T00:01:00Z,2,b"),
		Refused:       metricstest.Answer{Status: 400, Body: `{"code":"invalid","message":"compilation failed: error at @1:8-1:9: invalid expression"}`},
		Unauthorized:  metricstest.Answer{Status: 401, Body: `{"code":"unauthorized","message":"unauthorized access"}`},
		RateLimited:   metricstest.Answer{Status: 429, Header: map[string]string{"Retry-After": "30"}, Body: `{"code":"too many requests","message":"rate limited"}`},
		Cases: map[string]metricstest.Case{
			"whole number":   {Answer: values("long", ",,0,2026-01-01T00:00:00Z,7,a"), Want: 7},
			"newest first":   {Answer: values("double", ",,0,2026-01-01T00:01:00Z,2,a", ",,0,2026-01-01T00:00:00.5Z,1,a"), Want: 2},
			"gap at the end": {Answer: values("double", ",,0,2026-01-01T00:00:00Z,1,a", ",,0,2026-01-01T00:01:00Z,,a"), Want: 1},
			"only gaps":      {Answer: values("double", ",,0,2026-01-01T00:00:00Z,,a"), WantErr: metrics.IsNoData},
			"no rows":        {Answer: values("double"), WantErr: metrics.IsNoData},
			"nothing":        {Answer: metricstest.Answer{Header: map[string]string{"Content-Type": "text/csv"}}, WantErr: metrics.IsNoData},
			"value by default": {Answer: lines("#datatype,string,long,double", "#group,false,false,false", "#default,_result,0,3",
				",result,table,_value", ",,,"), Want: 3},
			"without time": {Answer: lines("#datatype,string,long,double", "#group,false,false,false", "#default,_result,,",
				",result,table,_value", ",,0,4"), Want: 4},
			"mixed series": {Answer: values("double", ",,0,2026-01-01T00:00:00Z,1,a", ",,0,2026-01-01T00:00:00Z,2,b"),
				WantErr: metrics.IsQueryError, WantMessage: "same time"},
			"two blocks": {Answer: lines(append(append(block("double", ",,0,2026-01-01T00:00:00Z,1,a"), ""), block("long", ",,1,2026-01-01T00:01:00Z,2,b")...)...),
				WantErr: metrics.IsQueryError, WantMessage: "2 series"},
			"two results": {Answer: values("double", ",x,0,2026-01-01T00:00:00Z,1,a", ",y,0,2026-01-01T00:01:00Z,2,a"),
				WantErr: metrics.IsQueryError, WantMessage: "2 series"},
			"text": {Answer: values("string", ",,0,2026-01-01T00:00:00Z,1,a"), WantErr: metrics.IsQueryError, WantMessage: "where one number is needed"},
			"no value column": {Answer: lines("#datatype,string,long,double", "#group,false,false,false", "#default,_result,,",
				",result,table,errors", ",,0,4"), WantErr: metrics.IsQueryError, WantMessage: "no column _value"},
			"fails on its way": {Answer: failed, WantErr: metrics.IsQueryError, WantMessage: "the provider refused it: Failed to parse query"},
			"torn at a line":   {Answer: torn, WantErr: metrics.IsUnavailable, WantMessage: "not what its API sends"},
			"says why": {Answer: metricstest.Answer{Status: 404, Body: `{"code":"not found","message":"could not find bucket \"shop\""}`},
				WantErr: metrics.IsQueryError, WantMessage: `could not find bucket "shop"`},
		},
		Request: func(t *testing.T, r *http.Request, body string) {
			var sent struct {
				Query   string `json:"query"`
				Dialect struct {
					Annotations []string `json:"annotations"`
				} `json:"dialect"`
			}
			if err := json.Unmarshal([]byte(body), &sent); err != nil {
				t.Error(err)
			}
			if r.Method != http.MethodPost || r.URL.Path != "/api/v2/query" || r.URL.RawQuery != "org=acme-shop" || sent.Query != flux || len(sent.Dialect.Annotations) != 3 {
				t.Errorf("%s %s %s", r.Method, r.URL, body)
			}
			if r.Header.Get("Authorization") != "Token 0123456789abcdef==" || r.Header.Get("Accept") != "application/csv" {
				t.Error("the headers are not those of the API")
			}
		},
	})
}

// selected is an answer to InfluxQL in the form of
// https://docs.influxdata.com/influxdb/v1/tools/api/#query-http-endpoint.
func selected(series string) metricstest.Answer {
	return metricstest.Answer{Body: `{"results":[{"statement_id":0,"series":[` + series + `]}]}`}
}

func TestInfluxQL(t *testing.T) {
	const query = `SELECT mean("duration") FROM "requests" WHERE time > now() - 2m`
	metricstest.Run(t, metricstest.Suite{
		New: New,
		Config: metrics.Config{Type: "influxdb", Secret: map[string][]byte{
			"username": []byte("influx-reader"),
			"password": []byte("correct-horse"),
			"database": []byte("shop-metrics"),
		}},
		Required:      []string{"username", "password", "database"},
		AddressNeeded: true,
		Query:         metrics.Query{Expr: query + "\n"},
		Value:         selected(`{"name":"requests","columns":["time","mean"],"values":[[1767225540000000000,9],[1767225600000000000,12.5]]}`),
		Empty:         metricstest.Answer{Body: `{"results":[{"statement_id":0}]}`},
		Several: selected(`{"name":"requests","tags":{"pod":"a"},"columns":["time","mean"],"values":[[1767225600000000000,1]]},
			{"name":"requests","tags":{"pod":"b"},"columns":["time","mean"],"values":[[1767225600000000000,2]]}`),
		Refused:      metricstest.Answer{Status: 400, Body: `{"error":"error parsing query: found EOF, expected FROM at line 1, char 9"}`},
		Unauthorized: metricstest.Answer{Status: 401, Body: `{"error":"authorization failed"}`},
		RateLimited:  metricstest.Answer{Status: 429, Body: `{"error":"too many requests"}`},
		Cases: map[string]metricstest.Case{
			"newest first":    {Answer: selected(`{"columns":["time","mean"],"values":[[1767225600000000001,2],[1767225600000000000,1]]}`), Want: 2},
			"gap at the end":  {Answer: selected(`{"columns":["time","mean"],"values":[[1767225540000000000,9],[1767225600000000000,null]]}`), Want: 9},
			"only gaps":       {Answer: selected(`{"columns":["time","mean"],"values":[[1767225600000000000,null]]}`), WantErr: metrics.IsNoData},
			"no rows":         {Answer: selected(`{"columns":["time","mean"]}`), WantErr: metrics.IsNoData},
			"without time":    {Answer: selected(`{"columns":["mean"],"values":[[3]]}`), Want: 3},
			"two fields":      {Answer: selected(`{"columns":["time","mean","max"],"values":[[1767225600000000000,1,2]]}`), WantErr: metrics.IsQueryError, WantMessage: "select one field"},
			"same time":       {Answer: selected(`{"columns":["time","duration"],"values":[[1767225600000000000,1],[1767225600000000000,2]]}`), WantErr: metrics.IsQueryError, WantMessage: "same time"},
			"text":            {Answer: selected(`{"columns":["time","last"],"values":[[1767225600000000000,"up"]]}`), WantErr: metrics.IsQueryError, WantMessage: "where one number is needed"},
			"two statements":  {Answer: metricstest.Answer{Body: `{"results":[{"series":[{"columns":["a"],"values":[[1]]}]},{"series":[{"columns":["a"],"values":[[2]]}]}]}`}, WantErr: metrics.IsQueryError, WantMessage: "2 series"},
			"error with 200":  {Answer: metricstest.Answer{Body: `{"results":[{"statement_id":0,"error":"database not found: shop"}]}`}, WantErr: metrics.IsQueryError, WantMessage: "the provider refused it: database not found: shop"},
			"another service": {Answer: metricstest.Answer{Body: `{"status":"ok"}`}, WantErr: metrics.IsUnavailable, WantMessage: "not what its API sends"},
		},
		Request: func(t *testing.T, r *http.Request, _ string) {
			if r.Method != http.MethodGet || r.URL.Path != "/query" || r.FormValue("q") != query || r.FormValue("db") != "shop-metrics" || r.FormValue("epoch") != "ns" {
				t.Errorf("%s %s", r.Method, r.URL)
			}
			if user, password, _ := r.BasicAuth(); user != "influx-reader" || password != "correct-horse" {
				t.Error("the credentials are missing")
			}
		},
	})
}

func TestLanguage(t *testing.T) {
	for name, tc := range map[string]struct {
		expr string
		want bool
	}{
		"flux":            {"\n" + flux, true},
		"with an import":  {"import \"math\"\nfrom(bucket: \"a\")\n  |> last()", true},
		"InfluxQL":        {`SELECT mean("a") FROM "b"`, false},
		"InfluxQL from":   {`select x from (select y from z)`, false},
		"only the source": {`from(bucket: "a")`, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := isFlux(tc.expr); got != tc.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestSecret(t *testing.T) {
	for name, tc := range map[string]struct {
		keys      []string
		want      string
		wantField string
	}{
		"none":                   {},
		"token for InfluxQL":     {keys: []string{"token", "database"}, want: "Token token"},
		"token, both languages":  {keys: []string{"token", "org", "database"}, want: "Token token"},
		"only a database":        {keys: []string{"database"}},
		"something else":         {keys: []string{"apiKey"}, wantField: "secret.token"},
		"username for Flux":      {keys: []string{"username", "org"}, wantField: "secret.password"},
		"token without anything": {keys: []string{"token"}, wantField: "secret.org"},
	} {
		t.Run(name, func(t *testing.T) {
			secret := map[string][]byte{}
			for _, key := range tc.keys {
				secret[key] = []byte(key)
			}
			headers, err := authorization(metrics.Config{Type: "influxdb", Secret: secret})
			if tc.wantField == "" && err != nil || tc.wantField != "" && (!metrics.IsConfigError(err) || !strings.HasPrefix(err.Error(), tc.wantField+":")) {
				t.Fatalf("error %v", err)
			}
			if got := headers["Authorization"]; got != tc.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

// Servers of version 1 carry out what comes by GET.
func TestReads(t *testing.T) {
	for expr, want := range map[string]bool{
		`SELECT mean("value") FROM "errors"`:   true,
		"  select 1 from x ;\n":                true,
		"DROP DATABASE shop":                   false,
		"SELECT 1 FROM x; DROP DATABASE shop":  false,
		`SELECT "v" INTO "copy" FROM "errors"`: false,
		"":                                     false,
	} {
		if got := reads(expr); got != want {
			t.Errorf("%q reads: %t", expr, got)
		}
	}
}

// A query that counts or sums has no row where there is nothing.
func TestNothingCounted(t *testing.T) {
	for name, tc := range map[string]struct {
		query string
		want  bool
	}{
		"Flux, count":                 {`from(bucket: "default") |> range(start: -2h) |> filter(fn: (r) => r._measurement == "requests") |> count() |> yield(name: "count")`, true},
		"Flux, count of a column":     {"from(bucket: \"b\")\n  |> range(start: -1m)\n  |> group()\n  |> count(column: \"_value\")\n", true},
		"Flux, sum":                   {`from(bucket: "b") |> range(start: -1m) |> sum()`, true},
		"Flux, mean":                  {`from(bucket: "b") |> range(start: -1m) |> mean()`, false},
		"Flux, mean of counts":        {`from(bucket: "b") |> range(start: -1m) |> count() |> mean()`, false},
		"InfluxQL, count":             {`SELECT count("status") FROM "requests" WHERE time > now() - 2m`, true},
		"InfluxQL, sum":               {`select SUM("errors") from "requests"`, true},
		"InfluxQL, mean":              {`SELECT mean("duration") FROM "requests"`, false},
		"InfluxQL, a column so named": {`SELECT last("count") FROM "requests"`, false},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/query" {
					_, _ = w.Write([]byte(`{"results":[{"statement_id":0}]}`))
					return
				}
				w.Header().Set("Content-Type", "text/csv")
				_, _ = w.Write([]byte("\r\n"))
			}))
			defer server.Close()
			p, err := New(metrics.Config{Type: "influxdb", Address: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Query(t.Context(), metrics.Query{Expr: tc.query}); !metrics.IsNoData(err) || errors.Is(err, metrics.ErrNothingCounted) != tc.want {
				t.Error(err)
			}
		})
	}
}
