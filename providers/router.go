// Package providers is the contract between the operator and the meshes that
// move traffic for it. Each mesh has a folder of its own that imports this
// package; only the factory imports the meshes.
package providers

import (
	"context"
	"fmt"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Traffic is how requests are shared out, in percent. The sum is 100.
type Traffic struct {
	Primary, Canary int32
}

// Validate says whether both shares are 0 to 100 and sum to 100.
func (t Traffic) Validate() error {
	if t.Primary < 0 || t.Canary < 0 || t.Primary+t.Canary != 100 {
		return fmt.Errorf("traffic primary %d%%, canary %d%%: shares must be 0 to 100 and sum to 100", t.Primary, t.Canary)
	}
	return nil
}

// Route is all that a router needs to know.
type Route struct {
	// Canary is only read. The names of the Services come from its ServiceNames.
	Canary *v1beta1.Canary
	// Traffic is what the mesh is to do. Release ignores it.
	Traffic Traffic
}

// State is what a mesh has for a Canary.
type State struct {
	// Exists says that the mesh has a route for this Canary at all.
	Exists bool
	// Traffic is what the mesh routes now; zero unless Exists.
	Traffic Traffic
	// InSync says that the mesh has exactly what Apply of the same route would
	// write, and that our last write was observed.
	InSync bool
}

// Router moves the traffic of Canaries through one mesh. It is called for many
// Canaries at once, for each of them by one goroutine at a time.
//
// Errors are told apart by [IsInvalid] (the user's mistake), [IsUnsupported]
// (the spec needs what this router cannot do), [IsNotInstalled] and
// [IsConflict]. Any other error is transient.
type Router interface {
	// Observe reads what the mesh has. It is called at every reconcile, reads from
	// informer caches only and never writes. For a Canary that is being deleted
	// it only says what exists. State is valid as far as it goes beside an error.
	Observe(ctx context.Context, r Route) (State, error)
	// Apply makes the mesh express r.Traffic exactly. It is idempotent and sends
	// no request when nothing differs. What others own stays as it is.
	Apply(ctx context.Context, r Route) error
	// Release is called when the Canary is being deleted, once the apex Service
	// selects the target again. It removes what Sluice made, so that requests go
	// to the apex Service as they did before. It is idempotent.
	Release(ctx context.Context, r Route) error
	// Capabilities says what the router can do; always the same.
	Capabilities() Capabilities
}
