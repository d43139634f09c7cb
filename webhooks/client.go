package webhooks

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k8s.io/utils/clock"
)

const (
	// maxDiscard and drainTime are how much of an answer, and for how long, is read only to use the connection again.
	maxDiscard = 256 << 10
	drainTime  = time.Second
)

// Options of a Client.
type Options struct {
	// Clock for waiting between attempts and for signatures.
	Clock clock.Clock
	// Guard says what may be called. Nil is the zero Guard.
	Guard *Guard
	// UserAgent is sent with each call, such as sluice/1.2.3.
	UserAgent string
	// Proxy returns the HTTP proxy of a request, as in http.Transport; http.ProxyFromEnvironment is one. Nil means none.
	// Through a proxy it is the proxy that finds the host's address: the guard sees the URL's host and the proxy's
	// address, and the proxy must do the rest.
	Proxy func(*http.Request) (*url.URL, error)
}

// Client makes calls. It may be used by many at once, and keeps connections between calls.
type Client struct {
	clock      clock.Clock
	guard      *Guard
	userAgent  string
	transports *transports
	random     func() float64 // 0 to 1, for jitter
}

// NewClient returns a Client.
func NewClient(o Options) *Client {
	guard := o.Guard
	if guard == nil {
		guard = &Guard{}
	}
	return &Client{
		clock: o.Clock, guard: guard, userAgent: o.UserAgent, random: rand.Float64,
		transports: &transports{
			dialer:  guard.dialer(),
			proxy:   o.Proxy,
			entries: map[transportKey]*http.Transport{},
		},
	}
}

// Answer is what an endpoint said.
type Answer struct {
	// Status of the last answer, 0 if there was none.
	Status int
	// Body is the beginning of the last answer's body, fit for a message: one line without control characters and
	// without the call's credentials.
	Body string
	// Attempts is how often the endpoint was called, redirects not counted.
	Attempts int
}

// success are the statuses of Flagger: one that has nothing to say, 204, has not said yes.
func success(status int) bool { return status >= http.StatusOK && status <= http.StatusAccepted }

// Do makes the call and repeats it as often as its Retries allow. An answer of 200, 201 or 202 is success; all else is
// an *Error, with the answer where there was one. Repeated is what may be different the next time: no answer, 408, 425,
// 429 and 5xx but 501; anything else is the endpoint's answer. Do waits 1s, 2s, 4s ... 30s between attempts, a random
// part less, or as long as Retry-After asks for up to 30s, and gives up at once if ctx ends before that.
func (c *Client) Do(ctx context.Context, call Call) (Answer, error) {
	prepared, err := c.prepare(&call)
	if err != nil {
		return Answer{}, err
	}
	for attempt := 1; ; attempt++ {
		r, err := c.attempt(ctx, prepared)
		answer := Answer{Status: r.status, Body: r.body, Attempts: attempt}
		if err == nil || attempt > call.Retries || !worthRepeating(err) {
			return answer, err
		}
		if !c.wait(ctx, pause(attempt, r.retryAfter, c.random())) {
			return answer, err
		}
	}
}

// prepared is a call of which everything that does not change between attempts is done.
type prepared struct {
	*Call
	url  *url.URL
	body []byte
}

// redact takes what the call is authenticated with out of a text.
func (p *prepared) redact(s string) string {
	if password, ok := p.url.User.Password(); ok && password != "" {
		s = strings.ReplaceAll(s, password, redacted)
	}
	return p.Credentials.redact(s)
}

// shown is one line of what an endpoint says, without the credentials: neither as they are, nor as they would be in such a line.
func (p *prepared) shown(s string) string {
	return clean(p.redact(clean(p.redact(s), math.MaxInt)), maxText)
}

func (c *Client) prepare(call *Call) (*prepared, error) {
	u, err := parseURL(call.URL)
	if err != nil {
		return nil, err
	}
	if err := c.guard.checkURL(u); err != nil {
		return nil, err
	}
	if err := checkHeaders(call.Headers); err != nil {
		return nil, err
	}
	body, err := json.Marshal(call.Payload)
	if err != nil {
		return nil, &Error{Kind: KindInvalid, Reason: "payload cannot be written as JSON", Err: err}
	}
	return &prepared{Call: call, url: u, body: body}, nil
}

// reply is one answer as far as it matters.
type reply struct {
	status     int
	body       string
	retryAfter time.Duration
}

// attempt calls the endpoint once, and where it is redirected to.
func (c *Client) attempt(ctx context.Context, call *prepared) (reply, error) {
	within, cancel := context.WithTimeout(ctx, call.timeout())
	defer cancel()

	r, next, err := c.visit(within, call, &hop{url: call.url, method: http.MethodPost, own: true})
	for redirects := 1; next != nil && err == nil; redirects++ {
		if redirects > maxRedirects {
			return reply{}, next.refuse(fmt.Sprintf("more than %d redirects", maxRedirects), nil)
		}
		to := next
		if err := c.guard.checkURL(to.url); err != nil {
			return reply{}, to.refuse("redirected to what may not be called", err)
		}
		r, next, err = c.visit(within, call, to)
		if IsMistake(err) {
			err = to.refuse("redirected to what may not be called", err)
		}
	}
	if e, ok := errors.AsType[*Error](err); ok && ctx.Err() != nil {
		return r, givenUp(ctx, e)
	}
	return r, err
}

