package webhooks

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

// identity is a certificate that signs itself, and its key, both in PEM.
type identity struct {
	certificate, key []byte
	parsed           *x509.Certificate
}

func newIdentity(t *testing.T, name string) identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return identity{inPEM("CERTIFICATE", der), inPEM("PRIVATE KEY", keyDER), parsed}
}

func inPEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func parseSecret(t *testing.T, data map[string][]byte) Credentials {
	t.Helper()
	c, err := ParseSecret(data)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestParseSecretRefuses(t *testing.T) {
	one, other := newIdentity(t, "one"), newIdentity(t, "other")
	for name, tc := range map[string]struct {
		data map[string][]byte
		want string // the key that is named
	}{
		"empty signing key":        {map[string][]byte{HMACKey: {}}, HMACKey},
		"authorization on 2 lines": {map[string][]byte{AuthorizationKey: []byte("Bearer a\r\nX: s3cret")}, AuthorizationKey},
		"no certificates":          {map[string][]byte{CAKey: []byte("s3cret")}, CAKey},
		"certificate alone":        {map[string][]byte{CertificateKey: one.certificate}, PrivateKeyKey},
		"key alone":                {map[string][]byte{PrivateKeyKey: one.key}, CertificateKey},
		"no pair":                  {map[string][]byte{CertificateKey: one.certificate, PrivateKeyKey: other.key}, PrivateKeyKey},
		"no PEM":                   {map[string][]byte{CertificateKey: []byte("s3cret"), PrivateKeyKey: []byte("s3cret")}, CertificateKey},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseSecret(tc.data)
			if KindOf(err) != KindCredentials || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error is %v, want one of kind %q that names %s", err, KindCredentials, tc.want)
			}
		})
	}
	if _, err := ParseSecret(map[string][]byte{"something": []byte("else")}); err != nil {
		t.Errorf("a Secret with other keys is refused: %v", err)
	}
}
