package webhooks

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

var newYear = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// quickClock is a clock on which every wait is over at once, and the grace of a shutdown if it has none. It remembers
// the waits.
type quickClock struct {
	*clocktesting.FakeClock

	noGrace bool

	mu    sync.Mutex
	waits []time.Duration
}

func newQuickClock() *quickClock { return &quickClock{FakeClock: clocktesting.NewFakeClock(newYear)} }

func (c *quickClock) NewTimer(d time.Duration) clock.Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits = append(c.waits, d)
	timer := c.FakeClock.NewTimer(d)
	if d != shutdownGrace || c.noGrace {
		c.Step(d)
	}
	return timer
}

// testClient may call loopback addresses, waits for nothing, and its jitter is none.
func testClient(t *testing.T) (*Client, *quickClock) {
	t.Helper()
	guard, err := NewGuard(nil, []string{"127.0.0.1", "::1"})
	if err != nil {
		t.Fatal(err)
	}
	clock := newQuickClock()
	client := NewClient(Options{Clock: clock, Guard: guard, UserAgent: "sluice/test"})
	client.random = func() float64 { return 0 }
	return client, clock
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server
}

// asked is a request as an endpoint got it.
type asked struct {
	Method, Path, Body string
	Header             http.Header
}

// recorder remembers what it was asked.
type recorder struct {
	mu   sync.Mutex
	seen []asked
}

func (r *recorder) note(req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, asked{req.Method, req.URL.RequestURI(), string(body), req.Header.Clone()})
}

func (r *recorder) requests() []asked {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]asked(nil), r.seen...)
}

func TestRequest(t *testing.T) {
	var got recorder
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) { got.note(r) })
	client, _ := testClient(t)
	call := Call{
		Hook: "gate", URL: server.URL + "/gate/check?token=x", Key: "uid/s1-a/2/gate",
		Payload: Payload{Name: "podinfo", Namespace: "test"},
		Headers: map[string]string{"X-Team": "shop", "Authorization": "of the spec"},
		Credentials: parseSecret(t, map[string][]byte{
			HMACKey: []byte("key"), AuthorizationKey: []byte("Bearer of the Secret\n"),
		}),
	}
	answer, err := client.Do(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Answer{Status: 200, Attempts: 1}, answer); d != "" {
		t.Errorf("answer (-want +got):\n%s", d)
	}
	body, err := json.Marshal(call.Payload)
	if err != nil {
		t.Fatal(err)
	}
	want := []asked{{
		Method: http.MethodPost, Path: "/gate/check?token=x", Body: string(body),
		Header: http.Header{
			"Content-Type": {"application/json"}, "Content-Length": {fmt.Sprint(len(body))}, "User-Agent": {"sluice/test"},
			"X-Team": {"shop"}, "Authorization": {"Bearer of the Secret"}, "Idempotency-Key": {"uid/s1-a/2/gate"},
			"Sluice-Signature": {Sign([]byte("key"), newYear, body)},
		},
	}}
	if d := cmp.Diff(want, got.requests()); d != "" {
		t.Errorf("requests (-want +got):\n%s", d)
	}
}

// Pain 17: hooks were neither repeated with a bound, nor could be given up, nor was their answer bounded.
// With a proxy it is the proxy that is called, and that looks up the host.
func TestHookThroughAProxy(t *testing.T) {
	var asked []string
	proxy := serve(t, func(_ http.ResponseWriter, r *http.Request) { asked = append(asked, r.RequestURI) })
	address, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	guard, err := NewGuard([]string{"hooks.invalid"}, []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	client := NewClient(Options{Clock: newQuickClock(), Guard: guard, Proxy: http.ProxyURL(address)})
	if _, err := client.Do(t.Context(), Call{URL: "http://hooks.invalid/gate"}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"http://hooks.invalid/gate"}, asked); d != "" {
		t.Errorf("asked of the proxy (-want +got):\n%s", d)
	}
	if _, err := client.Do(t.Context(), Call{URL: "http://others.invalid/gate"}); KindOf(err) != KindRefusedURL {
		t.Errorf("a host that may not be called: %v", err)
	}
}

func TestAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		status       int
		body         string
		retries      int
		want         Kind
		wantMessage  string
		wantAttempts int
	}{
		"yes":                      {status: 200, wantAttempts: 1},
		"created":                  {status: 201, wantAttempts: 1},
		"accepted":                 {status: 202, wantAttempts: 1},
		"nothing to say":           {status: 204, want: KindStatus, wantMessage: "127.0.0.1: answered 204", wantAttempts: 1},
		"no":                       {status: 403, body: "gate is\n closed\x1b[31m\n", retries: 3, want: KindStatus, wantMessage: "127.0.0.1: answered 403: gate is closed [31m", wantAttempts: 1},
		"not found":                {status: 404, retries: 3, want: KindStatus, wantMessage: "127.0.0.1: answered 404", wantAttempts: 1},
		"not modified":             {status: 304, retries: 3, want: KindStatus, wantMessage: "127.0.0.1: answered 304", wantAttempts: 1},
		"redirect to nowhere":      {status: 302, retries: 3, want: KindStatus, wantMessage: "127.0.0.1: answered 302", wantAttempts: 1},
		"broken":                   {status: 500, body: "oops", want: KindStatus, wantMessage: "127.0.0.1: answered 500: oops", wantAttempts: 1},
		"broken again":             {status: 503, retries: 2, want: KindStatus, wantMessage: "127.0.0.1: answered 503", wantAttempts: 3},
		"not implemented":          {status: 501, retries: 2, want: KindStatus, wantMessage: "127.0.0.1: answered 501", wantAttempts: 1},
		"too many":                 {status: 429, retries: 1, want: KindStatus, wantMessage: "127.0.0.1: answered 429", wantAttempts: 2},
		"too early":                {status: 425, retries: 1, want: KindStatus, wantMessage: "127.0.0.1: answered 425", wantAttempts: 2},
		"too slow for the server":  {status: 408, retries: 1, want: KindStatus, wantMessage: "127.0.0.1: answered 408", wantAttempts: 2},
		"long":                     {status: 400, body: strings.Repeat("x", 3000), want: KindStatus, wantMessage: "127.0.0.1: answered 400: " + strings.Repeat("x", maxText) + "…", wantAttempts: 1},
		"what was sent to confirm": {status: 400, body: "got Bearer t0ken", want: KindStatus, wantMessage: "127.0.0.1: answered 400: got [redacted]", wantAttempts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.body))
			})
			client, _ := testClient(t)
			answer, err := client.Do(t.Context(), Call{
				URL: server.URL, Retries: tc.retries, Credentials: parseSecret(t, map[string][]byte{AuthorizationKey: []byte("Bearer t0ken")}),
			})
			if KindOf(err) != tc.want || tc.want != "" && err.Error() != tc.wantMessage {
				t.Errorf("error is %v of kind %q; want %q of kind %q", err, KindOf(err), tc.wantMessage, tc.want)
			}
			if answer.Status != tc.status || answer.Attempts != tc.wantAttempts || int(calls.Load()) != tc.wantAttempts {
				t.Errorf("answer is %+v after %d calls, want status %d after %d", answer, calls.Load(), tc.status, tc.wantAttempts)
			}
		})
	}
}

func TestPause(t *testing.T) {
	for name, tc := range map[string]struct {
		attempt int
		asked   time.Duration
		random  float64
		want    time.Duration
	}{
		"first":                     {attempt: 1, want: time.Second},
		"second":                    {attempt: 2, want: 2 * time.Second},
		"fifth":                     {attempt: 5, want: 16 * time.Second},
		"sixth":                     {attempt: 6, want: 30 * time.Second},
		"hundredth":                 {attempt: 100, want: 30 * time.Second},
		"a half less at most":       {attempt: 2, random: 1, want: time.Second},
		"asked for more":            {attempt: 1, asked: 7 * time.Second, random: 0.5, want: 7 * time.Second},
		"asked for less":            {attempt: 3, asked: time.Second, want: 4 * time.Second},
		"asked for far too much":    {attempt: 1, asked: time.Hour, want: 30 * time.Second},
		"asked for what has passed": {attempt: 1, asked: -time.Hour, want: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			if got := pause(tc.attempt, tc.asked, tc.random); got != tc.want {
				t.Errorf("pause is %s, want %s", got, tc.want)
			}
		})
	}
}

