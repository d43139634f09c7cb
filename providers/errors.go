package providers

import (
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/ownership"
)

// ErrNotInstalled says that the mesh is not in the cluster: its kinds are not served.
var ErrNotInstalled = errors.New("the mesh is not installed")

// InvalidError is a mistake in the spec. Nothing helps but changing it.
type InvalidError struct {
	// Field is the path of the field, such as spec.service.timeout.
	Field string
	// Value is what it holds, shortened where it is long.
	Value string
	// Allowed says what it may hold.
	Allowed string
	// Missing is true when nothing is wrong but that an object which the field names is not there.
	Missing bool
}

// Error implements error.
func (e *InvalidError) Error() string {
	return fmt.Sprintf("%s: invalid value %q: %s", e.Field, e.Value, e.Allowed)
}

// UnsupportedError says that the spec needs what the router cannot do.
type UnsupportedError struct {
	// Router is the name of the router.
	Router string
	// Field is the path of the field that needs it.
	Field string
	// Why says what the router lacks.
	Why string
}

// Error implements error.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s is not supported by router %q: %s", e.Field, e.Router, e.Why)
}

// ConflictError says that an object of the name that we need belongs to
// somebody else. It was left alone.
type ConflictError struct {
	// Kind, Namespace and Name are the object's.
	Kind, Namespace, Name string
	// Owner is its controller, such as "Canary other".
	Owner string
	// Canary is the name of the Canary of the same namespace that it was made for,
	// which may be gone. Empty: it was made for none.
	Canary string
}

// Conflict says that a live object, of that kind, is somebody else's.
func Conflict(kind string, live metav1.Object) error {
	return &ConflictError{
		Kind: kind, Namespace: live.GetNamespace(), Name: live.GetName(),
		Owner: ownership.Name(live), Canary: ownership.CanaryOf(live),
	}
}

// Error implements error.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s %s/%s belongs to %s", e.Kind, e.Namespace, e.Name, e.Owner)
}

// UnreachableError says that what runs the mesh does not answer, or refuses to
// answer us. Nothing is known of the route then, so nothing may move.
type UnreachableError struct {
	// System is what was asked, such as "Consul".
	System string
	// Err is what came of it. It holds no credentials.
	Err error
}

// Error implements error.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("%s cannot be asked: %v", e.System, e.Err)
}

// Unwrap gives access to Err.
func (e *UnreachableError) Unwrap() error { return e.Err }

// WaitError says that the route can't be applied or released yet, and that
// nothing is wrong with that. The same call is to be made again.
type WaitError struct {
	// For is what is waited for, such as "an instance of podinfo-primary".
	For string
	// After is when to try again.
	After time.Duration
}

// Error implements error.
func (e *WaitError) Error() string { return "waiting for " + e.For }

// UnknownRouterError says that there is no router of this name, or none that Canaries may have.
type UnknownRouterError struct {
	Name  string
	Known []string
	// Instead is what a user of that name can do, empty where that is not known.
	Instead string
}

// Error implements error.
func (e *UnknownRouterError) Error() string {
	instead := ""
	if e.Instead != "" {
		instead = " (" + e.Instead + ")"
	}
	return fmt.Sprintf("unknown provider %q%s: known are %s", e.Name, instead, strings.Join(e.Known, ", "))
}

// IsInvalid reports whether err is a mistake in the spec.
func IsInvalid(err error) bool { return is[*InvalidError](err) }

// IsMissing reports whether err says that nothing is wrong but that an object which the spec names is not there.
func IsMissing(err error) bool {
	var invalid *InvalidError
	return errors.As(err, &invalid) && invalid.Missing
}

// IsUnsupported reports whether err says that the router cannot do what the spec needs.
func IsUnsupported(err error) bool { return is[*UnsupportedError](err) }

// IsConflict reports whether err says that an object belongs to somebody else.
func IsConflict(err error) bool { return is[*ConflictError](err) }

// IsNotInstalled reports whether err says that the mesh is not in the cluster.
func IsNotInstalled(err error) bool { return errors.Is(err, ErrNotInstalled) }

// IsUnreachable reports whether err says that what runs the mesh does not answer.
func IsUnreachable(err error) bool { return is[*UnreachableError](err) }

// WaitOf returns the *WaitError that err is or wraps, nil if there is none or other
// errors are joined with it.
func WaitOf(err error) *WaitError {
	switch e := err.(type) { //nolint:errorlint // errors.As would also find it beside an error that is no wait
	case *WaitError:
		return e
	case interface{ Unwrap() error }:
		return WaitOf(e.Unwrap())
	case interface{ Unwrap() []error }:
		if inner := e.Unwrap(); len(inner) == 1 {
			return WaitOf(inner[0])
		}
	}
	return nil
}

// IsUnknownRouter reports whether err says that there is no router of that name.
func IsUnknownRouter(err error) bool { return is[*UnknownRouterError](err) }

func is[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}
