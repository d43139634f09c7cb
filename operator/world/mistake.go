// Package world has what the parts of a release share: how they say what a user must
// mend, and what they observe for each other.
package world

import (
	"errors"
	"fmt"

	"github.com/sluice-delivery/sluice/operator/release"
)

// Reasons of mistakes that more than one part finds.
const (
	ReasonInvalidSpec = "InvalidSpec"
	ReasonConflict    = "ObjectConflict"
)

// MistakeError says what the user must mend. It ends the observation of one part and
// not the turn.
type MistakeError struct{ release.Mistake }

func (e *MistakeError) Error() string { return e.Message }

// Mistake is a MistakeError with a reason in CamelCase.
func Mistake(reason, format string, args ...any) error {
	return &MistakeError{release.Mistake{Reason: reason, Message: fmt.Sprintf(format, args...)}}
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
