package loadtester

import (
	"errors"
	"fmt"
	"time"
)

// errKey tells that a key cannot be read, and not why, as callers read it.
var errKey = errors.New("the key of signatures cannot be read")

// Keys are those that calls are signed with. Without Any and Namespace nobody but Local can be known.
type Keys struct {
	// Any gives the key for all Canaries. Keys are read for each call, so that a rotated one is used at once.
	Any func() ([]byte, error)
	// Namespace gives the key for the Canaries of a namespace, nil where it has none.
	Namespace func(namespace string) ([]byte, error)
	// Local is the key of people in the load tester's pod, for all Canaries.
	Local []byte
	// AllowUnsigned has everybody be known where there are no other keys.
	AllowUnsigned bool
}

// know tells whether it is known that a call is of somebody who may act on Canaries of a namespace. The error is why it
// is not served at all.
func (k Keys) know(namespace, header string, body []byte, now time.Time) (bool, error) {
	if len(k.Local) > 0 && header != "" && verify(k.Local, header, body, now) == nil {
		return true, nil
	}
	if k.Any == nil && k.Namespace == nil {
		return k.AllowUnsigned, nil
	}
	err := errNotSigned
	for _, read := range []func() ([]byte, error){k.Any, k.of(namespace)} {
		if read == nil {
			continue
		}
		key, readErr := read()
		if readErr != nil {
			return false, fmt.Errorf("%w: %w", errKey, readErr)
		}
		if key == nil {
			continue
		}
		if err = verify(key, header, body, now); err == nil {
			return true, nil
		}
	}
	return false, err
}

func (k Keys) of(namespace string) func() ([]byte, error) {
	if k.Namespace == nil {
		return nil
	}
	return func() ([]byte, error) { return k.Namespace(namespace) }
}
