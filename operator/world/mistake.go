// Package world has what the parts of a release share: how they say what a user must
// mend, and what they observe for each other.
package world

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sluice-delivery/sluice/operator/release"
)

// Reasons of mistakes that more than one part finds.
const (
	// ReasonInvalidSpec: a field can't be carried out, or is not served; the message names it, its value and what is allowed.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonConflict: an object of a name that is needed was not made for this Canary; the message names it.
	ReasonConflict = "ObjectConflict"
)

// ErrChanged says that an object that a write was decided for was changed since it was
// read. It is as it was, and the newer one is on its way to the cache.
var ErrChanged = errors.New("it was changed meanwhile")

// ObjectError says that one object of a part could not be written.
type ObjectError struct {
	// Object is its kind and name.
	Object string
	// Err is why.
	Err error
}

// ObjectErrors say what could not be written where one object stops no other.
type ObjectErrors []ObjectError

func (e ObjectErrors) Error() string {
	all := make([]string, len(e))
	for i := range e {
		all[i] = e[i].Object + ": " + e[i].Err.Error()
	}
	return strings.Join(all, "\n")
}

// Unwrap gives the errors of all objects.
func (e ObjectErrors) Unwrap() []error {
	all := make([]error, len(e))
	for i := range e {
		all[i] = e[i].Err
	}
	return all
}

// OrNil is nil where every object could be written.
func (e ObjectErrors) OrNil() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// MistakeError says what the user must mend. It ends the observation of one part and
// not the turn.
type MistakeError struct{ release.Mistake }

func (e *MistakeError) Error() string { return e.Message }

// Mistake is a MistakeError with a reason in CamelCase.
func Mistake(reason, format string, args ...any) error {
	return &MistakeError{release.Mistake{Reason: reason, Message: fmt.Sprintf(format, args...)}}
}

// Missing is a Mistake by which an object that the Canary names is not there.
func Missing(reason, format string, args ...any) error {
	return &MistakeError{release.Mistake{Reason: reason, Message: fmt.Sprintf(format, args...), Missing: true}}
}

// Foreign is a Mistake by which the objects of a Canary are somebody else's, so that
// nothing of them may be touched.
func Foreign(reason, format string, args ...any) error {
	return &MistakeError{release.Mistake{Reason: reason, Message: fmt.Sprintf(format, args...), Foreign: true}}
}

// AsMistake gives the mistake that an error tells of, nil for any other error.
func AsMistake(err error) *release.Mistake {
	var mistake *MistakeError
	if errors.As(err, &mistake) {
		return &mistake.Mistake
	}
	return nil
}

// Mistakes gives all mistakes that an error tells of.
func Mistakes(err error) []release.Mistake {
	switch e := err.(type) { //nolint:errorlint // what is wrapped is looked at, all of it
	case *MistakeError:
		return []release.Mistake{e.Mistake}
	case interface{ Unwrap() error }:
		return Mistakes(e.Unwrap())
	case interface{ Unwrap() []error }:
		var out []release.Mistake
		for _, one := range e.Unwrap() {
			out = append(out, Mistakes(one)...)
		}
		return out
	default:
		return nil
	}
}
