package alerts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k8s.io/utils/clock"
)

// Sender puts messages into the form of one platform and sends them to one receiver.
type Sender interface {
	// Send sends one message, once, and returns when the receiver has it. It is not called for the next message of the
	// same receiver before it has returned. Its error is a SendError, which says whether another try makes sense and
	// holds neither address nor token.
	Send(ctx context.Context, m Message) error
}

// Receiver is where messages go, as its owner describes it.
type Receiver struct {
	// Type of the platform.
	Type string
	// Address is the URL to send to. It lets anybody write there, so it is a secret.
	Address string
	// Token, where the platform knows one, is sent in a header. It is a secret.
	Token string
	// Key signs what is sent to a generic webhook; nil does not sign. It is a secret.
	Key []byte
	// Channel and Username are for platforms that let the sender choose them; empty leaves both to the receiver.
	Channel, Username string
	// Proxy is the URL of an HTTP proxy to send through, empty for none. It may hold a password.
	Proxy string
	// Interactive says that what people press in a message reaches the operator.
	Interactive bool
}

// Kit is what Senders are made with.
type Kit struct {
	// Transport gives what carries the requests, through a proxy where one is given. It decides where requests may go.
	// Nil means a transport that can go anywhere.
	Transport func(proxy *url.URL) http.RoundTripper
	// CheckURL says why a receiver or a proxy may not be at a URL. Nil allows every one.
	CheckURL func(raw string) error
	// Threads remembers the conversation of each release. Nil has every Sender remember its own.
	Threads *Threads
	// Clock tells the time of signatures. Nil means the real one.
	Clock clock.PassiveClock
}

// UnknownTypeError says that there is no such type of receiver.
type UnknownTypeError struct {
	// Type is what was asked for, Known are those that exist, sorted.
	Type  string
	Known []string
}

func (e *UnknownTypeError) Error() string {
	return fmt.Sprintf("unknown type %q: allowed are %s", e.Type, strings.Join(e.Known, ", "))
}

// SendError says that a receiver does not have a message.
type SendError struct {
	// To is the receiver, without what is secret of its address.
	To string
	// Permanent is true where another try would end the same.
	Permanent bool
	// RetryAfter is how long the receiver asks to be left alone, 0 where it does not say.
	RetryAfter time.Duration
	// Err says what went wrong.
	Err error
}

func (e *SendError) Error() string { return e.To + ": " + e.Err.Error() }

// Unwrap gives what went wrong.
func (e *SendError) Unwrap() error { return e.Err }

// Permanent makes an error of which another try would not get rid.
func Permanent(to string, err error) error { return &SendError{To: to, Permanent: true, Err: err} }

// isPermanent tells whether another try would end the same.
func isPermanent(err error) bool {
	var e *SendError
	return errors.As(err, &e) && e.Permanent
}

// retryAfter is how long the receiver asks to be left alone.
func retryAfter(err error) time.Duration {
	var e *SendError
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// Redact gives scheme and host of an address: what follows lets anybody write there.
func Redact(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "a receiver without a valid URL"
	}
	return u.Scheme + "://" + u.Host
}

// Reasons for which a message is lost.
var (
	errTooMany = errors.New("too many alerts are waiting to be sent")
	errStopped = errors.New("the operator was stopped before the alert was sent")
)
