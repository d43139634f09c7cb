package server

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// dialLimit bounds the making of a connection.
const dialLimit = 5 * time.Second

// transport sends each request with what the files hold then.
type transport struct {
	tls              api.TLSConfig
	tokenFile, token string

	mu    sync.Mutex
	seen  string // the state of the files that inner was made from
	inner *http.Transport
	sends string // the token
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	inner, err := t.current()
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	token := t.sends
	t.mu.Unlock()
	if token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("X-Consul-Token", token)
	}
	return inner.RoundTrip(r)
}

// current reads the files if they have changed. A set of files that does not
// fit together, as in the middle of a rotation, leaves what worked before.
func (t *transport) current() (*http.Transport, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	state := filesState(t.tokenFile, t.tls.CAFile, t.tls.CertFile, t.tls.KeyFile)
	if t.inner != nil && state == t.seen {
		return t.inner, nil
	}
	inner, token, err := t.load()
	switch {
	case err == nil:
		if t.inner != nil {
			t.inner.CloseIdleConnections()
		}
		t.inner, t.sends, t.seen = inner, token, state
	case t.inner == nil:
		return nil, err
	}
	return t.inner, nil
}

func (t *transport) load() (*http.Transport, string, error) {
	token := t.token
	if t.tokenFile != "" {
		content, err := os.ReadFile(t.tokenFile)
		if err != nil {
			return nil, "", fmt.Errorf("token of Consul: %w", err)
		}
		token = strings.TrimSpace(string(content))
		if token == "" || strings.ContainsAny(token, "\r\n") {
			return nil, "", fmt.Errorf("token of Consul: %s does not hold one line with a token", t.tokenFile)
		}
	}
	config, err := api.SetupTLSConfig(&t.tls)
	if err != nil {
		return nil, "", fmt.Errorf("TLS for Consul: %w", err)
	}
	config.MinVersion = tls.VersionTLS12
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialLimit, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:     config,
		TLSHandshakeTimeout: dialLimit,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     90 * time.Second,
	}, token, nil
}

// filesState changes when one of the files does; mounted Secrets change by a link.
func filesState(names ...string) string {
	var out strings.Builder
	for _, name := range names {
		if name == "" {
			continue
		}
		to, err := filepath.EvalSymlinks(name)
		if err != nil {
			fmt.Fprintf(&out, "%s gone;", name)
			continue
		}
		info, err := os.Stat(to)
		if err != nil {
			fmt.Fprintf(&out, "%s gone;", name)
			continue
		}
		fmt.Fprintf(&out, "%s %d %d;", to, info.Size(), info.ModTime().UnixNano())
	}
	return out.String()
}
