package main

import (
	"bytes"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// serverOptions say who may read the operator's own metrics, and how.
type serverOptions struct {
	tlsDirectory, tokenFile string
}

func (o *serverOptions) register(f *flag.FlagSet) {
	f.StringVar(&o.tlsDirectory, "telemetry-tls-dir", "", "directory with tls.crt and tls.key, with which /metrics, /healthz and /readyz are served over TLS; they may be rotated")
	f.StringVar(&o.tokenFile, "telemetry-token-file", "", "file with the token that who reads /metrics has to have; it may be rotated")
}

// check finds what is better known now than at the first scrape.
func (o *serverOptions) check() error {
	if o.tokenFile != "" {
		if _, err := o.token(); err != nil {
			return fmt.Errorf("-telemetry-token-file: %w", err)
		}
	}
	if o.tlsDirectory != "" {
		if _, err := tls.LoadX509KeyPair(filepath.Join(o.tlsDirectory, "tls.crt"), filepath.Join(o.tlsDirectory, "tls.key")); err != nil {
			return fmt.Errorf("-telemetry-tls-dir: %w", err)
		}
	}
	return nil
}

func (o *serverOptions) token() ([]byte, error) {
	token, err := os.ReadFile(o.tokenFile)
	if err != nil {
		return nil, err
	}
	if token = bytes.TrimSpace(token); len(token) == 0 {
		return nil, errors.New("it is empty")
	}
	return token, nil
}

// options are those of the server of metrics.
func (o *serverOptions) options(address string, beside map[string]http.Handler) metricsserver.Options {
	out := metricsserver.Options{BindAddress: address, ExtraHandlers: beside}
	if o.tlsDirectory != "" {
		out.SecureServing, out.CertDir = true, o.tlsDirectory
		out.TLSOpts = []func(*tls.Config){func(c *tls.Config) { c.MinVersion = tls.VersionTLS12 }}
	}
	if o.tokenFile != "" {
		out.FilterProvider = func(*rest.Config, *http.Client) (metricsserver.Filter, error) { return o.filter, nil }
	}
	return out
}

// filter has who reads metrics show the token. Health is for the kubelet, which has none, and tells nothing.
func (o *serverOptions) filter(log logr.Logger, next http.Handler) (http.Handler, error) {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" && !o.shown(log, r) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "the token of -telemetry-token-file is needed", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	}), nil
}

func (o *serverOptions) shown(log logr.Logger, r *http.Request) bool {
	token, err := o.token()
	if err != nil {
		log.Error(err, "The token of -telemetry-token-file can't be read")
		return false
	}
	shown, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && subtle.ConstantTimeCompare([]byte(shown), token) == 1
}
