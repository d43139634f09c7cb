package httpjson

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/sluice-delivery/sluice/metrics"
)

// maxResponse is far more than one number needs and far less than what would
// hurt the operator.
const maxResponse = 1 << 20

// maxParts is how many values an answer in JSON may have, about: each takes a
// hundred bytes of memory, and 1 MiB of empty objects has 350,000 of them.
const maxParts = 40_000

// pool is what connections have in common that providers may share.
type pool struct {
	guard    metrics.Guard
	insecure bool
}

// pools keep the connections of all providers: a provider is made anew whenever
// its template or its Secret changes, and would leave its connections behind.
var pools = struct {
	sync.Mutex

	known map[pool]http.RoundTripper
}{known: map[pool]http.RoundTripper{}}

// Shared is the transport that all providers with the same guard use who trust the same certificates.
func Shared(c metrics.Config) http.RoundTripper {
	key := pool{c.Guard, c.InsecureSkipVerify}
	pools.Lock()
	defer pools.Unlock()
	t, ok := pools.known[key]
	if !ok {
		t = Transport(c, &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.InsecureSkipVerify})
		pools.known[key] = t
	}
	return t
}

// Transport is a transport that reaches only what the guard allows.
func Transport(c metrics.Config, config *tls.Config) http.RoundTripper {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            c.Dial(5 * time.Second),
		TLSClientConfig:        config,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           128,
		MaxIdleConnsPerHost:    128, // one server has the checks of all Canaries
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    5 * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// HTTPClient returns a client for c that reads at most 1 MiB of an answer and
// follows no redirect: the keys that go in headers are for one host.
func HTTPClient(c metrics.Config) *http.Client {
	next := c.Transport
	if next == nil {
		next = Shared(c)
	}
	return &http.Client{
		Transport:     Bounded(next),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Bounded has answers fail that are larger than a number can need.
func Bounded(next http.RoundTripper) http.RoundTripper { return bounded{next} }

type bounded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxResponse, parts: maxParts}
	return resp, nil
}

// ErrTooLarge says that an answer was not read to its end.
var ErrTooLarge = fmt.Errorf("the answer is larger than %d bytes, or has more than %d parts", maxResponse, maxParts)

// boundedBody fails instead of reading more than left bytes, or text with more brackets and commas than parts.
type boundedBody struct {
	io.ReadCloser

	left, parts int
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		// What ends exactly at the limit is not too large.
		if n, err := b.ReadCloser.Read(make([]byte, 1)); n == 0 && err != nil {
			return 0, err
		}
		return 0, ErrTooLarge
	}
	p = p[:min(len(p), b.left)]
	n, err := b.ReadCloser.Read(p)
	b.left -= n
	for _, c := range p[:n] {
		if c == '{' || c == '[' || c == ',' {
			b.parts--
		}
	}
	if b.parts < 0 {
		return 0, ErrTooLarge
	}
	return n, err
}
