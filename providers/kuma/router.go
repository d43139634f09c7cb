// Package kuma moves traffic with a TrafficRoute of Kuma, which has the name of the apex Service and is in no namespace.
//
// One that was there before the Canary stays its user's: what it was is kept in an annotation until it is given back.
package kuma

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/custom"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// Router is the providers.Router for Kuma.
type Router struct {
	reader  client.Reader
	applier *ssa.Applier
}

var _ providers.Router = (*Router)(nil)

// New returns a router that reads through reader, an informer cache whose scheme needs what AddToScheme registers, and
// writes by a.
func New(reader client.Reader, a *ssa.Applier) *Router { return &Router{reader: reader, applier: a} }

// Capabilities implements providers.Router. Without conditions on requests a TrafficRoute divides connections.
func (*Router) Capabilities() providers.Capabilities {
	return providers.Capabilities{Weighted: true, HeaderMatch: true, WeightedMatch: true, TCP: true, TLS: true}
}

// Acknowledged implements providers.Acknowledger: a TrafficRoute does not say whether Kuma has taken it.
func (*Router) Acknowledged() bool { return true }

// Ignores implements providers.Ignorer.
func (*Router) Ignores() map[string]string {
	return providers.IgnoresAll("with Kuma that is what its other policies say, as with Flagger")
}

// meshAnnotation on a Canary names its mesh.
const meshAnnotation = "kuma.io/mesh"

// meshOf is the mesh of a Canary.
func meshOf(c *v1beta1.Canary) string {
	if mesh := c.Annotations[meshAnnotation]; mesh != "" {
		return mesh
	}
	return defaultMesh
}

const defaultMesh = "default"

// taking is what is taken over of a user's TrafficRoute.
var taking = custom.Taking{GVK: gvk, Fields: []string{"sources", "destinations", "conf"}}

// ownerOf is the Canary as the owner of objects that are in no namespace, where others may have its name.
func ownerOf(c *v1beta1.Canary) ownership.Owner { return ownership.Remote(c) }

// whose says whose a live object is. Flagger marks none of its own, so those are told by where they lead.
func whose(c *v1beta1.Canary, live *TrafficRoute) ownership.Ownership {
	is := ownerOf(c).Of(live)
	if is == ownership.Users && !custom.Taken(&live.Resource) && flaggers(c, live.Spec) {
		return ownership.Ours
	}
	return is
}

// isLed tells whether a live object leads where we have it lead, and not where its user has.
func isLed(c *v1beta1.Canary, live *TrafficRoute) bool {
	switch whose(c, live) {
	case ownership.Ours:
		return true
	case ownership.Users:
		return custom.Taken(&live.Resource) && !taking.IsBack(&live.Resource, c)
	case ownership.Others:
	}
	return false
}

// Observe implements providers.Router.
func (r *Router) Observe(ctx context.Context, route providers.Route) (providers.State, error) {
	c := route.Canary
	if c.DeletionTimestamp.IsZero() {
		if err := r.Capabilities().Check(v1beta1.ProviderKuma, c); err != nil {
			return providers.State{}, err
		}
	}
	name, live, err := r.get(ctx, c)
	if err != nil {
		return providers.State{}, err
	}
	state := providers.State{}
	if live != nil && isLed(c, live) {
		state.Traffic, state.Exists = trafficOf(c, live.Spec)
	}
	if !c.DeletionTimestamp.IsZero() {
		return state, nil
	}
	want, err := r.desired(route, name, live)
	if err != nil {
		return state, err
	}
	same, err := r.inSync(ctx, want, live)
	if err != nil || !same {
		return state, custom.Explain(gvk, err)
	}
	rival, err := r.rival(ctx, c, name)
	if err != nil || rival != "" {
		state.Detail = rival
		return state, err
	}
	return providers.State{Exists: true, Traffic: route.Traffic, InSync: true}, nil
}

