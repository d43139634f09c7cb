package alerts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

const secret = "T00/B00/secret-in-path"

func TestPost(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		status        int
		header        http.Header
		body          string
		wantErr       string
		wantPermanent bool
		wantWait      time.Duration
	}{
		"taken":                {status: 200, body: "ok"},
		"accepted":             {status: 202},
		"no content":           {status: 204},
		"revoked":              {status: 404, body: "no_service", wantErr: "status 404 Not Found: no_service", wantPermanent: true},
		"not understood":       {status: 400, body: "invalid_payload\n", wantErr: "invalid_payload", wantPermanent: true},
		"rate limited":         {status: 429, header: http.Header{"Retry-After": {"30"}}, wantErr: "status 429", wantWait: 30 * time.Second},
		"fractions":            {status: 429, header: http.Header{"Retry-After": {"0.5"}}, wantErr: "status 429", wantWait: 500 * time.Millisecond},
		"until a time":         {status: 503, header: http.Header{"Retry-After": {now.Add(time.Minute).Format(http.TimeFormat)}}, wantErr: "status 503", wantWait: time.Minute},
		"a time that is over":  {status: 503, header: http.Header{"Retry-After": {now.Add(-time.Minute).Format(http.TimeFormat)}}, wantErr: "status 503"},
		"nonsense":             {status: 503, header: http.Header{"Retry-After": {"soon"}}, wantErr: "status 503"},
		"out of order":         {status: 500, wantErr: "status 500"},
		"elsewhere":            {status: 307, header: http.Header{"Location": {"http://example.com/"}}, wantErr: "status 307", wantPermanent: true},
		"answer with a secret": {status: 403, body: "no hook at /" + secret + "\x1b[31m", wantErr: "no hook at ...", wantPermanent: true},
		"a long answer":        {status: 400, body: strings.Repeat("x", 100_000), wantErr: "x...", wantPermanent: true},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("X-Extra") != "y" || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
					t.Errorf("headers %v", r.Header)
				}
				for k, v := range tc.header {
					w.Header()[k] = v
				}
				w.WriteHeader(tc.status)
				fmt.Fprint(w, tc.body)
			}))
			defer server.Close()
			p, err := NewPoster(Receiver{Type: "x", Address: server.URL + "/" + secret}, Kit{Clock: clocktesting.NewFakePassiveClock(now)})
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.Post(t.Context(), map[string]string{"a": "<b>"}, map[string]string{"X-Extra": "y"})
			if tc.wantErr == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var sent *SendError
			if !errors.As(err, &sent) {
				t.Fatalf("error %v", err)
			}
			if !strings.Contains(err.Error(), tc.wantErr) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\x1b") || len(err.Error()) > 400 {
				t.Errorf("error %q", err)
			}
			if sent.Permanent != tc.wantPermanent || sent.RetryAfter != tc.wantWait || sent.To != server.URL {
				t.Errorf("got %+v", sent)
			}
		})
	}
}

// An error of the transport holds the URL, which lets anybody write to the channel.
func TestPostTellsNoAddress(t *testing.T) {
	for name, tc := range map[string]struct {
		transport roundTripper
		want      string
	}{
		"refused": {func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }, "connection refused"},
		"hangs": {func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, "no answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := NewPoster(Receiver{Address: "https://hooks.example.com/" + secret + "?key=secret"}, Kit{Transport: func(*url.URL) http.RoundTripper { return tc.transport }})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err = p.Post(ctx, 1, nil)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "secret") || isPermanent(err) {
				t.Errorf("error %v", err)
			}
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestNewPosterRefuses(t *testing.T) {
	for name, r := range map[string]Receiver{
		"no address":    {},
		"no URL":        {Address: "://secret"},
		"bad escape":    {Address: "https://example.com/%zzsecret"},
		"no host":       {Address: "https:///secret"},
		"another proto": {Address: "ftp://example.com/secret"},
		"proxy":         {Address: "https://example.com", Proxy: "user:secret@proxy"},
		"proxy scheme":  {Address: "https://example.com", Proxy: "socks5://user:secret@proxy"},
	} {
		if _, err := NewPoster(r, Kit{}); err == nil || !isPermanent(err) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestProxy(t *testing.T) {
	var seen string
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.URL.String() }))
	defer proxy.Close()
	p, err := NewPoster(Receiver{Address: "http://chat.invalid/hook", Proxy: proxy.URL}, Kit{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Post(t.Context(), 1, nil); err != nil {
		t.Fatal(err)
	}
	if seen != "http://chat.invalid/hook" {
		t.Errorf("the proxy saw %q", seen)
	}
}

func TestRedact(t *testing.T) {
	for address, want := range map[string]string{
		"https://hooks.slack.com/services/T/B/x":                 "https://hooks.slack.com",
		"https://user:pass@chat.example.com:8443/hooks/a?token=": "https://chat.example.com:8443",
		"not a url": "a receiver without a valid URL",
	} {
		if got := Redact(address); got != want {
			t.Errorf("%q", got)
		}
	}
}