// givenUp puts the end of the caller's context in place of what came of it.
func givenUp(ctx context.Context, e *Error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return &Error{Kind: KindCanceled, Host: e.Host, Reason: "call was given up", Err: ctx.Err()}
	}
	return &Error{Kind: KindTimeout, Host: e.Host, Reason: "no complete answer in the time that was left", Err: ctx.Err()}
}

// visit makes one request. It returns the answer, or the next request to make.
func (c *Client) visit(ctx context.Context, call *prepared, h *hop) (reply, *hop, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := c.send(ctx, call, h)
	if err != nil {
		return reply{}, nil, failure(call, h, err)
	}
	next, err := h.follow(resp.StatusCode, resp.Header.Get("Location"))
	if err != nil || next != nil {
		discard(resp, cancel)
		return reply{}, next, err
	}
	r, err := c.read(resp, call, cancel)
	if err != nil {
		return reply{}, nil, failure(call, h, err)
	}
	return r, nil, verdict(h.url.Hostname(), r)
}

// send makes one request.
func (c *Client) send(ctx context.Context, call *prepared, h *hop) (*http.Response, error) {
	req, err := c.request(ctx, call, h)
	if err != nil {
		return nil, err
	}
	client := &http.Client{
		Transport:     c.transports.get(call.Credentials.tls, call.Insecure, h.own),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return client.Do(req)
}

func (c *Client) request(ctx context.Context, call *prepared, h *hop) (*http.Request, error) {
	var body []byte
	if h.method == http.MethodPost {
		body = call.body
	}
	req, err := http.NewRequestWithContext(ctx, h.method, h.url.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", c.userAgent)
	if call.Key != "" {
		req.Header.Set(KeyHeader, call.Key)
	}
	if h.own {
		c.authenticate(req, call, body)
	}
	if h.method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// authenticate adds what only the endpoint that the hook names may have.
func (c *Client) authenticate(req *http.Request, call *prepared, body []byte) {
	for name, value := range call.Headers {
		req.Header.Set(name, value)
	}
	if call.Credentials.authorization != "" {
		req.Header.Set("Authorization", call.Credentials.authorization)
	}
	if len(call.Credentials.hmacKey) > 0 {
		req.Header.Set(SignatureHeader, Sign(call.Credentials.hmacKey, c.clock.Now(), body))
	}
}

// read takes from an answer what is kept, and leaves its connection to the next call if that is cheap.
func (c *Client) read(resp *http.Response, call *prepared, cancel context.CancelFunc) (reply, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		_ = resp.Body.Close()
		return reply{}, err
	}
	discard(resp, cancel)
	return reply{
		status:     resp.StatusCode,
		body:       call.shown(string(body)),
		retryAfter: retryAfter(resp.Header.Get("Retry-After"), c.clock.Now()),
	}, nil
}

// discard reads an answer to its end so that its connection can be used again, unless that is long or slow.
func discard(resp *http.Response, cancel context.CancelFunc) {
	late := time.AfterFunc(drainTime, cancel)
	_, _ = io.CopyN(io.Discard, resp.Body, maxDiscard)
	late.Stop()
	_ = resp.Body.Close()
}

func verdict(host string, r reply) error {
	if success(r.status) {
		return nil
	}
	reason := fmt.Sprintf("answered %d", r.status)
	if r.body != "" {
		reason += ": " + r.body
	}
	return &Error{Kind: KindStatus, Host: host, Reason: reason, Status: r.status}
}

// failure makes an error of what net/http says, without the URL that it repeats.
func failure(call *prepared, h *hop, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	host := h.url.Hostname()
	if e, ok := errors.AsType[*refusedError](err); ok {
		return refusal(host, e)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &Error{Kind: KindTimeout, Host: host, Reason: fmt.Sprintf("no complete answer within %s", call.timeout()), Err: err}
	}
	return &Error{Kind: KindUnreachable, Host: host, Reason: "cannot be reached: " + call.shown(err.Error()), Err: err}
}

// worthRepeating reports whether the next attempt may end differently.
func worthRepeating(err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return false
	}
	switch e.Kind {
	case KindTimeout:
		return true
	case KindUnreachable:
		_, untrusted := errors.AsType[*tls.CertificateVerificationError](e.Err)
		return !untrusted && !errors.Is(e.Err, http.ErrSchemeMismatch)
	case KindStatus:
		return statusWorthRepeating(e.Status)
	case KindInvalid, KindRefusedURL, KindRefusedAddress, KindCredentials, KindRedirect, KindCanceled:
		return false
	}
	return false
}

func statusWorthRepeating(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= http.StatusInternalServerError && status != http.StatusNotImplemented
}