// Apply implements providers.Router.
func (r *Router) Apply(ctx context.Context, route providers.Route) error {
	if err := route.Traffic.Validate(); err != nil {
		return err
	}
	if err := r.Capabilities().Check(v1beta1.ProviderKuma, route.Canary); err != nil {
		return err
	}
	name, live, err := r.get(ctx, route.Canary)
	if err != nil {
		return err
	}
	want, err := r.desired(route, name, live)
	if err != nil {
		return err
	}
	if ownership.Marked(want) {
		return custom.Explain(gvk, r.applier.Apply(ctx, want, ssa.ProtoJSON))
	}
	patch := taking.TakenOver(&live.Resource, &want.Resource)
	if patch == nil {
		return nil
	}
	return custom.Explain(gvk, r.applier.Merge(ctx, patch, live))
}

// inSync tells whether there is what is wanted: of ours, or of a user's.
func (r *Router) inSync(ctx context.Context, want, live *TrafficRoute) (bool, error) {
	if ownership.Marked(want) {
		return r.applier.InSync(ctx, want, ssa.ProtoJSON)
	}
	return taking.TakenOver(&live.Resource, &want.Resource) == nil && r.applier.Observed(live), nil
}

// Release implements providers.Router. Without a TrafficRoute requests go to the Service that they are for.
func (r *Router) Release(ctx context.Context, route providers.Route) error {
	c := route.Canary
	_, live, err := r.get(ctx, c)
	if err != nil || live == nil {
		return err
	}
	switch whose(c, live) {
	case ownership.Ours:
		return custom.Explain(gvk, r.applier.Delete(ctx, live))
	case ownership.Users:
		if !custom.Taken(&live.Resource) {
			return nil
		}
		ours := custom.Metadata(c, client.ObjectKeyFromObject(live))
		original, err := r.original(c, live, ours)
		if err != nil {
			return err
		}
		patch := taking.Restored(&live.Resource, original, ours)
		if route.Again { // somebody who had read it in the release may write that once more
			if patch = taking.Back(&live.Resource, original); patch == nil {
				return nil
			}
		}
		return custom.Explain(gvk, r.applier.Merge(ctx, patch, live))
	case ownership.Others:
	}
	return nil
}

// get reads from the cache the TrafficRoute of a Canary, nil where there is none, and says which name it has: that of the
// apex Service, or where a Canary of another namespace has that one, or it is for another Service, the same with the namespace.
func (r *Router) get(ctx context.Context, c *v1beta1.Canary) (string, *TrafficRoute, error) {
	apex, _, _ := c.ServiceNames()
	qualified := apex + "." + c.Namespace
	ours := &TrafficRoute{}
	there, err := custom.Get(ctx, r.reader, gvk, client.ObjectKey{Name: qualified}, ours)
	if err != nil || there && whose(c, ours) == ownership.Ours {
		return qualified, ours, err
	}
	live := &TrafficRoute{}
	found, err := custom.Get(ctx, r.reader, gvk, client.ObjectKey{Name: apex}, live)
	is := ownership.Others
	if found {
		is = whose(c, live)
	}
	switch {
	case err != nil || !found:
		return apex, nil, err
	case is == ownership.Others && ownership.Marked(live), is == ownership.Users && !custom.Taken(&live.Resource) && isElsewhere(c, live.Spec):
		if !there {
			ours = nil
		}
		return qualified, ours, nil
	default:
		return apex, live, nil
	}
}

// rival names a TrafficRoute that takes the requests for the apex Service, or some of them.
func (r *Router) rival(ctx context.Context, c *v1beta1.Canary, name string) (string, error) {
	all := &TrafficRouteList{}
	if err := r.reader.List(ctx, all, client.UnsafeDisableDeepCopy); err != nil {
		return "", custom.Explain(gvk, fmt.Errorf("list the TrafficRoutes: %w", err))
	}
	for i := range all.Items {
		other := &all.Items[i]
		mesh := other.Mesh
		if mesh == "" {
			mesh = defaultMesh
		}
		if other.Name == name || mesh != meshOf(c) {
			continue
		}
		for _, service := range destinations(other.Spec) {
			if service == serviceTag(c, apexOf(c)) {
				return "TrafficRoute " + other.Name + " is for requests to the same Service; delete it", nil
			}
		}
	}
	return "", nil
}
