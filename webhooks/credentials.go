package webhooks

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Keys of the Secret of a hook. All are optional; others are not looked at.
const (
	// HMACKey is the key that calls are signed with, as it is: a line break at its end is part of it.
	HMACKey = "hmac-key"
	// AuthorizationKey is the value of the Authorization header.
	AuthorizationKey = "authorization"
	// CAKey holds certificates in PEM, the only ones that an endpoint's certificate may come from.
	CAKey = "ca.crt"
	// CertificateKey and PrivateKeyKey hold the certificate that is shown to the endpoint, in PEM.
	CertificateKey = corev1.TLSCertKey
	PrivateKeyKey  = corev1.TLSPrivateKeyKey
)

// SecretKeys are the keys of the Secret of a hook.
func SecretKeys() []string {
	return []string{HMACKey, AuthorizationKey, CAKey, CertificateKey, PrivateKeyKey}
}

// Credentials is the content of a hook's Secret. The zero value is none. It does not show what it holds when it is
// printed or logged.
type Credentials struct {
	hmacKey       []byte
	authorization string
	tls           tlsMaterial
}

// tlsMaterial is parsed once, when the Secret was read, not with every call.
type tlsMaterial struct {
	roots       *x509.CertPool
	certificate *tls.Certificate
	// rootsID and certificateID are digests of the two, by which transports are known; zero without.
	rootsID, certificateID digest
}

type digest [sha256.Size]byte

// ParseSecret reads the data of a Secret. Its errors are of KindCredentials, and name the key and never what it holds.
func ParseSecret(data map[string][]byte) (Credentials, error) {
	c := Credentials{
		hmacKey:       bytes.Clone(data[HMACKey]),
		authorization: strings.TrimSpace(string(data[AuthorizationKey])),
	}
	if key, ok := data[HMACKey]; ok && len(key) == 0 {
		return Credentials{}, badCredentials(HMACKey + " is empty")
	}
	if !isHeaderValue(c.authorization) {
		return Credentials{}, badCredentials(AuthorizationKey + " holds line breaks or control characters")
	}
	if err := c.tls.readRoots(data); err != nil {
		return Credentials{}, err
	}
	if err := c.tls.readCertificate(data); err != nil {
		return Credentials{}, err
	}
	return c, nil
}

func (t *tlsMaterial) readRoots(data map[string][]byte) error {
	pem, ok := data[CAKey]
	if !ok {
		return nil
	}
	t.roots = x509.NewCertPool()
	if !t.roots.AppendCertsFromPEM(pem) {
		return badCredentials(CAKey + " holds no certificate in PEM")
	}
	t.rootsID = digestOf(pem)
	return nil
}

func (t *tlsMaterial) readCertificate(data map[string][]byte) error {
	certificate, hasCertificate := data[CertificateKey]
	key, hasKey := data[PrivateKeyKey]
	switch {
	case !hasCertificate && !hasKey:
		return nil
	case !hasKey:
		return badCredentials(CertificateKey + " is there and " + PrivateKeyKey + " is not")
	case !hasCertificate:
		return badCredentials(PrivateKeyKey + " is there and " + CertificateKey + " is not")
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return badCredentials(CertificateKey + " and " + PrivateKeyKey + " are no pair of a certificate and its key in PEM")
	}
	t.certificate, t.certificateID = &pair, digestOf(certificate, key)
	return nil
}

func badCredentials(reason string) error { return &Error{Kind: KindCredentials, Reason: reason} }

// digestOf keeps ("ab", "c") and ("a", "bc") apart.
func digestOf(parts ...[]byte) digest {
	h := sha256.New()
	for _, p := range parts {
		_ = binary.Write(h, binary.BigEndian, int64(len(p)))
		h.Write(p)
	}
	return digest(h.Sum(nil))
}

// What is shown in place of credentials.
const (
	hidden   = "[credentials]"
	redacted = "[redacted]"
)

// String implements fmt.Stringer without showing anything.
func (Credentials) String() string { return hidden }

// GoString implements fmt.GoStringer without showing anything.
func (Credentials) GoString() string { return hidden }

// MarshalLog implements logr.Marshaler without showing anything.
func (Credentials) MarshalLog() any { return hidden }

// MarshalJSON implements json.Marshaler without showing anything.
func (Credentials) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// redact takes the credentials out of what an endpoint says: one that repeats the request would have them shown in
// events. Shorter ones than that would be taken out of words as well.
func (c Credentials) redact(s string) string {
	const shortest = 4
	key := string(c.hmacKey)
	for _, secret := range append([]string{key, clean(key, len(key)), c.authorization}, strings.Fields(c.authorization)...) {
		if len(secret) >= shortest && !isScheme(secret) {
			s = strings.ReplaceAll(s, secret, redacted)
		}
	}
	return s
}

// isScheme reports whether s is a word before the credentials in an Authorization header, which is no secret.
func isScheme(s string) bool {
	switch strings.ToLower(s) {
	case "basic", "bearer", "digest", "token", "apikey":
		return true
	}
	return false
}
