// Package skipper moves traffic with Skipper, Zalando's ingress controller: beside the user's Ingress, which stays as it is
// and leads to the primary by the apex Service, there is one for the same hosts and paths that comes before it, whose
// annotations say how the requests are shared out between the primary and the canary.
//
// Source: https://opensource.zalando.com/skipper/kubernetes/ingress-usage/
package skipper

import (
	"context"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/ingresses"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// Router is the providers.Router for Skipper.
type Router struct {
	reader  client.Reader
	applier *ssa.Applier
}

var _ providers.Router = (*Router)(nil)

// New returns a router that reads through reader, an informer cache, and writes by a.
func New(reader client.Reader, a *ssa.Applier) *Router { return &Router{reader: reader, applier: a} }

// Capabilities implements providers.Router.
func (*Router) Capabilities() providers.Capabilities {
	return providers.Capabilities{Weighted: true, HeaderMatch: true, WeightedMatch: true, TLS: true}
}

// Acknowledged implements providers.Acknowledger: an Ingress does not say whether its controller has taken it.
func (*Router) Acknowledged() bool { return true }

// ByIngress implements providers.ByIngresser.
func (*Router) ByIngress() bool { return true }

// Ignores implements providers.Ignorer.
func (*Router) Ignores() map[string]string {
	return providers.IgnoresAll("with Skipper that is what spec.ingressRef and its annotations say")
}

// Observe implements providers.Router.
func (r *Router) Observe(ctx context.Context, route providers.Route) (providers.State, error) {
	c := route.Canary
	live, err := ingresses.Get(ctx, r.reader, c.Namespace, ingresses.Name(c))
	if err != nil {
		return providers.State{}, err
	}
	state := providers.State{Exists: live != nil && route.Owner().Owns(live)}
	if !c.DeletionTimestamp.IsZero() {
		return state, nil
	}
	if err := r.refuse(c); err != nil {
		return providers.State{}, err
	}
	if state.Exists {
		state.Traffic = trafficOf(c, live)
	}
	want, err := r.desired(ctx, route, live)
	if err != nil {
		return state, err
	}
	same, err := r.applier.InSync(ctx, want)
	if state.InSync = same && live != nil && r.applier.Knows(live); state.InSync { // what is in sync may be newer than live
		state.Traffic = route.Traffic
	}
	return state, err
}

// Apply implements providers.Router.
func (r *Router) Apply(ctx context.Context, route providers.Route) error {
	if err := route.Traffic.Validate(); err != nil {
		return err
	}
	if err := r.refuse(route.Canary); err != nil {
		return err
	}
	live, err := ingresses.Get(ctx, r.reader, route.Canary.Namespace, ingresses.Name(route.Canary))
	if err != nil {
		return err
	}
	want, err := r.desired(ctx, route, live)
	if err != nil {
		return err
	}
	return r.applier.Apply(ctx, want)
}

// Release implements providers.Router: the user's Ingress was never touched.
func (r *Router) Release(ctx context.Context, route providers.Route) error {
	live, err := ingresses.Get(ctx, r.reader, route.Canary.Namespace, ingresses.Name(route.Canary))
	if err != nil || live == nil || !route.Owner().Owns(live) {
		return err
	}
	return r.applier.Delete(ctx, live)
}

// refuse says which field of the spec cannot be served.
func (r *Router) refuse(c *v1beta1.Canary) error {
	if err := ingresses.CheckRef(v1beta1.ProviderSkipper, c); err != nil {
		return err
	}
	if err := r.Capabilities().Check(v1beta1.ProviderSkipper, c); err != nil {
		return err
	}
	_, err := predicates(c)
	return err
}

func unsupported(field, why string) error {
	return &providers.UnsupportedError{Router: v1beta1.ProviderSkipper, Field: field, Why: why}
}

// desired is our Ingress for the traffic of a route, where live is what there is of that name.
func (r *Router) desired(ctx context.Context, route providers.Route, live *networkingv1.Ingress) (*networkingv1.Ingress, error) {
	c := route.Canary
	switch {
	case route.Traffic.Mirror > 0:
		return nil, unsupported("spec.analysis.mirror", "it cannot mirror requests")
	case route.Traffic.Sessions != (providers.Sessions{}):
		return nil, unsupported("spec.analysis.sessionAffinity", "it cannot keep a user on a version")
	case live != nil && route.Owner().Of(live) != ownership.Ours:
		return nil, providers.Conflict("Ingress", live)
	}
	users, err := ingresses.Users(ctx, r.reader, c)
	if err != nil {
		return nil, err
	}
	spec, err := specFor(c, users)
	if err != nil {
		return nil, err
	}
	annotations, err := annotations(c, users, route.Traffic)
	if err != nil {
		return nil, err
	}
	want := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: ingresses.Name(c), Annotations: annotations}, Spec: spec,
	}
	route.Owner().Mark(want)
	return want, nil
}
