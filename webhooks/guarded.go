package webhooks

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"time"
)

// Transport returns what carries requests to addresses that the guard allows, through a proxy where one is given: then it
// is the proxy's address that is looked at. It keeps no connections. Which hosts the guard allows is not looked at.
func (g *Guard) Transport(proxy *url.URL) http.RoundTripper {
	return &http.Transport{
		Proxy: func(r *http.Request) (*url.URL, error) {
			if proxy != nil {
				return proxy, nil
			}
			return http.ProxyFromEnvironment(r)
		},
		DialContext:            g.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}
}
