package canary

import (
	"context"
	"fmt"

	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/providers"
)

// applyRoute makes the mesh express what is wanted.
func (w *world) applyRoute(ctx context.Context, want release.Desired) error {
	if w.router == nil || w.Mistake != nil && w.Mistake.Reason == reasonMeshMissing {
		return nil // there is no mesh, which is the user's mistake
	}
	if err := w.router.Apply(ctx, w.routeOf(want.Traffic)); err != nil {
		return fmt.Errorf("apply the route: %w", err)
	}
	return nil
}

// routeFirst tells whether the route must be there before the apex Service leads to the
// primary, as the mesh finds pods by what that Service selects.
func (w *world) routeFirst() bool {
	first, ok := w.router.(providers.RouteFirster)
	return ok && first.RouteFirst()
}
