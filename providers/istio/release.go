package istio

import (
	"context"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/istio/internal/objects"
	"github.com/sluice-delivery/sluice/providers/istio/internal/original"
	"github.com/sluice-delivery/sluice/providers/istio/internal/settings"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// Release implements providers.Router. Objects that we made are deleted. A
// user's VirtualService becomes what it was before we took it over, without our
// annotations. A user's DestinationRule is left as it is: it has no effect
// without its Service.
func (r *Router) Release(ctx context.Context, route providers.Route) error {
	if err := r.releaseVirtualService(ctx, route); err != nil {
		return err
	}
	_, primary, canary := route.Canary.ServiceNames()
	for _, name := range []string{primary, canary} {
		rule := &networkingv1.DestinationRule{}
		rule.Namespace, rule.Name = route.Canary.Namespace, name
		if err := r.removeOurs(ctx, route, rule); err != nil {
			return err
		}
	}
	return nil
}

// removeOurs deletes the object of that name if we made it for this Canary.
func (r *Router) removeOurs(ctx context.Context, route providers.Route, named client.Object) error {
	live := objects.EmptyLike(named)
	found, err := r.objects.Get(ctx, client.ObjectKeyFromObject(named), live)
	if err != nil || !found || !r.owner(route).Owns(live) {
		return err
	}
	return r.remove(ctx, live)
}

func (r *Router) releaseVirtualService(ctx context.Context, route providers.Route) error {
	if err := r.removeOurs(ctx, route, meshService(route.Canary)); err != nil {
		return err
	}
	live := &networkingv1.VirtualService{}
	found, err := r.objects.Get(ctx, settings.Apex(route.Canary), live)
	if err != nil || !found {
		return err
	}
	switch r.owner(route).Of(live) {
	case ownership.Ours:
		return r.remove(ctx, live)
	case ownership.Users:
		if live.Annotations[ssa.AppliedAnnotation] == "" {
			return nil // never adopted, or given back
		}
		return r.restore(ctx, live, route)
	case ownership.Others:
	}
	return nil
}

// restore gives a user's VirtualService back. What it was is kept until the last call: a GitOps tool that ignores its routes writes
// them as it has read them, which may have been before they were given back.
func (r *Router) restore(ctx context.Context, live *networkingv1.VirtualService, route providers.Route) error {
	users, err := original.Cached(ctx, live, route.Canary)
	switch {
	case err != nil:
		return err
	case !route.Again:
		return objects.Explain(r.applier.Merge(ctx, users.GiveBack(route.Canary), live))
	case users.Is(live):
		return nil
	default:
		return objects.Explain(r.applier.Merge(ctx, users.GiveBackRoutes(), live))
	}
}

// remove deletes the very object that was read.
func (r *Router) remove(ctx context.Context, live client.Object) error {
	if !live.GetDeletionTimestamp().IsZero() {
		return nil
	}
	return objects.Explain(r.applier.Delete(ctx, live))
}
