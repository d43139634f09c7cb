package canary

import (
	"context"
	"fmt"

	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/providers"
)

// applyRoute makes the mesh express what is wanted.
func (w *world) applyRoute(ctx context.Context, want rollout.Desired) error {
	if w.router == nil {
		return nil // the provider is unknown, which is the user's mistake
	}
	if err := w.router.Apply(ctx, w.routeOf(want.Traffic)); err != nil {
		return fmt.Errorf("apply the route: %w", err)
	}
	return nil
}

// routeFirst does that before the apex Service leads to the primary, where the mesh
// finds pods by what that Service selects.
func (w *world) routeFirst(ctx context.Context, want rollout.Desired) error {
	if first, ok := w.router.(providers.RouteFirster); ok && first.RouteFirst() {
		return w.applyRoute(ctx, want)
	}
	return nil
}
