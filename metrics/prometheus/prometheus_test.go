package prometheus

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sluice-delivery/sluice/metrics"
)

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func success(resultType, result string) http.HandlerFunc {
	return answer(http.StatusOK, `{"status":"success","data":{"resultType":"`+resultType+`","result":`+result+`}}`)
}

func vector(values ...string) http.HandlerFunc {
	samples := make([]string, 0, len(values))
	for i, v := range values {
		samples = append(samples, `{"metric":{"n":"`+string(rune('a'+i))+`"},"value":[1767225600,"`+v+`"]}`)
	}
	return success("vector", "["+strings.Join(samples, ",")+"]")
}

func provider(t *testing.T, h http.Handler, path string) *Provider {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	p, err := New(metrics.Config{Address: server.URL + path})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestQuery(t *testing.T) {
	for name, tc := range map[string]struct {
		handler     http.HandlerFunc
		want        float64
		wantErr     func(error) bool
		wantMessage string
	}{
		"one sample":       {handler: vector("99.5"), want: 99.5},
		"scalar":           {handler: success("scalar", `[1767225600,"3"]`), want: 3},
		"NaN":              {handler: vector("NaN"), want: math.NaN()},
		"infinite":         {handler: vector("+Inf"), want: math.Inf(1)},
		"no series":        {handler: vector(), wantErr: metrics.IsNoData},
		"several series":   {handler: vector("1", "2", "3"), wantErr: metrics.IsQueryError, wantMessage: "3 series"},
		"range vector":     {handler: success("matrix", `[]`), wantErr: metrics.IsQueryError, wantMessage: "matrix"},
		"histogram":        {handler: success("vector", `[{"metric":{},"histogram":[1767225600,{"count":"1","sum":"1","buckets":[]}]}]`), wantErr: metrics.IsQueryError, wantMessage: "histogram"},
		"parse error":      {handler: answer(400, `{"status":"error","errorType":"bad_data","error":"parse error: x"}`), wantErr: metrics.IsQueryError, wantMessage: "parse error: x"},
		"execution error":  {handler: answer(422, `{"status":"error","errorType":"execution","error":"many-to-many"}`), wantErr: metrics.IsQueryError, wantMessage: "many-to-many"},
		"400 in HTML":      {handler: answer(400, `<html>`), wantErr: metrics.IsQueryError, wantMessage: "400"},
		"too many":         {handler: answer(429, "slow down"), wantErr: metrics.IsUnavailable, wantMessage: "429 Too Many Requests: slow down"},
		"server error":     {handler: answer(500, "oops"), wantErr: metrics.IsUnavailable, wantMessage: "500 Internal Server Error: oops"},
		"query time-out":   {handler: answer(503, `{"status":"error","errorType":"timeout","error":"query timed out"}`), wantErr: metrics.IsUnavailable, wantMessage: "query timed out"},
		"not there":        {handler: answer(404, "404 page not found"), wantErr: metrics.IsUnavailable, wantMessage: "404"},
		"no credentials":   {handler: answer(401, ""), wantErr: metrics.IsUnavailable, wantMessage: "401"},
		"forbidden":        {handler: answer(403, ""), wantErr: metrics.IsUnavailable, wantMessage: "403"},
		"a redirect":       {handler: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, wantErr: metrics.IsUnavailable, wantMessage: "it redirects (302)"},
		"not Prometheus":   {handler: answer(200, `<html>`), wantErr: metrics.IsUnavailable},
		"many parts":       {handler: answer(200, strings.Repeat("{},", 50_000)), wantErr: metrics.IsQueryError, wantMessage: "more than 40000 parts"},
		"enormous answer":  {handler: answer(200, strings.Repeat("x", 1<<20+1)), wantErr: metrics.IsQueryError, wantMessage: "larger than"},
		"enormous failure": {handler: answer(500, strings.Repeat("x", 1<<20+1)), wantErr: metrics.IsUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := provider(t, tc.handler, "").Query(t.Context(), metrics.Query{Expr: "up"})
			if tc.wantErr != nil {
				if !tc.wantErr(err) || !strings.Contains(err.Error(), tc.wantMessage) {
					t.Fatalf("error %v", err)
				}
				if len(err.Error()) > 2*maxDetail+100 {
					t.Errorf("the message has %d characters", len(err.Error()))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Value != tc.want && !(math.IsNaN(got.Value) && math.IsNaN(tc.want)) {
				t.Errorf("got %v", got.Value)
			}
		})
	}
}

func TestQueryIsSentAsGiven(t *testing.T) {
	var path, query, at, user, method string
	p := provider(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, query, at, method = r.URL.Path, r.FormValue("query"), r.FormValue("time"), r.Method
		user, _, _ = r.BasicAuth()
		vector("1")(w, r)
	}), "/prefix/")
	p.clock = clocktesting.NewFakePassiveClock(time.Unix(1767225600, 0))
	if _, err := p.Query(t.Context(), metrics.Query{Expr: `sum(x{a="b"})`}); err != nil {
		t.Fatal(err)
	}
	if path != "/prefix/api/v1/query" || query != `sum(x{a="b"})` || at != "1767225600" || method != http.MethodPost || user != "" {
		t.Errorf("sent %s %s query %q time %q user %q", method, path, query, at, user)
	}
}

