package httpjson

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/metrics"
)

func client(t *testing.T, c metrics.Config, h http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c.Address = strings.Replace(c.Address, "SERVER", strings.TrimPrefix(server.URL, "http://"), 1)
	if c.Address == "" {
		c.Address = server.URL
	}
	made, err := New(c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestStatuses(t *testing.T) {
	for name, tc := range map[string]struct {
		status      int
		header      map[string]string
		body        string
		wantErr     func(error) bool
		wantMessage string
	}{
		"message":       {400, nil, `{"message":"no"}`, metrics.IsQueryError, "query failed: the provider refused it: HTTP 400 Bad Request: no"},
		"error":         {422, nil, `{"error":"no"}`, metrics.IsQueryError, "query failed: the provider refused it: HTTP 422 Unprocessable Entity: no"},
		"inner message": {400, nil, `{"error":{"code":400,"message":"no"}}`, metrics.IsQueryError, "query failed: the provider refused it: HTTP 400 Bad Request: no"},
		"first of list": {400, nil, `{"errors":[{"message":"one"},{"message":"two"}]}`, metrics.IsQueryError, "query failed: the provider refused it: HTTP 400 Bad Request: one"},
		"text":          {404, map[string]string{"Content-Type": "text/plain"}, "404 page\nnot\x1b[31m found\n", metrics.IsQueryError, "query failed: the provider refused it: HTTP 404 Not Found: 404 page not [31m found"},
		"page":          {404, nil, "<html>x</html>", metrics.IsQueryError, "query failed: the provider refused it: HTTP 404 Not Found"},
		"nothing":       {400, nil, "", metrics.IsQueryError, "query failed: the provider refused it: HTTP 400 Bad Request"},
		"other fields":  {400, nil, `{"x":"secret of others"}`, metrics.IsQueryError, "query failed: the provider refused it: HTTP 400 Bad Request"},
		"401":           {401, nil, "", metrics.IsUnavailable, "the provider refused the credentials (401)"},
		"403":           {403, nil, `{"message":"scope x is missing"}`, metrics.IsUnavailable, "the provider refused the credentials (403): scope x is missing"},
		"408":           {408, nil, "", metrics.IsUnavailable, "HTTP 408 Request Timeout"},
		"429":           {429, nil, "", metrics.IsUnavailable, "the provider limits the rate of requests (429)"},
		"429 with wait": {429, map[string]string{"Retry-After": "7"}, "", metrics.IsUnavailable, "the provider limits the rate of requests (429); it wants to be asked again in 7s"},
		"429 with date": {429, map[string]string{"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, "", metrics.IsUnavailable, "the provider limits the rate of requests (429)"},
		"503":           {503, nil, `{"message":"later"}`, metrics.IsUnavailable, "HTTP 503 Service Unavailable: later"},
		"304":           {304, nil, "", metrics.IsQueryError, "query failed: the provider redirects (304): set the address that it redirects to"},
	} {
		t.Run(name, func(t *testing.T) {
			c := client(t, metrics.Config{}, func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range tc.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.body))
			})
			err := c.JSON(t.Context(), metrics.Query{}, Request{}, new(any))
			want := tc.wantMessage
			if metrics.IsUnavailable(err) {
				want = "metric provider " + c.Name() + " is unavailable: " + want
			}
			if !tc.wantErr(err) || err.Error() != want {
				t.Errorf("error %v, want %s", err, want)
			}
		})
	}
}

func TestLongMessageIsCut(t *testing.T) {
	c := client(t, metrics.Config{}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(strings.Repeat("ä", 5000)))
	})
	err := c.JSON(t.Context(), metrics.Query{}, Request{}, new(any))
	if n := strings.Count(err.Error(), "ä"); n != 200 || !strings.HasSuffix(err.Error(), "ä...") {
		t.Errorf("%d letters are left", n)
	}
}

