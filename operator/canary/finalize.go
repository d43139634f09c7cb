package canary

import (
	"context"
	"fmt"
	"time"

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
	if want.Routed {
		// What the route divides traffic between leads on to target and primary as they are by now.
		a.made("Services", w.services.KeepBackends(ctx))
	}
	if want.Routed && w.services.Backends(ctx) {
		if err := w.route.Apply(ctx, want); !providers.IsNotInstalled(err) {
			a.made("route", err)
		}
	}
	a.made("autoscaler of "+w.targetTitle(), w.autoscaler.GiveBack(ctx, want))
	a.made(w.targetTitle(), w.target.GiveBack(ctx, want))
	if want.LeadToPrimary {
		a.made("apex Service", w.services.LeadToPrimary(ctx))
	}
	routed := w.releaseRoute(ctx, &want, a)
	if !want.Finished {
		return
	}
	if removed := routed && a.made("what was made for the Canary", r.inventory().Remove(ctx, w.World, want)); !removed && !longDeleted(absence(r), r.Clock.Now(), w.Canary) {
		return
	}
	before := w.Canary.DeepCopy()
	controllerutil.RemoveFinalizer(w.Canary, v1beta1.Finalizer)
	err := r.Client.Patch(ctx, w.Canary, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err != nil {
		a.made("Canary "+w.Canary.Name, kube.IgnoreChanged(fmt.Errorf("remove the finalizer: %w", err)))
		return
	}
	r.turns.Released(w.Canary)
	log.FromContext(ctx).Info("Released")
}

// releaseRoute gives the Services back, and then the route, once that is decided. It returns whether nothing of it failed that
// would be in the way of the deletion's end.
func (w *world) releaseRoute(ctx context.Context, want *release.Desired, a *attempts) bool {
	if !want.Released {
		return true
	}
	if !a.made("Services", w.services.GiveBack(ctx, *want)) {
		// Clients are led to it still, and without the route to it alone, whoever serves.
		want.KeepPrimary = true
		return true
	}
	return want.KeepRoute || a.made("route", w.route.GiveBack(ctx, *want))
}

// longDeleted is true when a deletion has lasted for so long, while there was an operator, that it no longer waits for
// what can't be removed.
func longDeleted(absence release.Absence, now time.Time, c *v1beta1.Canary) bool {
	return absence.Elapsed(now, c.DeletionTimestamp.Time) > 3*c.GetProgressDeadline()
}

// absence is the time before this operator in which none was there.
func absence(r *Reconciler) release.Absence {
	if r.Absence == nil {
		return release.Absence{}
	}
	return r.Absence()
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