func TestWaitsBetweenAttempts(t *testing.T) {
	for name, tc := range map[string]struct {
		retryAfter string
		want       []time.Duration
	}{
		"growing":     {want: []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}},
		"as asked":    {retryAfter: "3", want: []time.Duration{3 * time.Second, 3 * time.Second, 4 * time.Second}},
		"until then":  {retryAfter: newYear.Add(10 * time.Second).Format(http.TimeFormat), want: []time.Duration{10 * time.Second, 2 * time.Second, 4 * time.Second}},
		"no nonsense": {retryAfter: "-5", want: []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}},
		"no words":    {retryAfter: "later", want: []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				if calls.Add(1) < 4 {
					w.Header().Set("Retry-After", tc.retryAfter)
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			})
			client, clock := testClient(t)
			answer, err := client.Do(t.Context(), Call{URL: server.URL, Retries: 5})
			if err != nil || answer.Attempts != 4 {
				t.Errorf("answer is %+v, %v; want success at attempt 4", answer, err)
			}
			if d := cmp.Diff(tc.want, clock.waits); d != "" {
				t.Errorf("waits (-want +got):\n%s", d)
			}
		})
	}
}

// Waiting that cannot lead to another attempt only holds a place in the pool.
func TestNoWaitBeyondDeadline(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	client, clock := testClient(t)
	clock.SetTime(time.Now())
	ctx, cancel := context.WithTimeout(t.Context(), 900*time.Millisecond)
	defer cancel()
	answer, err := client.Do(ctx, Call{URL: server.URL, Retries: 5})
	if KindOf(err) != KindStatus || answer.Attempts != 1 || len(clock.waits) != 0 {
		t.Errorf("answer is %+v, %v after waits %v; want one attempt and no wait", answer, err, clock.waits)
	}
}

func TestNoAnswerInTime(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter){
		"nothing at all": func(http.ResponseWriter) {},
		"a beginning": func(w http.ResponseWriter) {
			_, _ = w.Write([]byte("wait"))
			w.(http.Flusher).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // or the server does not see that the client has gone
				calls.Add(1)
				answer(w)
				<-r.Context().Done()
			})
			client, _ := testClient(t)
			_, err := client.Do(t.Context(), Call{URL: server.URL + "/?token=s3cret", Timeout: 30 * time.Millisecond, Retries: 1})
			if KindOf(err) != KindTimeout || err.Error() != "127.0.0.1: no complete answer within 30ms" {
				t.Errorf("error is %v of kind %q, want a timeout", err, KindOf(err))
			}
			if calls.Load() != 2 {
				t.Errorf("called %d times, want 2", calls.Load())
			}
		})
	}
}

func TestGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	})
	client, clock := testClient(t)
	answer, err := client.Do(ctx, Call{URL: server.URL, Retries: 5})
	if KindOf(err) != KindCanceled || answer.Attempts != 1 || len(clock.waits) != 0 {
		t.Errorf("answer is %+v, %v of kind %q; want one attempt that is given up", answer, err, KindOf(err))
	}
}

func TestUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	client, _ := testClient(t)
	answer, err := client.Do(t.Context(), Call{URL: "http://user:passw0rd@" + address + "/s3cret?token=s3cret", Retries: 2})
	if KindOf(err) != KindUnreachable || answer.Attempts != 3 {
		t.Errorf("answer is %+v, %v; want three attempts in vain", answer, err)
	}
	if strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "passw0rd") {
		t.Errorf("error shows credentials: %v", err)
	}
}

// An endpoint that breaks off has not answered, whatever it began with.
func TestAnswerBrokenOff(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("o"))
	})
	client, _ := testClient(t)
	if _, err := client.Do(t.Context(), Call{URL: server.URL}); KindOf(err) != KindUnreachable {
		t.Errorf("error is %v of kind %q, want %q", err, KindOf(err), KindUnreachable)
	}
}

