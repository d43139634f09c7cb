// Package inventory knows all that was made for a Canary, apart from routes: what another
// one has left that this one needs, and what goes when the Canary does.
package inventory

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// Holder is a part that makes objects in the cluster of the Canaries.
type Holder interface {
	// Owned are all objects that the cache has of those that were made for a Canary. They are the
	// cache's own.
	Owned(ctx context.Context, w *world.World) ([]client.Object, error)
}

// Namer is a part whose objects have names that follow from the Canary.
type Namer interface {
	// Named are those that there are by these names, whosesoever they are.
	Named(ctx context.Context, c *v1beta1.Canary) ([]client.Object, error)
}

// Remover is a part of whose objects some were there before the Canary.
type Remover interface {
	// Remove deletes one of its objects, or makes it what it was.
	Remove(ctx context.Context, o client.Object) error
}

// Inventory is all that parts have made for Canaries.
type Inventory struct {
	// Client reads Canaries from the informer cache.
	Client client.Reader
	// Applier deletes and lets go.
	Applier *ssa.Applier
	// Holders are the parts in the order in which what they made can go: what would act on
	// the others first, and what pods need last.
	Holders []Holder
}

var _ world.Observer = (*Inventory)(nil)

// Observe finds Canaries that left what this one needs and do not exist any more,
// as after a deletion without the finalizer and a creation by another name.
func (i *Inventory) Observe(ctx context.Context, w *world.World) error {
	if w.TargetObject == nil || !w.Canary.DeletionTimestamp.IsZero() {
		return nil
	}
	for _, holder := range i.Holders {
		namer, ok := holder.(Namer)
		if !ok {
			continue
		}
		named, err := namer.Named(ctx, w.Canary)
		if err != nil {
			return err
		}
		for _, o := range named {
			if err := w.Inherit(ctx, i.Client, ownership.CanaryOf(o)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Remove deletes what was made for a Canary whose deletion is done; its routes
// the router has taken away by then. What people may call by now stays and is nobody's,
// and so does everything that serves where nothing else can.
func (i *Inventory) Remove(ctx context.Context, w *world.World, want release.Desired) error {
	if !want.Released {
		return nil // nothing of the world was made for this Canary, or it is somebody else's
	}
	owned := make([][]client.Object, len(i.Holders))
	for n, holder := range i.Holders {
		var err error
		if owned[n], err = holder.Owned(ctx, w); err != nil {
			return err
		}
	}
	var errs []error
	for n, holder := range i.Holders {
		errs = append(errs, i.remove(ctx, w, want, holder, owned[n]))
	}
	return errors.Join(errs...)
}

// remove deletes what a part has made, or lets go of it.
func (i *Inventory) remove(ctx context.Context, w *world.World, want release.Desired, holder Holder, owned []client.Object) error {
	var errs []error
	for _, o := range owned {
		if !o.GetDeletionTimestamp().IsZero() {
			continue
		}
		remover, ok := holder.(Remover)
		var err error
		switch {
		case stays(w.Canary, o, want):
			err = i.Applier.Merge(ctx, map[string]any{"metadata": ownership.LetGo(o)}, o)
		case ok:
			err = remover.Remove(ctx, o)
		default:
			err = i.Applier.Delete(ctx, o)
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

// stays tells whether what was made for a Canary outlives it.
func stays(c *v1beta1.Canary, o client.Object, want release.Desired) bool {
	apex, _, canary := c.ServiceNames()
	service := workload.Kind(o) == workload.KindService
	if service && o.GetName() == apex {
		return true
	}
	// A route that could not be taken back may lead to either half.
	return want.KeepPrimary && (want.KeepRoute || !want.LeadToPrimary || !service || o.GetName() != canary)
}
