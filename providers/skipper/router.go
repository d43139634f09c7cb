// Package skipper moves traffic with Skipper, Zalando's ingress controller: beside the user's Ingress, which stays as it is
// and leads to the primary by the apex Service, there is one for the same hosts and paths that comes before it, whose
// annotations say how the requests are shared out between the primary and the canary.
//
// Source: https://opensource.zalando.com/skipper/kubernetes/ingress-usage/
package skipper

import (
	"context"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
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
	live, err := r.get(ctx, c.Namespace, canaryName(c))
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
	if state.InSync, err = r.applier.InSync(ctx, want); state.InSync {
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
	live, err := r.get(ctx, route.Canary.Namespace, canaryName(route.Canary))
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
	live, err := r.get(ctx, route.Canary.Namespace, canaryName(route.Canary))
	if err != nil || live == nil || !route.Owner().Owns(live) {
		return err
	}
	return r.applier.Delete(ctx, live)
}

// refuse says which field of the spec cannot be served.
func (r *Router) refuse(c *v1beta1.Canary) error {
	apex, _, _ := c.ServiceNames()
	ref := c.Spec.IngressRef
	if ref == nil || ref.Name == "" {
		return &providers.InvalidError{Field: "spec.ingressRef.name", Allowed: "provider skipper needs the name of the Ingress that leads to Service " + apex}
	}
	if ref.Kind != "" && ref.Kind != "Ingress" {
		return &providers.InvalidError{Field: "spec.ingressRef.kind", Value: ref.Kind, Allowed: "Ingress"}
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
	users, err := r.get(ctx, c.Namespace, c.Spec.IngressRef.Name)
	if err != nil {
		return nil, err
	}
	if users == nil {
		return nil, &providers.InvalidError{
			Field: "spec.ingressRef.name", Value: c.Spec.IngressRef.Name, Missing: true,
			Allowed: "an Ingress of namespace " + c.Namespace + "; there is none of that name",
		}
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
		ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: canaryName(c), Annotations: annotations}, Spec: spec,
	}
	route.Owner().Mark(want)
	return want, nil
}

// get reads from the cache, nil where there is no such Ingress.
func (r *Router) get(ctx context.Context, namespace, name string) (*networkingv1.Ingress, error) {
	out := &networkingv1.Ingress{}
	err := r.reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, out)
	switch {
	case err == nil:
		return out, nil
	case apierrors.IsNotFound(err):
		return nil, nil
	default:
		return nil, fmt.Errorf("read Ingress %s/%s: %w", namespace, name, err)
	}
}

// canaryName is the name of our Ingress, which is Flagger's. It is empty where the spec names no Ingress, so that nothing is
// found.
func canaryName(c *v1beta1.Canary) string {
	if c.Spec.IngressRef == nil {
		return ""
	}
	return c.Spec.IngressRef.Name + "-canary"
}