// An answer without an end neither fills the memory nor takes the time of the call.
func TestEndlessAnswer(t *testing.T) {
	for name, pauses := range map[string]bool{"fast": false, "slow after a beginning": true} {
		t.Run(name, func(t *testing.T) {
			var sent atomic.Int64
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				block := bytes.Repeat([]byte("x"), maxAnswer)
				for r.Context().Err() == nil {
					n, err := w.Write(block)
					sent.Add(int64(n))
					if err != nil {
						return
					}
					if pauses {
						w.(http.Flusher).Flush()
						<-r.Context().Done()
					}
				}
			})
			client, _ := testClient(t)
			answer, err := client.Do(t.Context(), Call{URL: server.URL, Timeout: time.Minute})
			if err != nil || answer.Body != strings.Repeat("x", maxText)+"…" {
				t.Errorf("answer is %+v, %v; want success and a short body", answer, err)
			}
			server.CloseClientConnections()
			if sent.Load() > 16<<20 {
				t.Errorf("the endpoint could send %d bytes", sent.Load())
			}
		})
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	var opened atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/", http.StatusTemporaryRedirect)
		}
		_, _ = w.Write(bytes.Repeat([]byte("x"), 10*maxAnswer))
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	client, _ := testClient(t)
	for range 10 {
		if _, err := client.Do(t.Context(), Call{URL: server.URL + "/moved"}); err != nil {
			t.Fatal(err)
		}
	}
	if opened.Load() != 1 {
		t.Errorf("%d connections, want 1", opened.Load())
	}
}

func TestTLS(t *testing.T) {
	us, them := newIdentity(t, "sluice"), newIdentity(t, "somebody")
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/mutual" && len(r.TLS.PeerCertificates) == 0 {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	pool := x509.NewCertPool()
	pool.AddCert(us.parsed)
	server.TLS = &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := inPEM("CERTIFICATE", server.Certificate().Raw)

	for name, tc := range map[string]struct {
		path     string
		secret   map[string][]byte
		insecure bool
		want     Kind
	}{
		"unknown authority": {want: KindUnreachable},
		"its authority":     {secret: map[string][]byte{CAKey: ca}},
		"other authority":   {secret: map[string][]byte{CAKey: them.certificate}, want: KindUnreachable},
		"any":               {insecure: true},
		"mutual":            {path: "/mutual", secret: map[string][]byte{CAKey: ca, CertificateKey: us.certificate, PrivateKeyKey: us.key}},
		"mutual, without":   {path: "/mutual", secret: map[string][]byte{CAKey: ca}, want: KindStatus},
		"mutual, other":     {path: "/mutual", secret: map[string][]byte{CAKey: ca, CertificateKey: them.certificate, PrivateKeyKey: them.key}, want: KindStatus},
	} {
		t.Run(name, func(t *testing.T) {
			client, _ := testClient(t)
			retries := 0
			if name == "unknown authority" {
				retries = 3
			}
			answer, err := client.Do(t.Context(), Call{
				URL: server.URL + tc.path, Insecure: tc.insecure, Credentials: parseSecret(t, tc.secret), Retries: retries,
			})
			if KindOf(err) != tc.want || answer.Attempts != 1 {
				t.Errorf("answer is %+v, %v; want kind %q at once", answer, err, tc.want)
			}
		})
	}
}

func TestTransportsAreShared(t *testing.T) {
	client, _ := testClient(t)
	one, other := newIdentity(t, "one"), newIdentity(t, "other")
	material := func(i identity) tlsMaterial {
		return parseSecret(t, map[string][]byte{CAKey: i.certificate, CertificateKey: i.certificate, PrivateKeyKey: i.key}).tls
	}
	get := client.transports.get
	first := get(material(one), false, true)
	if get(material(one), false, true) != first {
		t.Error("the same material got another transport")
	}
	distinct := map[*http.Transport]bool{
		get(tlsMaterial{}, false, true): true, get(tlsMaterial{}, true, true): true, get(material(one), false, true): true,
		get(material(one), true, true): true, get(material(one), false, false): true, get(material(other), false, true): true,
	}
	if len(distinct) != 6 {
		t.Errorf("%d transports for 6 materials", len(distinct))
	}
	kept := get(tlsMaterial{}, false, true)
	for i := range 3 * maxTransports {
		get(tlsMaterial{rootsID: digestOf([]byte{byte(i)})}, false, true)
		if get(tlsMaterial{}, false, true) != kept {
			t.Fatal("a transport in use was dropped")
		}
	}
	if n := len(client.transports.entries); n != maxTransports || len(client.transports.used) != n {
		t.Errorf("%d transports are kept, want %d", n, maxTransports)
	}
}

