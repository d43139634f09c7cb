package webhooks

import (
	"errors"
	"fmt"
)

// Kind says what went wrong with a call. It is also a value for a telemetry label.
type Kind string

// Kinds of errors.
const (
	// KindInvalid: the hook's headers or durations cannot be used.
	KindInvalid Kind = "invalid"
	// KindRefusedURL: the URL cannot be used, or its host is not among the allowed ones.
	KindRefusedURL Kind = "refused-url"
	// KindRefusedAddress: the host is at an address that hooks may not call.
	KindRefusedAddress Kind = "refused-address"
	// KindCredentials: the Secret's content cannot be used.
	KindCredentials Kind = "credentials"
	// KindStatus: the endpoint answered, and not with success.
	KindStatus Kind = "status"
	// KindRedirect: the endpoint redirects to what may not be called, or too often.
	KindRedirect Kind = "redirect"
	// KindTimeout: there was no complete answer in time.
	KindTimeout Kind = "timeout"
	// KindUnreachable: the endpoint could not be called, or broke off its answer.
	KindUnreachable Kind = "unreachable"
	// KindCanceled: the caller gave the call up.
	KindCanceled Kind = "canceled"
)

// Mistake reports whether nothing will get better until a person changes something.
func (k Kind) Mistake() bool {
	switch k {
	case KindInvalid, KindRefusedURL, KindRefusedAddress, KindCredentials:
		return true
	case KindStatus, KindRedirect, KindTimeout, KindUnreachable, KindCanceled:
		return false
	}
	return false
}

// Error is why a call had no success. It names the host and nothing else of the URL, whose path and query may hold
// credentials.
type Error struct {
	Kind Kind
	// Host that was called, where it is known.
	Host string
	// Reason in words, clean: one line, no control characters.
	Reason string
	// Status of the answer with KindStatus, else 0.
	Status int
	// Err is the cause, where there is one. Its text is not clean.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Host == "" {
		return e.Reason
	}
	return fmt.Sprintf("%s: %s", e.Host, e.Reason)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of an error of this package, empty for any other.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return ""
}

// IsMistake reports whether err is an error of this package that a person must settle.
func IsMistake(err error) bool { return KindOf(err).Mistake() }
