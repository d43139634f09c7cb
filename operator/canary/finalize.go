package canary

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/providers"
)

// release gives the traffic back to the target of a Canary that is deleted and
// lets the object go when that is done.
func (r *Reconciler) release(ctx context.Context, w *world, want release.Desired, a *attempts) {
	if want.Routed && r.backends(ctx, w) {
		if err := w.applyRoute(ctx, want); !providers.IsNotInstalled(err) {
			a.made("route", err)
		}
	}
	a.made("autoscaler of "+w.targetTitle(), w.autoscaler.GiveBack(ctx, want))
	if w.target != nil {
		a.made(w.targetTitle(), r.scaleTarget(ctx, w.target, want.TargetReplicas))
	}
	if want.Released && !r.targetReached(ctx, w) {
		want.KeepPrimary, want.LeadToPrimary = true, true
	}
	if want.LeadToPrimary {
		a.made("apex Service", r.leadToPrimary(ctx, w))
	}
	if want.Released {
		if !a.made("Services", r.giveBackServices(ctx, w, want)) {
			want.KeepPrimary = true // clients are led to it still
		}
		a.made("route", r.releaseRoute(ctx, w))
	}
	if !want.Finished {
		return
	}
	if !a.made("what was made for the Canary", r.removeOwned(ctx, w, want)) && !r.longDeleted(w.Canary) {
		return
	}
	before := w.Canary.DeepCopy()
	controllerutil.RemoveFinalizer(w.Canary, v1beta1.Finalizer)
	err := r.Client.Patch(ctx, w.Canary, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err != nil {
		a.made("Canary "+w.Canary.Name, kube.IgnoreChanged(fmt.Errorf("remove the finalizer: %w", err)))
		return
	}
	log.FromContext(ctx).Info("Released")
}

// longDeleted is true when a deletion has lasted for so long that it no longer waits for
// what can't be removed.
func (r *Reconciler) longDeleted(c *v1beta1.Canary) bool {
	return r.Clock.Since(c.DeletionTimestamp.Time) > 3*c.GetProgressDeadline()
}

// releaseRoute takes the route away. A mesh that is not there has none.
func (r *Reconciler) releaseRoute(ctx context.Context, w *world) error {
	if w.router == nil {
		return nil
	}
	if err := w.router.Release(ctx, w.route()); err != nil && !providers.IsNotInstalled(err) {
		return err
	}
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
