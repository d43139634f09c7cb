// Package metricstest has the tests that every metric provider has to pass.
package metricstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-delivery/sluice/metrics"
)

// Value is the number that Suite.Value answers with.
const Value = 12.5

// Answer is what the provider's server sends.
type Answer struct {
	// Status is 200 if 0.
	Status int
	// Header is Content-Type: application/json if nil.
	Header map[string]string
	Body   string
}

// Case is an answer and what has to come of it: Want, or an error that WantErr
// accepts and that has WantMessage in it.
type Case struct {
	Answer      Answer
	Want        float64
	WantErr     func(error) bool
	WantMessage string
}

// Suite describes a provider in the shapes of its real API. All fields are needed
// but those that say otherwise.
type Suite struct {
	New func(metrics.Config) (metrics.Provider, error)
	// Config makes New succeed; the address is added. It has a Secret or
	// headers that must not get out.
	Config metrics.Config
	// Required are the keys of the Secret that New cannot do without, if any.
	Required []string
	// AddressNeeded says that the provider has no address of its own.
	AddressNeeded bool
	Query         metrics.Query

	// Value has one number, [Value].
	Value Answer
	// Empty is for a query that selects nothing.
	Empty Answer
	// Several has two series. A provider whose answer cannot have them says why
	// in NeverSeveral instead.
	Several      Answer
	NeverSeveral string
	// Refused is for a query that is wrong.
	Refused Answer
	// Unauthorized is for wrong credentials.
	Unauthorized Answer
	// RateLimited is for too many requests.
	RateLimited Answer
	// Cases are further ones of this provider. Optional.
	Cases map[string]Case
	// Request checks a request that gets Value. body is all of its body.
	Request func(t *testing.T, r *http.Request, body string)
}

// Run runs all tests on s.
func Run(t *testing.T, s Suite) {
	t.Helper()
	s.complete(t)
	for name, tc := range s.cases() {
		t.Run(name, func(t *testing.T) { s.query(t, tc) })
	}
	t.Run("request", s.request)
	t.Run("configuration", s.configuration)
	t.Run("slow", s.slow)
	t.Run("cancelled", s.cancelled)
	t.Run("unreachable", s.unreachable)
	t.Run("redirect keeps the credentials", s.redirect)
	t.Run("many at once", s.concurrent)
}

// complete fails for a field that was left out.
func (s Suite) complete(t *testing.T) {
	t.Helper()
	optional := map[string]bool{"Required": true, "AddressNeeded": true, "Cases": true,
		"Several": s.NeverSeveral != "", "NeverSeveral": s.Several.Body != ""}
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; v.Field(i).IsZero() && !optional[name] {
			t.Fatalf("the suite has no %s", name)
		}
	}
	if len(s.secrets()) == 0 {
		t.Fatal("the suite has no secret that could get out")
	}
}

func (s Suite) cases() map[string]Case {
	cases := map[string]Case{
		"value":           {Answer: s.Value, Want: Value},
		"empty":           {Answer: s.Empty, WantErr: metrics.IsNoData},
		"refused query":   {Answer: s.Refused, WantErr: metrics.IsQueryError, WantMessage: "the provider refused it"},
		"bad credentials": {Answer: s.Unauthorized, WantErr: isCause(metrics.ErrCredentials), WantMessage: "refused the credentials"},
		"rate limit":      {Answer: s.RateLimited, WantErr: isCause(metrics.ErrRateLimited), WantMessage: "limits the rate"},
		"server error":    {Answer: Answer{Status: 500, Body: `{}`}, WantErr: metrics.IsUnavailable},
		"bad gateway":     {Answer: html(502), WantErr: metrics.IsUnavailable, WantMessage: "502"},
		"not JSON":        {Answer: html(200), WantErr: metrics.IsUnavailable, WantMessage: "not what its API sends"},
		"torn":            {Answer: Answer{Header: s.Value.Header, Body: s.Value.Body[:len(s.Value.Body)/2]}, WantErr: metrics.IsUnavailable, WantMessage: "not what its API sends"},
		"enormous":        {Answer: Answer{Header: s.Value.Header, Body: `{"x":"` + strings.Repeat("x", 2<<20) + `"}`}, WantErr: isAny(metrics.IsQueryError, metrics.IsUnavailable)},
		"elsewhere":       {Answer: Answer{Status: 302, Header: map[string]string{"Location": "/login"}}, WantErr: metrics.IsQueryError, WantMessage: "redirects (302)"},
	}
	if s.NeverSeveral == "" {
		cases["several series"] = Case{Answer: s.Several, WantErr: metrics.IsQueryError, WantMessage: "2 series where one is needed"}
	}
	// Servers repeat what they were sent, for example the key that is wrong.
	for _, status := range []int{200, 400, 401, 403, 404, 429, 500, 503} {
		for i, secret := range s.secrets() {
			cases[fmt.Sprintf("%d repeats credential %d", status, i)] = Case{
				Answer:  Answer{Status: status, Body: fmt.Sprintf(`{"message":"no such key: %[1]s","error":"%[1]s","errors":["%[1]s"]}`, escape(secret))},
				WantErr: func(err error) bool { return err != nil },
			}
		}
	}
	for name, tc := range s.Cases {
		cases[name] = tc
	}
	return cases
}

func html(status int) Answer {
	return Answer{Status: status, Header: map[string]string{"Content-Type": "text/html"}, Body: "<html><body>Sign in</body></html>"}
}

func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s)
}

func isCause(cause error) func(error) bool {
	return func(err error) bool { return metrics.IsUnavailable(err) && errors.Is(err, cause) }
}

