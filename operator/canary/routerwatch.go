package canary

import (
	"context"
	"errors"
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/providers"
)

// Follow starts a router that watches its mesh by itself, and has those Canaries
// looked at of which it tells.
func (k *Checker) Follow(mgr ctrl.Manager, w providers.Watcher) error {
	forward := func(ctx context.Context) error {
		for {
			select {
			case e := <-w.Changed():
				select {
				case k.finished <- e:
				case <-ctx.Done():
					return nil
				}
			case <-ctx.Done():
				return nil
			}
		}
	}
	return errors.Join(mgr.Add(manager.RunnableFunc(w.Start)), mgr.Add(manager.RunnableFunc(forward)))
}

// applyRoute makes the mesh express what is wanted.
func (w *world) applyRoute(ctx context.Context, want rollout.Desired) error {
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
