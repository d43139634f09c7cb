// Package contour moves traffic with an HTTPProxy of Contour, which has the name of the apex Service. It is a part of
// the user's own HTTPProxy with the virtual host, which includes it, or is that one itself.
//
// One that was there before the Canary stays its user's: routes that lead elsewhere hold on, and what it was is kept in
// an annotation until it is given back.
package contour

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/custom"
	"github.com/sluice-delivery/sluice/providers/internal/shares"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// Router is the providers.Router for Contour.
type Router struct {
	reader  client.Reader
	applier *ssa.Applier
	class   string
}

var _ providers.Router = (*Router)(nil)

// New returns a router that reads through reader, an informer cache whose scheme needs what AddToScheme registers, and
// writes by a. class is the ingress class of what it makes, empty for Contour's default.
func New(reader client.Reader, a *ssa.Applier, class string) *Router {
	return &Router{reader: reader, applier: a, class: class}
}

// Capabilities implements providers.Router. An HTTPProxy replaces the cookies that an application sets, and can't add one.
func (*Router) Capabilities() providers.Capabilities {
	return providers.Capabilities{Weighted: true, HeaderMatch: true, WeightedMatch: true, Mirror: true, TLS: true}
}

// Ignores implements providers.Ignorer.
func (*Router) Ignores() map[string]string {
	out := providers.IgnoresAll("with Contour that is what an HTTPProxy of your own says, as with Flagger")
	for _, served := range []string{"match", "timeout", "retries"} {
		delete(out, served)
	}
	return out
}

// taking is what is taken over of a user's HTTPProxy.
var taking = custom.Taking{GVK: gvk, Fields: []string{"routes"}}

// orphaned is the type of what is wrong with an HTTPProxy that no other one includes.
const orphaned = "Orphaned"

// Observe implements providers.Router.
func (r *Router) Observe(ctx context.Context, route providers.Route) (providers.State, error) {
	c := route.Canary
	live, err := r.get(ctx, c)
	if err != nil {
		return providers.State{}, err
	}
	state := stateOf(c, live)
	if live != nil {
		switch whose := route.Owner().Of(live); {
		case whose == ownership.Others, whose == ownership.Users && (!custom.Taken(&live.Resource) || taking.IsBack(&live.Resource, c)):
			state = providers.State{} // whatever it leads to is not by us
		}
	}
	if !c.DeletionTimestamp.IsZero() {
		return state, nil
	}
	want, err := r.desired(route, live)
	if err != nil {
		return state, err
	}
	same, err := r.applier.InSync(ctx, want, ssa.ProtoJSON)
	if err != nil || !same || live == nil || !r.applier.Knows(live) { // what is in sync may be newer than live
		return state, custom.Explain(gvk, err)
	}
	if said := live.Verdict(c, custom.Speaking{Type: "Valid"}); said.Against != "" {
		state.Detail = "HTTPProxy " + live.Name + ": " + said.Against
		// One that nobody includes yet is well, and has no requests.
		state.Refused = said.Final && !slices.Contains(said.Reasons, orphaned)
		return state, nil
	}
	return providers.State{Exists: true, Traffic: route.Traffic, InSync: true}, nil
}

// Apply implements providers.Router.
func (r *Router) Apply(ctx context.Context, route providers.Route) error {
	live, err := r.get(ctx, route.Canary)
	if err != nil {
		return err
	}
	want, err := r.desired(route, live)
	if err != nil {
		return err
	}
	return custom.Explain(gvk, r.applier.Apply(ctx, want, ssa.ProtoJSON))
}

// Release implements providers.Router. What we made is deleted, unless a user's HTTPProxy may include it, which Contour
// would refuse then: it leads to the apex Service and is nobody's. A user's is what it was.
func (r *Router) Release(ctx context.Context, route providers.Route) error {
	live, err := r.get(ctx, route.Canary)
	if err != nil || live == nil {
		return err
	}
	switch whose := route.Owner().Of(live); {
	case whose == ownership.Ours:
		return custom.Explain(gvk, r.applier.Apply(ctx, r.released(route.Canary), ssa.ProtoJSON))
	case whose == ownership.Users && custom.Taken(&live.Resource):
		return custom.Explain(gvk, r.restore(ctx, live, route))
	default:
		return nil
	}
}

// restore gives a user's HTTPProxy back. Until the last call it is still known what it was: a tool that had read it in the
// release may write its routes once more.
func (r *Router) restore(ctx context.Context, live *HTTPProxy, route providers.Route) error {
	original, err := r.original(route.Canary, live, metav1.ObjectMeta{})
	if err != nil {
		return err
	}
	// It is said outright, as what somebody else has written too does not go by our no longer asking for it.
	if patch := taking.Back(&live.Resource, original); patch != nil {
		if err := r.applier.Merge(ctx, patch, live); err != nil {
			return err
		}
	}
	if route.Again {
		return nil
	}
	return r.applier.ApplyPartial(ctx, taking.GivenBack(&live.Resource, original), live, ssa.ProtoJSON)
}

// get reads from the cache, nil where there is no such object.
func (r *Router) get(ctx context.Context, c *v1beta1.Canary) (*HTTPProxy, error) {
	apex, _, _ := c.ServiceNames()
	out := &HTTPProxy{}
	found, err := custom.Get(ctx, r.reader, gvk, client.ObjectKey{Namespace: c.Namespace, Name: apex}, out)
	if err != nil || !found {
		return nil, err
	}
	return out, nil
}

// stateOf is what an HTTPProxy has Contour do.
func stateOf(c *v1beta1.Canary, live *HTTPProxy) providers.State {
	if live == nil {
		return providers.State{}
	}
	traffic, exists := shares.Of(read(c, live.Spec))
	return providers.State{Exists: exists, Traffic: traffic}
}