func isAny(tests ...func(error) bool) func(error) bool {
	return func(err error) bool {
		for _, test := range tests {
			if test(err) {
				return true
			}
		}
		return false
	}
}

// secrets are the values that must not get into an error.
func (s Suite) secrets() []string {
	var all []string
	for _, v := range s.Config.Secret {
		all = append(all, string(v))
	}
	for _, values := range s.Config.Headers {
		for _, v := range values {
			_, word, ok := strings.Cut(v, " ")
			if !ok {
				word = v
			}
			all = append(all, word)
		}
	}
	return all
}

// checkError fails for an error that says too much.
func (s Suite) checkError(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, secret := range s.secrets() {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error has a credential: %v", err)
		}
	}
	if strings.Contains(err.Error(), "Sign in") || len(err.Error()) > 500 {
		t.Errorf("the error repeats too much of the answer: %v", err)
	}
}

func (s Suite) provider(t *testing.T, address string) metrics.Provider {
	t.Helper()
	c := s.Config
	c.Address = address
	p, err := s.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (s Suite) serve(t *testing.T, h http.HandlerFunc) metrics.Provider {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return s.provider(t, server.URL)
}

// Write sends the answer.
func (a Answer) Write(w http.ResponseWriter) {
	header := a.Header
	if header == nil {
		header = map[string]string{"Content-Type": "application/json"}
	}
	for k, v := range header {
		w.Header().Set(k, v)
	}
	if a.Status != 0 {
		w.WriteHeader(a.Status)
	}
	_, _ = w.Write([]byte(a.Body))
}

func (s Suite) query(t *testing.T, tc Case) {
	p := s.serve(t, func(w http.ResponseWriter, _ *http.Request) { tc.Answer.Write(w) })
	got, err := p.Query(t.Context(), s.Query)
	s.checkError(t, err)
	if tc.WantErr != nil {
		if !tc.WantErr(err) || !strings.Contains(err.Error(), tc.WantMessage) {
			t.Errorf("error %v, value %v", err, got.Value)
		}
		return
	}
	if err != nil || got.Value != tc.Want {
		t.Errorf("got %v, %v", got.Value, err)
	}
}

func (s Suite) request(t *testing.T) {
	p := s.serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.Request(t, r, string(body))
		s.Value.Write(w)
	})
	if _, err := p.Query(t.Context(), s.Query); err != nil {
		t.Error(err)
	}
}

func (s Suite) configuration(t *testing.T) {
	refused := func(what string, change func(*metrics.Config), field string) {
		c := s.Config
		c.Address = "http://127.0.0.1:1"
		c.Secret = map[string][]byte{}
		for k, v := range s.Config.Secret {
			c.Secret[k] = v
		}
		change(&c)
		_, err := s.New(c)
		s.checkError(t, err)
		var wrong *metrics.ConfigError
		if !errors.As(err, &wrong) || wrong.Field != field || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error %v, want one about %s", what, err, field)
		}
	}
	for _, address := range []string{"server:9090", "ftp://server", "http://user:hunter2@[::1", "/path"} {
		refused(address, func(c *metrics.Config) { c.Address = address }, "address")
	}
	if s.AddressNeeded {
		refused("no address", func(c *metrics.Config) { c.Address = "" }, "address")
	}
	for _, key := range s.Required {
		refused("no "+key, func(c *metrics.Config) { delete(c.Secret, key) }, "secret."+key)
		refused("empty "+key, func(c *metrics.Config) { c.Secret[key] = nil }, "secret."+key)
	}
}

func (s Suite) slow(t *testing.T) {
	release := make(chan struct{})
	p := s.serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(release) })
	q := s.Query
	q.Timeout = 50 * time.Millisecond
	_, err := p.Query(t.Context(), q)
	s.checkError(t, err)
	if !metrics.IsUnavailable(err) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer within 50ms") {
		t.Errorf("error %v", err)
	}
}

func (s Suite) cancelled(t *testing.T) {
	p := s.serve(t, func(w http.ResponseWriter, _ *http.Request) { s.Value.Write(w) })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.Query(ctx, s.Query)
	s.checkError(t, err)
	if !errors.Is(err, context.Canceled) || !metrics.IsUnavailable(err) {
		t.Errorf("error %v", err)
	}
}

func (s Suite) unreachable(t *testing.T) {
	server := httptest.NewServer(nil)
	address := server.URL
	server.Close()
	_, err := s.provider(t, address).Query(t.Context(), s.Query)
	s.checkError(t, err)
	if !metrics.IsUnavailable(err) || !strings.Contains(err.Error(), "refused") || strings.Contains(err.Error(), "?") {
		t.Errorf("error %v", err)
	}
}

// redirect looks whether the credentials go to a server that was never configured.
func (s Suite) redirect(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the redirect is followed")
	}))
	t.Cleanup(other.Close)
	for _, status := range []int{301, 302, 307, 308} {
		p := s.serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL+"/stolen", status) })
		_, err := p.Query(t.Context(), s.Query)
		s.checkError(t, err)
		if err == nil {
			t.Errorf("%d: no error", status)
		}
	}
}

func (s Suite) concurrent(t *testing.T) {
	p := s.serve(t, func(w http.ResponseWriter, _ *http.Request) { s.Value.Write(w) })
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			if got, err := p.Query(t.Context(), s.Query); err != nil || got.Value != Value {
				t.Errorf("got %v, %v", got.Value, err)
			}
		})
	}
	group.Wait()
}
