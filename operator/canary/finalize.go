package canary

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/providers"
)

// release gives the traffic back to the target of a Canary that is deleted and
// lets the object go when that is done.
func (r *Reconciler) release(ctx context.Context, w *world, want rollout.Desired) error {
	if err := w.autoscaler.GiveBack(ctx, want); err != nil {
		return err
	}
	if w.target != nil {
		if err := r.scaleTarget(ctx, w.target, want.TargetReplicas); err != nil {
			return err
		}
	}
	if want.Released {
		if err := r.giveBackServices(ctx, w, want); err != nil {
			return err
		}
	}
	if want.Released && w.router != nil {
		if err := w.router.Release(ctx, w.route()); err != nil && !providers.IsNotInstalled(err) {
			return fmt.Errorf("release the route: %w", err)
		}
	}
	if !want.Finished {
		return nil
	}
	if err := r.removeOwned(ctx, w, want); err != nil {
		return err
	}
	before := w.Canary.DeepCopy()
	controllerutil.RemoveFinalizer(w.Canary, v1beta1.Finalizer)
	if err := r.Client.Patch(ctx, w.Canary, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return kube.IgnoreChanged(fmt.Errorf("remove the finalizer: %w", err))
	}
	log.FromContext(ctx).Info("Released")
	return nil
}

// ensureFinalizer gives a Canary the finalizer by which its deletion waits for
// the target to serve again. It returns whether this turn ends here.
func (r *Reconciler) ensureFinalizer(ctx context.Context, c *v1beta1.Canary) (done bool, err error) {
	if controllerutil.ContainsFinalizer(c, v1beta1.Finalizer) {
		return false, nil
	}
	if !c.DeletionTimestamp.IsZero() {
		return true, nil
	}
	before := c.DeepCopy()
	controllerutil.AddFinalizer(c, v1beta1.Finalizer)
	if err := r.Client.Patch(ctx, c, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return true, kube.IgnoreChanged(fmt.Errorf("add the finalizer: %w", err))
	}
	r.turns.Wrote(c)
	return true, nil
}
