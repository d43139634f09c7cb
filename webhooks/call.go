// Package webhooks makes the outbound calls of hooks and gates: one call with its retries, signature, credentials and
// the guard that keeps it from addresses that are not for users ([Client]), and the queue of calls that tell events
// ([Events]). When a hook is called and what its answer changes is not known here.
package webhooks

import (
	"net/url"
	"strings"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Call is one call of a hook, ready to be sent. It is a value: nothing in it is changed by sending it.
type Call struct {
	// Hook is the hook's name, for messages.
	Hook string
	// URL is where the payload is posted: http or https.
	URL string
	// Payload is sent as JSON.
	Payload Payload
	// Timeout of one attempt, from the connection to the end of the answer. 0 means v1beta1.DefaultHookTimeout.
	Timeout time.Duration
	// Retries is how many attempts may follow the first one.
	Retries int
	// Insecure accepts any certificate of an https endpoint.
	Insecure bool
	// Headers are sent beside our own. Of ours they may replace User-Agent only.
	Headers map[string]string
	// Credentials authenticate the call.
	Credentials Credentials
	// Key is sent as Idempotency-Key: all attempts at the same call, also after a crash, have the same. Empty means none.
	Key string
}

// NewCall returns the call of a hook. Its errors are of KindInvalid and KindRefusedURL, and name the field.
func NewCall(hook *v1beta1.CanaryWebhook, payload Payload, credentials Credentials, key string) (Call, error) {
	timeout, err := hook.GetTimeout()
	if err != nil {
		return Call{}, &Error{Kind: KindInvalid, Reason: err.Error(), Err: err}
	}
	if err := checkHeaders(hook.Headers); err != nil {
		return Call{}, err
	}
	if _, err := parseURL(hook.URL); err != nil {
		return Call{}, err
	}
	return Call{
		Hook: hook.Name, URL: hook.URL, Payload: payload, Timeout: timeout, Retries: int(hook.GetRetries()),
		Insecure: hook.DisableTLS, Headers: hook.Headers, Credentials: credentials, Key: key,
	}, nil
}

// IdempotencyKey joins what a call is known by, such as the Canary's uid, the revision, the step, the round and the
// hook's name, to a key that every HTTP header can hold.
func IdempotencyKey(parts ...string) string {
	escaped := make([]string, len(parts))
	for i, p := range parts {
		escaped[i] = url.PathEscape(p)
	}
	return strings.Join(escaped, "/")
}

func (c *Call) timeout() time.Duration {
	if c.Timeout <= 0 {
		return v1beta1.DefaultHookTimeout
	}
	return c.Timeout
}

// parseURL never repeats the URL, nor what net/url says of it: both may hold a password.
func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, &Error{Kind: KindRefusedURL, Reason: "url cannot be read: it must be like http://host:port/path"}
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, &Error{Kind: KindRefusedURL, Host: u.Hostname(), Reason: "url must begin with http:// or https://"}
	case u.Hostname() == "":
		return nil, &Error{Kind: KindRefusedURL, Reason: "url must have a host"}
	}
	return u, nil
}

// reserved are the headers that belong to the connection and to us.
var reserved = map[string]bool{
	"host": true, "content-length": true, "content-type": true, "connection": true, "transfer-encoding": true, "te": true,
	"trailer": true, "upgrade": true, "keep-alive": true, "proxy-connection": true,
	strings.ToLower(SignatureHeader): true, strings.ToLower(KeyHeader): true,
}

func checkHeaders(headers map[string]string) error {
	for name, value := range headers {
		switch {
		case !isToken(name):
			return &Error{Kind: KindInvalid, Reason: "headers: a name must be made of letters, digits and - _ . and the like"}
		case reserved[strings.ToLower(name)]:
			return &Error{Kind: KindInvalid, Reason: "headers: " + name + " cannot be set"}
		case !isHeaderValue(value):
			return &Error{Kind: KindInvalid, Reason: "headers: the value of " + name + " must not hold line breaks and control characters"}
		}
	}
	return nil
}

// isToken reports whether s is a token of RFC 9110, 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alphanumeric := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

func isHeaderValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