func TestFollow(t *testing.T) {
	type want struct {
		URL, Method string
		Own         bool
		Kind        Kind
	}
	stop := want{}
	for name, tc := range map[string]struct {
		from     string
		status   int
		location string
		want     want
	}{
		"no redirect":               {"http://a/x", 200, "/y", stop},
		"no location":               {"http://a/x", 307, "", stop},
		"same host":                 {"http://a/x?q", 307, "y", want{"http://a/y", "POST", true, ""}},
		"same host, for good":       {"http://u:p@a/x", 308, "http://A:80/y", want{"http://u:p@A:80/y", "POST", true, ""}},
		"see other":                 {"http://a/x", 303, "/y", want{"http://a/y", "GET", true, ""}},
		"moved":                     {"http://a/x", 301, "/x/", want{"http://a/x/", "GET", true, ""}},
		"found at another host":     {"http://a/x", 302, "http://login/y", stop},
		"another host":              {"http://u:p@a/x", 307, "http://u:p@b/y", want{"http://b/y", "POST", false, ""}},
		"another port":              {"http://a/x", 307, "http://a:81/y", want{"http://a:81/y", "POST", false, ""}},
		"to https":                  {"http://a/x", 308, "https://a/x", want{"https://a/x", "POST", true, ""}},
		"to https of another port":  {"http://a:8080/x", 308, "https://a/x", want{"https://a/x", "POST", false, ""}},
		"from https":                {"https://a/x", 308, "http://a/x", want{Kind: KindRedirect}},
		"other scheme":              {"http://a/x", 307, "file:///etc/passwd", want{Kind: KindRedirect}},
		"no URL":                    {"http://a/x", 307, "http://b c/", want{Kind: KindRedirect}},
		"no host":                   {"http://a/x", 307, "http:///y", want{Kind: KindRedirect}},
		"other protocol of the web": {"https://a/x", 302, "//b/y", stop},
	} {
		t.Run(name, func(t *testing.T) {
			from, err := url.Parse(tc.from)
			if err != nil {
				t.Fatal(err)
			}
			next, err := (&hop{url: from, method: http.MethodPost, own: true}).follow(tc.status, tc.location)
			got := want{Kind: KindOf(err)}
			if next != nil {
				got = want{next.url.String(), next.method, next.own, ""}
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("next hop (-want +got):\n%s", d)
			}
		})
	}
}

func TestRedirectLoop(t *testing.T) {
	var calls atomic.Int32
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		http.Redirect(w, r, "/again", http.StatusTemporaryRedirect)
	})
	client, _ := testClient(t)
	_, err := client.Do(t.Context(), Call{URL: server.URL, Retries: 3})
	if KindOf(err) != KindRedirect || calls.Load() != 1+maxRedirects {
		t.Errorf("error is %v after %d requests, want %q after %d", err, calls.Load(), KindRedirect, 1+maxRedirects)
	}
}

