package webhooks

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// maxTransports is how many sets of TLS material keep their connections. It is a bound, not a limit: a call with one
// more closes the idle connections of the one that was not used for longest.
const maxTransports = 64

// transportKey is all that calls must have in common to share connections.
type transportKey struct {
	roots, certificate digest
	insecure           bool
}

// transports keeps one transport for each TLS material: a transport a call would leave its connections behind.
type transports struct {
	dialer *net.Dialer
	proxy  func(*http.Request) (*url.URL, error)

	mu      sync.Mutex
	entries map[transportKey]*http.Transport
	used    []transportKey // the latest last
}

// get returns the transport for the material; without the certificate where the endpoint is not the one it is for.
func (t *transports) get(material tlsMaterial, insecure, withCertificate bool) *http.Transport {
	if !withCertificate {
		material.certificate, material.certificateID = nil, digest{}
	}
	key := transportKey{material.rootsID, material.certificateID, insecure}

	t.mu.Lock()
	defer t.mu.Unlock()
	transport, ok := t.entries[key]
	if !ok {
		transport = t.build(material, insecure)
		t.entries[key] = transport
	}
	t.used = append(slices.DeleteFunc(t.used, func(k transportKey) bool { return k == key }), key)
	if len(t.used) > maxTransports {
		oldest := t.used[0]
		t.entries[oldest].CloseIdleConnections()
		delete(t.entries, oldest)
		t.used = slices.Delete(t.used, 0, 1)
	}
	return transport
}

func (t *transports) build(material tlsMaterial, insecure bool) *http.Transport {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: material.roots, InsecureSkipVerify: insecure}
	if material.certificate != nil {
		config.Certificates = []tls.Certificate{*material.certificate}
	}
	return &http.Transport{
		Proxy:                  t.proxy,
		DialContext:            t.dialer.DialContext,
		TLSClientConfig:        config,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // what is read is bounded as it is sent
		TLSHandshakeTimeout:    10 * time.Second,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    16,
		MaxResponseHeaderBytes: 64 << 10,
	}
}
