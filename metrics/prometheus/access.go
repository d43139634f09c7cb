package prometheus

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/httpjson"
)

// Keys of a Secret.
const (
	keyUsername = "username"
	keyPassword = "password"
	keyToken    = "token"
	keyCA       = "ca.crt"
	keyCert     = "tls.crt"
	keyKey      = "tls.key"
)

// authorize gives the header for the Secret's credentials.
func authorize(c metrics.Config) (map[string]string, error) {
	value := func(key string) string { return strings.TrimSpace(string(c.Secret[key])) } // editors leave line breaks
	header := func(v string) map[string]string { return map[string]string{"Authorization": v} }
	user, password, token := value(keyUsername), value(keyPassword), value(keyToken)
	switch {
	case token != "":
		return header("Bearer " + token), nil
	case user != "" && password == "":
		return nil, &metrics.ConfigError{Field: "secret." + keyPassword, Message: "a username needs a password"}
	case user == "" && password != "":
		return nil, &metrics.ConfigError{Field: "secret." + keyUsername, Message: "a password needs a username"}
	case user != "":
		return header("Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))), nil
	case len(c.Secret) > 0 && value(keyCA) == "" && value(keyCert) == "":
		return nil, &metrics.ConfigError{Field: "secret", Message: "it has none of the keys of a prometheus provider: username and password, or token; ca.crt; tls.crt and tls.key"}
	default:
		return nil, nil
	}
}

// headersOf are the headers of each request.
func headersOf(c metrics.Config, authorization map[string]string) (http.Header, error) {
	out, err := httpjson.Headers(c)
	for name, v := range authorization {
		out.Set(name, v)
	}
	return out, err
}

// transportOf carries requests with the certificates that c has.
func transportOf(c metrics.Config) (http.RoundTripper, error) {
	config, err := tlsOf(c)
	switch {
	case err != nil:
		return nil, err
	case c.Transport != nil:
		return c.Transport, nil
	case config.RootCAs != nil || len(config.Certificates) > 0:
		return httpjson.Transport(c, config), nil
	default: // one pool of connections for all that have no certificates of their own
		return httpjson.Shared(c), nil
	}
}

func tlsOf(c metrics.Config) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.InsecureSkipVerify}
	if ca := c.Secret[keyCA]; len(ca) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			return nil, &metrics.ConfigError{Field: "secret." + keyCA, Message: "it has no certificate in PEM form"}
		}
	}
	cert, key := c.Secret[keyCert], c.Secret[keyKey]
	if len(cert) == 0 && len(key) == 0 {
		return config, nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil { // the parser's words could repeat a part of it
		return nil, &metrics.ConfigError{Field: "secret." + keyCert, Message: "tls.crt and tls.key must be a certificate and its key, both in PEM form"}
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// decoratedTransport adds the headers, and those parameters of the address that
// the API's client drops when it falls back to GET.
type decoratedTransport struct {
	next       http.RoundTripper
	headers    http.Header
	parameters url.Values
}

// RoundTrip implements http.RoundTripper.
func (t *decoratedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	for name, values := range t.headers {
		req.Header[name] = values
	}
	if host := t.headers.Get("Host"); host != "" {
		req.Host = host
	}
	if len(t.parameters) > 0 {
		given := req.URL.Query()
		for name, values := range t.parameters {
			if _, ok := given[name]; !ok {
				given[name] = values
			}
		}
		req.URL.RawQuery = given.Encode()
	}
	return t.next.RoundTrip(req)
}