// What authenticates a call is for the endpoint that the hook names, and for no other, not even when it comes back.
func TestCredentialsStayAtHome(t *testing.T) {
	us := newIdentity(t, "sluice")
	var home, away recorder
	var homeURL string
	shown := false
	other := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		away.note(r)
		shown = shown || len(r.TLS.PeerCertificates) > 0
		http.Redirect(w, r, homeURL+"/back", http.StatusTemporaryRedirect)
	}))
	other.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	other.StartTLS()
	t.Cleanup(other.Close)
	first := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		home.note(r)
		switch r.URL.Path {
		case "/start":
			http.Redirect(w, r, "/near", http.StatusTemporaryRedirect)
		case "/near":
			http.Redirect(w, r, other.URL+"/far", http.StatusTemporaryRedirect)
		}
	}))
	first.StartTLS()
	t.Cleanup(first.Close)
	homeURL = first.URL

	client, _ := testClient(t)
	_, err := client.Do(t.Context(), Call{
		URL: homeURL + "/start", Insecure: true, Key: "k", Headers: map[string]string{"X-Api-Key": "s3cret"},
		Credentials: parseSecret(t, map[string][]byte{
			HMACKey: []byte("key"), AuthorizationKey: []byte("Bearer s3cret"), CertificateKey: us.certificate, PrivateKeyKey: us.key,
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range append(home.requests(), away.requests()...) {
		secrets := 0
		for _, name := range []string{"X-Api-Key", "Authorization", SignatureHeader} {
			if r.Header.Get(name) != "" {
				secrets++
			}
		}
		got = append(got, fmt.Sprintf("%s %s %d %s %v", r.Method, r.Path, secrets, r.Header.Get(KeyHeader), r.Body != ""))
	}
	want := []string{"POST /start 3 k true", "POST /near 3 k true", "POST /back 0 k true", "POST /far 0 k true"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("requests (-want +got):\n%s", d)
	}
	if shown {
		t.Error("the certificate was shown to another host")
	}
}

func TestRedirectIntoWhatIsRefused(t *testing.T) {
	for name, location := range map[string]string{
		"by address": "http://169.254.169.254/latest/meta-data/",
		"by name":    "http://localhost/",
		"by host":    "http://elsewhere.test/",
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, location, http.StatusTemporaryRedirect)
			}))
			listener, err := net.Listen("tcp", "127.0.0.2:0")
			if err != nil {
				t.Fatal(err)
			}
			_ = server.Listener.Close()
			server.Listener = listener
			server.Start()
			t.Cleanup(server.Close)
			guard, err := NewGuard([]string{"127.0.0.2", "169.254.169.254", "localhost"}, []string{"127.0.0.2"})
			if err != nil {
				t.Fatal(err)
			}
			client := NewClient(Options{Clock: newQuickClock(), Guard: guard})
			answer, err := client.Do(t.Context(), Call{URL: server.URL, Retries: 3})
			if KindOf(err) != KindRedirect || answer.Attempts != 1 || !strings.Contains(err.Error(), "may not be called") {
				t.Errorf("answer is %+v, %v of kind %q; want a refused redirect", answer, err, KindOf(err))
			}
		})
	}
}

// A name that leads to a harmless address when it is checked, and to another when it is called, is still refused: it is
// the address of the connection that counts.
func TestRebinding(t *testing.T) {
	var calls atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = server.Listener.Close()
	server.Listener = listener
	server.Config.SetKeepAlivesEnabled(false)
	server.Start()
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}

	guard, err := NewGuard([]string{"gate.test"}, []string{"127.0.0.2"})
	if err != nil {
		t.Fatal(err)
	}
	client := NewClient(Options{Clock: newQuickClock(), Guard: guard})
	names := startNameServer(t, net.IPv4(127, 0, 0, 2))
	client.transports.dialer.Resolver = names.resolver()
	call := Call{URL: "http://gate.test:" + port + "/", Timeout: 30 * time.Second}

	if _, err := client.Do(t.Context(), call); err != nil {
		t.Fatalf("harmless address is refused: %v", err)
	}
	names.set(net.IPv4(127, 0, 0, 1))
	_, err = client.Do(t.Context(), call)
	if KindOf(err) != KindRefusedAddress || calls.Load() != 1 {
		t.Errorf("error is %v of kind %q after %d calls, want %q after 1", err, KindOf(err), calls.Load(), KindRefusedAddress)
	}
	if want := "gate.test: is at 127.0.0.1, a loopback address, which may not be called"; err != nil && err.Error() != want {
		t.Errorf("error is %q, want %q", err, want)
	}
}

// nameServer gives every name one address.
type nameServer struct {
	conn net.PacketConn
	mu   sync.Mutex
	ip   net.IP
}

func startNameServer(t *testing.T, ip net.IP) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	n := &nameServer{conn: conn, ip: ip}
	go n.run()
	return n
}

func (n *nameServer) set(ip net.IP) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ip = ip
}

func (n *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", n.conn.LocalAddr().String())
	}}
}

func (n *nameServer) run() {
	query := make([]byte, 1500)
	for {
		size, from, err := n.conn.ReadFrom(query)
		if err != nil {
			return
		}
		n.mu.Lock()
		_, _ = n.conn.WriteTo(dnsAnswer(query[:size], n.ip), from)
		n.mu.Unlock()
	}
}

// dnsAnswer answers a question for an A record, and any other with nothing (RFC 1035, 4.1).
func dnsAnswer(query []byte, ip net.IP) []byte {
	end := 12 + bytes.IndexByte(query[12:], 0) + 5
	isA := query[end-3] == 1
	answer := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, query[12:end]...)
	if isA {
		answer[7] = 1
		answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		answer = append(answer, ip.To4()...)
	}
	return answer
}
