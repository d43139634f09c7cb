package httpjson

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/sluice-delivery/sluice/metrics"
)

// maxResponse is far more than one number needs and far less than what would
// hurt the operator.
const maxResponse = 1 << 20

// One pool of connections for all providers: a provider is made anew whenever
// its template or its Secret changes, and would leave its connections behind.
var (
	verifying = sync.OnceValue(func() http.RoundTripper { return newTransport(false) })
	trusting  = sync.OnceValue(func() http.RoundTripper { return newTransport(true) })
)

func newTransport(insecure bool) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: insecure},
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          128,
		MaxIdleConnsPerHost:   32,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}

// HTTPClient returns a client for c that reads at most 1 MiB of an answer and
// follows no redirect: the keys that go in headers are for one host.
func HTTPClient(c metrics.Config) *http.Client {
	next := c.Transport
	switch {
	case next != nil:
	case c.InsecureSkipVerify:
		next = trusting()
	default:
		next = verifying()
	}
	return &http.Client{
		Transport:     bounded{next},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type bounded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxResponse}
	return resp, nil
}

var errTooLarge = fmt.Errorf("the answer is larger than %d bytes", maxResponse)

// boundedBody fails instead of reading more than left bytes.
type boundedBody struct {
	io.ReadCloser

	left int64
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		// What ends exactly at the limit is not too large.
		if n, err := b.ReadCloser.Read(make([]byte, 1)); n == 0 && err != nil {
			return 0, err
		}
		return 0, errTooLarge
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}
