package istio

import (
	"context"
	"maps"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
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
	live := emptyLike(named)
	found, err := r.get(ctx, client.ObjectKeyFromObject(named), live)
	if err != nil || !found || !r.owner(route).Owns(live) {
		return err
	}
	return r.remove(ctx, live)
}

func (r *Router) releaseVirtualService(ctx context.Context, route providers.Route) error {
	mesh := &networkingv1.VirtualService{}
	mesh.Namespace, mesh.Name = route.Canary.Namespace, apexKey(route.Canary).Name+meshSuffix
	if err := r.removeOurs(ctx, route, mesh); err != nil {
		return err
	}
	live := &networkingv1.VirtualService{}
	found, err := r.get(ctx, apexKey(route.Canary), live)
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
		return r.restore(ctx, live, route.Canary)
	case ownership.Others:
	}
	return nil
}

// restore writes the original, and takes away what else we have set, also where somebody
// else has set the same, as the operator before us has.
func (r *Router) restore(ctx context.Context, live *networkingv1.VirtualService, canary *v1beta1.Canary) error {
	users, err := r.cachedOriginal(ctx, live, canary)
	if err != nil {
		return err
	}
	spec := map[string]any{}
	for _, field := range takenOver {
		spec[field] = nil
	}
	maps.Copy(spec, users.Spec)
	if !slices.ContainsFunc(slices.Collect(maps.Values(users.Spec)), func(v any) bool { return v != nil }) {
		spec["hosts"] = []any{} // a spec of which nothing is left is null, which the server refuses
	}
	ours := virtualServiceMeta(canary)
	ours.Annotations[originalAnnotation], ours.Annotations[ssa.AppliedAnnotation] = "", ""
	return explain(r.applier.Merge(ctx, map[string]any{
		"spec":     spec,
		"metadata": map[string]any{"labels": restored(ours.Labels, users.Labels), "annotations": restored(ours.Annotations, users.Annotations)},
	}, live))
}

// restored are the user's pairs, and null for the others of ours.
func restored(ours, users map[string]string) map[string]any {
	out := map[string]any{}
	for k := range ours {
		out[k] = nil
	}
	for k, v := range users {
		out[k] = v
	}
	return out
}

// remove deletes the very object that was read.
func (r *Router) remove(ctx context.Context, live client.Object) error {
	if !live.GetDeletionTimestamp().IsZero() {
		return nil
	}
	return explain(r.applier.Delete(ctx, live))
}
