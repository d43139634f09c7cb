package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{}
	a.certificate, a.key, _ = (&authority{}).sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// sign makes a certificate, by its own key where the authority has none yet.
func (a *authority) sign(t *testing.T, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		t.Fatal(err)
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, by := a.certificate, a.key
	if parent == nil {
		parent, by = template, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return out, key, raw
}

// client is a certificate of a client.
func (a *authority) client(t *testing.T, name string) tls.Certificate {
	t.Helper()
	_, key, raw := a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

func (a *authority) pool() *x509.CertPool {
	out := x509.NewCertPool()
	out.AddCert(a.certificate)
	return out
}

// serve writes the certificate of a server to a folder, as the kubelet does: both files are complete at any time.
func (a *authority) serve(t *testing.T, directory, name string) {
	t.Helper()
	_, key, raw := a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{"dashboard.test"}})
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{"tls.key": {Type: "EC PRIVATE KEY", Bytes: private}, "tls.crt": {Type: "CERTIFICATE", Bytes: raw}} {
		next := filepath.Join(directory, "."+file)
		if err := os.WriteFile(next, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(directory, file)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDashboardTLS has browsers and proxies shake hands with the dashboard: with which versions, with which certificate after it was
// rotated, and who is taken for a proxy.
func TestDashboardTLS(t *testing.T) {
	servers, proxies, strangers := newAuthority(t, "servers"), newAuthority(t, "proxies"), newAuthority(t, "strangers")
	directory := t.TempDir()
	servers.serve(t, directory, "first")
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, proxies.pem(), 0o600); err != nil {
		t.Fatal(err)
	}
	options := dashboardOptions{address: "127.0.0.1:0", tlsDirectory: directory, proxyCA: ca}
	if err := options.check(); err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", options.address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(log.IntoContext(t.Context(), logr.Discard()))
	server := &dashboardServer{dashboardOptions: options, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%d verified", len(r.TLS.VerifiedChains))
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
	// call gives the name in the server's certificate and what it answers.
	call := func(edit func(*tls.Config)) (name, says string, err error) {
		config := &tls.Config{RootCAs: servers.pool(), ServerName: "dashboard.test", MinVersion: tls.VersionTLS10} //nolint:gosec // old ones are to be refused
		edit(config)
		transport := &http.Transport{TLSClientConfig: config}
		defer transport.CloseIdleConnections()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+listener.Addr().String(), nil)
		if err != nil {
			return "", "", err
		}
		answer, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(r)
		if err != nil {
			return "", "", err
		}
		defer answer.Body.Close()
		raw, err := io.ReadAll(answer.Body)
		return answer.TLS.PeerCertificates[0].Subject.CommonName, string(raw), err
	}
	with := func(c tls.Certificate) func(*tls.Config) {
		return func(config *tls.Config) {
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
		}
	}
	for name, tc := range map[string]struct {
		edit  func(*tls.Config)
		want  string
		fails string
	}{
		"TLS 1.3":                 {func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }, "0 verified", ""},
		"TLS 1.2":                 {func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, "0 verified", ""},
		"TLS 1.1":                 {func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11 }, "", "protocol version"},
		"another name":            {func(c *tls.Config) { c.ServerName = "elsewhere.test" }, "", "dashboard.test"},
		"a proxy":                 {with(proxies.client(t, "proxy")), "1 verified", ""},
		"a certificate of nobody": {with(strangers.client(t, "proxy")), "", "certificate"},
	} {
		is, says, err := call(tc.edit)
		if tc.fails == "" && (err != nil || says != tc.want || is != "first") || tc.fails != "" && (err == nil || !strings.Contains(err.Error(), tc.fails)) {
			t.Errorf("%s: %q of %q, error %v", name, says, is, err)
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+listener.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := http.DefaultClient.Do(r); err != nil || answer.StatusCode != http.StatusBadRequest {
		t.Errorf("without TLS: %v, %v", answer, err)
	} else {
		answer.Body.Close()
	}

	servers.serve(t, directory, "second")
	deadline := time.Now().Add(20 * time.Second)
	for is := ""; is != "second"; {
		if is, _, err = call(func(*tls.Config) {}); err != nil {
			t.Fatal(err)
		}
		if is != "second" && time.Now().After(deadline) {
			t.Fatalf("after it was rotated it shows %q", is)
		}
	}
}
