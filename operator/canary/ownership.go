package canary

import (
	"context"
	"errors"
	"fmt"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers"
)

// owner is the Canary as the owner of what is made for it.
func (w *world) owner() ownership.Owner { return ownership.For(w.Canary, w.gone...) }

// observeGone finds Canaries that left what this one needs and do not exist any more,
// as after a deletion without the finalizer and a creation by another name.
func (r *Reconciler) observeGone(ctx context.Context, w *world) error {
	if w.target == nil || !w.Canary.DeletionTimestamp.IsZero() {
		return nil
	}
	primary, err := r.workload(ctx, w.Canary, w.Canary.PrimaryName())
	if err != nil {
		return err
	}
	if primary != nil {
		if err := r.noteGone(ctx, w, ownership.CanaryOf(primary)); err != nil {
			return err
		}
	}
	if ref := w.Canary.Spec.AutoscalerRef; ref != nil && ref.Kind == workload.KindHPA {
		copied, err := kube.Get[autoscalingv2.HorizontalPodAutoscaler](ctx, r.Client, w.Canary.Namespace, workload.PrimaryAutoscalerName(ref.Name))
		if err != nil {
			return err
		}
		if copied != nil {
			if err := r.noteGone(ctx, w, ownership.CanaryOf(copied)); err != nil {
				return err
			}
		}
	}
	services, err := r.servicesNamed(ctx, w.Canary)
	if err != nil {
		return err
	}
	for _, s := range services {
		if err := r.noteGone(ctx, w, ownership.CanaryOf(s)); err != nil {
			return err
		}
	}
	return nil
}

// noteGone notes the Canary that something was made for, empty for none, unless it is
// this one or exists.
func (r *Reconciler) noteGone(ctx context.Context, w *world, name string) error {
	if name == "" || name == w.Canary.Name || slices.Contains(w.gone, name) {
		return nil
	}
	other, err := kube.Get[v1beta1.Canary](ctx, r.Client, w.Canary.Namespace, name)
	if err == nil && other == nil {
		w.gone = append(w.gone, name)
	}
	return err
}

// lookAtRoute asks the router what there is. What the route needs of a Canary that is
// gone is taken over.
func (r *Reconciler) lookAtRoute(ctx context.Context, w *world) (providers.State, error) {
	for {
		state, err := w.router.Observe(ctx, w.route())
		var conflict *providers.ConflictError
		if !errors.As(err, &conflict) {
			return state, err
		}
		known := len(w.gone)
		if err := r.noteGone(ctx, w, conflict.Canary); err != nil {
			return state, err
		}
		if len(w.gone) == known {
			return state, err
		}
	}
}

// claim gives the mark to what was made for the Canary by a version that did not mark,
// or lost it, and takes owner references away. What is applied at every turn has
// that done when it is; this is for what is left as it is in some phases.
func (r *Reconciler) claim(ctx context.Context, w *world) error {
	var errs []error
	errs = append(errs, w.configs.Claim(ctx, w.gone...))
	if w.primary != nil && w.owner().Owns(w.primary) && r.Applier.Observed(w.primary) {
		if metadata := ownership.For(w.Canary).Claim(w.primary); metadata != nil {
			errs = append(errs, r.Applier.Merge(ctx, map[string]any{"metadata": metadata}, w.primary))
		}
	}
	return errors.Join(errs...)
}

// removeOwned deletes what was made for a Canary whose deletion is done; its routes
// the router has taken away by then. What people may call by now stays and is nobody's,
// and so does everything that serves where nothing else can.
func (r *Reconciler) removeOwned(ctx context.Context, w *world, want release.Desired) error {
	if !want.Released {
		return nil // nothing of the world was made for this Canary, or it is somebody else's
	}
	owned, err := r.owned(ctx, w)
	if err != nil {
		return err
	}
	apex, _, canary := w.Canary.ServiceNames()
	var errs []error
	for _, o := range owned {
		if !o.GetDeletionTimestamp().IsZero() {
			continue
		}
		service := workload.Kind(o) == workload.KindService
		// A route that could not be taken back may lead to either half.
		kept := want.KeepPrimary && (!want.LeadToPrimary || !service || o.GetName() != canary)
		switch {
		case service && o.GetName() == apex || kept:
			err = r.Applier.Merge(ctx, map[string]any{"metadata": ownership.LetGo(o)}, o)
		case o.GetAnnotations()[workload.OriginalAnnotation] != "":
			err = r.Autoscalers.Remove(ctx, o)
		default:
			err = r.Applier.Delete(ctx, o)
		}
		switch {
		case apierrors.IsConflict(err), apierrors.IsNotFound(err): // it is another object by now
		case apierrors.IsForbidden(err):
			// It serves nobody, and the Canary can't wait for ever for it to be allowed.
			log.FromContext(ctx).Error(err, "Something that was made for the Canary stays")
		default:
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// owned is all that the cache has of what was made for a Canary in its cluster, apart
// from routes, in the order in which it can go: what would act on the others first, and
// what pods need last.
func (r *Reconciler) owned(ctx context.Context, w *world) ([]client.Object, error) {
	out, err := r.Autoscalers.Owned(ctx, w.owner(), w.Canary.Namespace)
	if err != nil {
		return nil, err
	}
	for _, kind := range []string{workload.KindService, workload.KindDeployment, workload.KindDaemonSet, workload.KindStatefulSet} {
		if !r.kinds.has(kind) {
			continue
		}
		list := workload.NewList(kind)
		if err := r.Client.List(ctx, list, client.InNamespace(w.Canary.Namespace), client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("list %ss: %w", kind, err)
		}
		err := meta.EachListItem(list, func(item runtime.Object) error {
			if o, ok := item.(client.Object); ok && w.owner().Owns(o) {
				out = append(out, o)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list %ss: %w", kind, err)
		}
	}
	copies, err := r.Coverage.Owned(ctx, w.owner(), w.Canary.Namespace)
	if err != nil {
		return nil, err
	}
	out = append(out, copies...)
	configs, err := r.Configs.Owned(ctx, w.Canary)
	for _, o := range configs {
		out = append(out, o)
	}
	return out, err
}
