package canary

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// apply brings the world to the desired state. It is safe to stop after any of
// its writes: the next turn applies the same state again, and sends only what
// differs.
func (r *Reconciler) apply(ctx context.Context, w *world, want rollout.Desired) (err error) {
	defer func() { err = errors.Join(err, w.configTrouble) }() // it holds up the primary, not the traffic
	if want.Hold {
		return nil
	}
	if len(w.gone) > 0 {
		// Whose the rest is, is not known any more once the primary has the new mark.
		if err := r.claim(ctx, w); err != nil {
			return err
		}
	}
	if !want.Finished {
		defer func() { err = errors.Join(err, r.claim(ctx, w)) }()
	}
	switch {
	case !w.Canary.DeletionTimestamp.IsZero():
		return r.release(ctx, w, want)
	}
	// What guards the pods is there before they are. Once they serve, it must
	// not hold up what moves traffic.
	covered := r.applyCoverage(ctx, w, want)
	if covered != nil && !w.guarded() {
		return covered
	}
	return errors.Join(r.applyTraffic(ctx, w, want), covered)
}

// applyTraffic brings workloads, Services and the route to the desired state.
func (r *Reconciler) applyTraffic(ctx context.Context, w *world, want rollout.Desired) error {
	// What serves comes before what leads to it, and pods go last.
	if err := r.applyPrimary(ctx, w, want); err != nil {
		return err
	}
	if w.settled(want) {
		return r.scale(ctx, w, want)
	}
	for _, s := range w.services.All() {
		if s == w.services.Apex {
			if !want.Routed {
				continue
			}
			if err := w.routeFirst(ctx, want); err != nil {
				return err
			}
		}
		if err := r.applyService(ctx, w, s); err != nil {
			return err
		}
	}
	if want.Routed {
		if err := w.applyRoute(ctx, want); err != nil {
			return err
		}
	}
	return r.scale(ctx, w, want)
}

// settled tells whether Services and route were just observed to be what is
// wanted.
func (w *world) settled(want rollout.Desired) bool {
	return w.Route.InSync && want.Routed && want.Traffic == rollout.TrafficOf(w.Canary, &w.Canary.Status)
}

func (r *Reconciler) applyService(ctx context.Context, w *world, s *corev1.Service) error {
	if err := r.Applier.Apply(ctx, s, serviceKey(s)); err != nil {
		return fmt.Errorf("apply Service %s: %w", s.Name, err)
	}
	return nil
}

// serviceKey stands for the intent for a Service. To write it as JSON at every
// turn would cost more.
func serviceKey(s *corev1.Service) ssa.Option {
	raw, _ := s.Marshal() // it has room for all of it, so that nothing can fail
	return ssa.Keyed("Service " + string(raw))
}
