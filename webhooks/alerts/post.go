package alerts

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"k8s.io/utils/clock"
)

const (
	// timeout bounds one request.
	timeout = 10 * time.Second
	// maxAnswer is how much of an answer is read.
	maxAnswer = 64 << 10
	// maxQuote is how many characters of an answer an error repeats.
	maxQuote = 200
)

// Poster sends requests to one address and says what came of them, without ever repeating the address.
type Poster struct {
	to, address string
	client      *http.Client
	clock       clock.PassiveClock
}

// NewPoster checks the address and the proxy of a receiver. Nothing is sent.
func NewPoster(r Receiver, kit Kit) (*Poster, error) {
	to := Redact(r.Address)
	u, err := url.Parse(r.Address)
	// The parser's message would repeat the address.
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, Permanent(r.Type, errors.New("address: allowed: https://HOST/PATH or http://"))
	}
	if err := kit.check("address", r.Type, r.Address); err != nil {
		return nil, err
	}
	client, err := kit.Client(r)
	if err != nil {
		return nil, err
	}
	p := &Poster{to: to, address: r.Address, client: client, clock: kit.Clock}
	if p.clock == nil {
		p.clock = clock.RealClock{}
	}
	return p, nil
}

// Client gives what carries the requests to a receiver. It follows no redirects: they would lead a message, and a
// token, to where nobody has asked to send it.
func (k Kit) Client(r Receiver) (*http.Client, error) {
	var proxy *url.URL
	if r.Proxy != "" {
		u, err := url.Parse(r.Proxy)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, Permanent(r.Type, errors.New("proxy: allowed: http://HOST:PORT or https://"))
		}
		if err := k.check("proxy", r.Type, r.Proxy); err != nil {
			return nil, err
		}
		proxy = u
	}
	transport := k.Transport
	if transport == nil {
		transport = plainTransport
	}
	return &http.Client{
		Transport:     bounded{transport(proxy)},
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// check asks whether requests may go to a URL. The error names its host and nothing else of it.
func (k Kit) check(field, kind, raw string) error {
	if k.CheckURL == nil {
		return nil
	}
	if err := k.CheckURL(raw); err != nil {
		return Permanent(kind, fmt.Errorf("%s: %w", field, err))
	}
	return nil
}

// bounded has answers end after maxAnswer bytes, as they come out of what they are packed in: nobody sends more to who
// has written to a chat.
type bounded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(response.Body, maxAnswer), response.Body}
	return response, nil
}

// plainTransport keeps no connections: alerts are rare, and receivers come and go.
func plainTransport(proxy *url.URL) http.RoundTripper {
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    5 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	if proxy != nil {
		t.Proxy = http.ProxyURL(proxy)
	}
	return t
}

// To is the receiver, without what is secret of its address.
func (p *Poster) To() string { return p.to }

// Encode makes the document of a payload. Characters that are special to HTML stay as they are.
func Encode(payload any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(payload); err != nil {
		return nil, fmt.Errorf("encode the message: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Post sends a payload as JSON, with headers, and gives the answer.
func (p *Poster) Post(ctx context.Context, payload any, headers map[string]string) ([]byte, error) {
	body, err := Encode(payload)
	if err != nil {
		return nil, Permanent(p.to, err)
	}
	return p.PostBody(ctx, body, headers)
}

// PostBody sends a JSON document as it is, with headers, and gives the answer.
func (p *Poster) PostBody(ctx context.Context, body []byte, headers map[string]string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.address, bytes.NewReader(body))
	if err != nil {
		return nil, Permanent(p.to, errors.New("address: not a URL"))
	}
	request.Header.Set("Content-Type", "application/json; charset=utf-8")
	request.Header.Set("User-Agent", "sluice")
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := p.client.Do(request)
	if err != nil {
		return nil, &SendError{To: p.to, Err: WithoutURL(err)}
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		answer = nil // the status says enough
	}
	if response.StatusCode >= 200 && response.StatusCode < 300 {
		return answer, nil
	}
	return answer, &SendError{
		To:         p.to,
		Permanent:  !worthAnotherTry(response.StatusCode),
		RetryAfter: p.wait(response),
		Err:        p.refusal(response.StatusCode, answer),
	}
}

func worthAnotherTry(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status == http.StatusTooEarly
}

// wait is what Retry-After says: seconds, of which some platforms send fractions, or a date.
func (p *Poster) wait(response *http.Response) time.Duration {
	value := response.Header.Get("Retry-After")
	if seconds, err := strconv.ParseFloat(value, 64); err == nil && seconds > 0 && seconds < 24*60*60 {
		return time.Duration(seconds * float64(time.Second))
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(p.clock.Now()), 0)
	}
	return 0
}

// refusal quotes the answer, without control characters and without the address in it.
func (p *Poster) refusal(status int, answer []byte) error {
	quote := strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(answer), "")))
	if u, err := url.Parse(p.address); err == nil {
		for _, secret := range []string{p.address, u.RequestURI(), u.Path, u.RawQuery} {
			if len(secret) > 1 {
				quote = strings.ReplaceAll(quote, secret, "...")
			}
		}
	}
	out := fmt.Sprintf("status %d %s", status, http.StatusText(status))
	if quote != "" {
		out += ": " + Cut(quote, maxQuote)
	}
	return errors.New(out)
}

// WithoutURL takes the URL, which holds a secret, from an error of net/http.
func WithoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		if u.Timeout() {
			return fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
		}
		return u.Err
	}
	return err
}