func TestServerWithoutPost(t *testing.T) {
	p := provider(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			answer(http.StatusMethodNotAllowed, "")(w, r)
			return
		}
		vector("7")(w, r)
	}), "")
	if got, err := p.Query(t.Context(), metrics.Query{Expr: "up"}); err != nil || got.Value != 7 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestUnreachable(t *testing.T) {
	server := httptest.NewServer(nil)
	address := strings.Replace(server.URL, "http://", "http://user:secret@", 1)
	server.Close()
	p, err := New(metrics.Config{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Query(t.Context(), metrics.Query{Expr: "up"})
	if !metrics.IsUnavailable(err) || !strings.Contains(err.Error(), "refused") || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}

func TestTimeout(t *testing.T) {
	release := make(chan struct{})
	p := provider(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}), "")
	t.Cleanup(func() { close(release) })
	_, err := p.Query(t.Context(), metrics.Query{Expr: "up", Timeout: 20 * time.Millisecond})
	if !metrics.IsUnavailable(err) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer within 20ms") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Query(ctx, metrics.Query{Expr: "up"}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestConnectionsAreReused(t *testing.T) {
	var opened atomic.Int32
	server := httptest.NewUnstartedServer(vector("1"))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	p, err := New(metrics.Config{Address: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := p.Query(t.Context(), metrics.Query{Expr: "up"}); err != nil {
			t.Fatal(err)
		}
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections for 5 queries", n)
	}
}

func TestAddress(t *testing.T) {
	for name, tc := range map[string]struct {
		address string
		wantErr bool
	}{
		"plain":        {"http://prometheus:9090", false},
		"prefix":       {"https://example.com/prometheus", false},
		"no scheme":    {"prometheus:9090", true},
		"other scheme": {"ftp://prometheus", true},
		"empty":        {"", true},
		"not a URL":    {"http://user:secret@[::1", true},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(metrics.Config{Address: tc.address})
			if (err != nil) != tc.wantErr {
				t.Errorf("error %v", err)
			}
			if err != nil && !metrics.IsConfigError(err) {
				t.Errorf("not a ConfigError: %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Error("the message has the password")
			}
		})
	}
}

func TestQuerySeries(t *testing.T) {
	var sent atomic.Value
	p := provider(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		sent.Store(r.Form.Get("time"))
		vector("1", "2")(w, r)
	}), "")
	at := time.Unix(1767225600, 0)
	got, err := p.QuerySeries(t.Context(), metrics.Query{Expr: "up", At: at})
	if err != nil || len(got) != 2 || got[0].Labels["n"] != "a" || got[1].Value != 2 {
		t.Errorf("got %v, %v", got, err)
	}
	if sent.Load() != "1767225600" {
		t.Errorf("it was asked about %v", sent.Load())
	}
	if got, err := provider(t, vector(), "").QuerySeries(t.Context(), metrics.Query{Expr: "up"}); err != nil || len(got) != 0 {
		t.Errorf("of nothing %v, %v", got, err)
	}
	if _, err := provider(t, success("scalar", `[1767225600,"3"]`), "").QuerySeries(t.Context(), metrics.Query{Expr: "3"}); !metrics.IsQueryError(err) {
		t.Errorf("a scalar gives %v", err)
	}
	if _, err := provider(t, answer(http.StatusServiceUnavailable, ""), "").QuerySeries(t.Context(), metrics.Query{Expr: "up"}); !metrics.IsUnavailable(err) {
		t.Errorf("a server that is down gives %v", err)
	}
}

func TestQueryRange(t *testing.T) {
	p := provider(t, success("matrix", `[
		{"metric":{"n":"a"},"values":[[1767225600,"1"],[1767225720,"3"]]},
		{"metric":{"n":"b"},"values":[[1767225720,"4"]]}]`), "")
	from := time.Unix(1767225600, 0)
	got, err := p.QueryRange(t.Context(), metrics.Query{Expr: "up"}, from, from.Add(3*time.Minute), time.Minute)
	if err != nil || len(got) != 4 {
		t.Fatalf("got %v, %v", got, err)
	}
	for i, want := range []int{1, 0, 2, 0} {
		if len(got[i]) != want {
			t.Errorf("minute %d has %v", i, got[i])
		}
	}
	if got[2][0].Value != 3 || got[2][1].Labels["n"] != "b" {
		t.Errorf("the third minute has %v", got[2])
	}
	if _, err := provider(t, answer(http.StatusBadRequest, `{"status":"error","errorType":"bad_data","error":"no"}`), "").QueryRange(t.Context(), metrics.Query{Expr: "("}, from, from, time.Minute); !metrics.IsQueryError(err) {
		t.Errorf("a query that is wrong gives %v", err)
	}
}