func TestRequest(t *testing.T) {
	type sent struct{ Method, URL, User, Password, Accept, ContentType, Tenant, Body string }
	var got sent
	handler := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		user, password, _ := r.BasicAuth()
		got = sent{r.Method, r.URL.String(), user, password, r.Header.Get("Accept"), r.Header.Get("Content-Type"), r.Header.Get("X-Tenant"), string(body)}
		_, _ = w.Write([]byte("{}"))
	}
	for name, tc := range map[string]struct {
		config  metrics.Config
		request Request
		want    sent
	}{
		"plain":      {metrics.Config{}, Request{Path: "/x"}, sent{Method: "GET", URL: "/x", Accept: "application/json"}},
		"prefix":     {metrics.Config{Address: "http://SERVER/prefix/"}, Request{Path: "/x"}, sent{Method: "GET", URL: "/prefix/x", Accept: "application/json"}},
		"parameters": {metrics.Config{Address: "http://SERVER?tenant=t"}, Request{Path: "/x", Parameters: map[string][]string{"q": {"a b"}}}, sent{Method: "GET", URL: "/x?q=a+b&tenant=t", Accept: "application/json"}},
		"password":   {metrics.Config{Address: "http://u:p@SERVER"}, Request{Path: "/x"}, sent{Method: "GET", URL: "/x", User: "u", Password: "p", Accept: "application/json"}},
		"headers": {metrics.Config{Headers: http.Header{"x-tenant": {"t"}, "accept": {"text/x"}}}, Request{Path: "/x"},
			sent{Method: "GET", URL: "/x", Accept: "text/x", Tenant: "t"}},
		"body": {metrics.Config{}, Request{Method: "POST", Path: "/x", Body: []byte("b")}, sent{Method: "POST", URL: "/x", Accept: "application/json", ContentType: "application/json", Body: "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := client(t, tc.config, handler)
			if err := c.JSON(t.Context(), metrics.Query{}, tc.request, new(any)); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestNoCredentialInErrors has the server repeat each credential that it was sent.
func TestNoCredentialInErrors(t *testing.T) {
	config := metrics.Config{
		Address: "http://user:pass%20word@SERVER?api_key=in-the-address",
		Headers: http.Header{"X-Key": {"key-in-header"}, "X-Pair": {"Token word-in-header"}},
		Secret:  map[string][]byte{"token": []byte("value of the Secret\n")},
	}
	for _, leak := range []string{"pass word", "pass+word", "key-in-header", "word-in-header", "value of the Secret", "value+of+the+Secret", "dXNlcjpwYXNzIHdvcmQ="} {
		c := client(t, config, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte("bad: " + leak + "!"))
		})
		err := c.JSON(t.Context(), metrics.Query{}, Request{Path: "/x"}, new(any))
		if err == nil || strings.Contains(err.Error(), leak) || !strings.Contains(err.Error(), "bad: ***!") {
			t.Errorf("%s: error %v", leak, err)
		}
	}
	c := client(t, config, nil)
	c.base.Host = "127.0.0.1:1"
	err := c.JSON(t.Context(), metrics.Query{}, Request{Path: "/x"}, new(any))
	if err == nil || strings.Contains(err.Error(), "in-the-address") || strings.Contains(err.Error(), "pass") {
		t.Errorf("error %v", err)
	}
}

// failing fails every request with a text.
type failing string

func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, errors.New(string(f)) }

func TestTransportThatSaysTooMuch(t *testing.T) {
	c, err := New(metrics.Config{Address: "http://a", Secret: map[string][]byte{"token": []byte("s3cret-token")}, Transport: failing("refused s3cret-token")}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = c.JSON(t.Context(), metrics.Query{}, Request{}, new(any))
	if !metrics.IsUnavailable(err) || !strings.Contains(err.Error(), "refused ***") {
		t.Errorf("error %v", err)
	}
}

func TestSizeOfAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		size    int
		wantErr bool
	}{
		"as large as allowed": {maxResponse, false},
		"one byte more":       {maxResponse + 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := client(t, metrics.Config{}, func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write([]byte(`"` + strings.Repeat("x", tc.size-2) + `"`))
			})
			err := c.JSON(t.Context(), metrics.Query{}, Request{}, new(any))
			if (err != nil) != tc.wantErr || err != nil && !metrics.IsQueryError(err) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestInsecureSkipVerify(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }))
	t.Cleanup(server.Close)
	for name, skip := range map[string]bool{"verified": false, "skipped": true} {
		t.Run(name, func(t *testing.T) {
			c, err := New(metrics.Config{Address: server.URL, InsecureSkipVerify: skip}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.JSON(t.Context(), metrics.Query{}, Request{}, new(any)); (err == nil) != skip {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestReadersErrors(t *testing.T) {
	c := client(t, metrics.Config{}, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) })
	for name, want := range map[string]error{
		"no data":     metrics.ErrNoData,
		"query error": &metrics.QueryError{Message: "x"},
	} {
		if err := c.Do(t.Context(), metrics.Query{}, Request{}, func(io.Reader) error { return want }); !errors.Is(err, want) || metrics.IsUnavailable(err) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	err := c.Do(t.Context(), metrics.Query{}, Request{}, func(io.Reader) error { return context.Canceled })
	if !metrics.IsUnavailable(err) {
		t.Errorf("error %v", err)
	}
}
