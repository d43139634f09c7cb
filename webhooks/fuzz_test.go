package webhooks

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzHookAnswer has a hook answer anything: what is shown of it is one line of bounded length without the credentials, and only
// the statuses that say yes are a yes.
func FuzzHookAnswer(f *testing.F) {
	f.Add(http.StatusOK, "OK", "")
	f.Add(http.StatusForbidden, "no\nmore \u202e\x00", "1")
	f.Add(http.StatusTooManyRequests, strings.Repeat("ä", 5000), "Wed, 21 Oct 2026 07:28:00 GMT")
	f.Add(http.StatusServiceUnavailable, "swordfish", "-1")
	f.Add(http.StatusFound, "", "99999999999999999999")
	type answer struct {
		status     int
		body, wait string
	}
	answers := make(chan answer, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		a := <-answers
		answers <- a
		w.Header().Set("Retry-After", strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return -1
			}
			return r
		}, a.wait))
		w.WriteHeader(a.status)
		_, _ = w.Write([]byte(a.body))
	}))
	f.Cleanup(server.Close)
	guard, err := NewGuard(nil, []string{"127.0.0.1"})
	if err != nil {
		f.Fatal(err)
	}
	clock := newQuickClock()
	clock.noGrace = true                                     // a hook may ask for just as long a wait
	client := NewClient(Options{Clock: clock, Guard: guard}) // one, as each keeps a connection
	f.Fuzz(func(t *testing.T, status int, body, wait string) {
		if status < 200 || status > 599 {
			return
		}
		answers <- answer{status, body, wait}
		defer func() { <-answers }()
		got, err := client.Do(t.Context(), Call{URL: server.URL, Retries: 2, Credentials: Credentials{authorization: "swordfish"}})
		if yes := status == http.StatusOK || status == http.StatusCreated || status == http.StatusAccepted; yes != (err == nil) {
			t.Errorf("%d: error %v", status, err)
		}
		shown := []string{got.Body}
		if err != nil {
			shown = append(shown, err.Error())
		}
		for _, text := range shown {
			if len(text) > 8<<10 || !utf8.ValidString(text) || strings.Contains(text, "swordfish") || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == '\u202e' }) {
				t.Errorf("it shows %q", text)
			}
		}
	})
}
