// Package nginx moves traffic with ingress-nginx: beside the user's Ingress, which stays as it is
// and leads to the primary by the apex Service, there is a canary Ingress for the same hosts and
// paths, whose annotations say what share of the requests, or which of them, go to the canary.
//
// Source: https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/#canary
package nginx

import (
	"context"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/ingresses"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// DefaultPrefix is what ingress-nginx's annotations begin with unless its own flag
// --annotations-prefix says otherwise.
const DefaultPrefix = "nginx.ingress.kubernetes.io"

// Router is the providers.Router for ingress-nginx.
type Router struct {
	reader  client.Reader
	applier *ssa.Applier
	prefix  string
}

var _ providers.Router = (*Router)(nil)

// New returns a router that reads through reader, an informer cache, and writes by a. prefix is
// what the controller's annotations begin with; empty means DefaultPrefix.
func New(reader client.Reader, a *ssa.Applier, prefix string) *Router {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	return &Router{reader: reader, applier: a, prefix: prefix}
}

// Capabilities implements providers.Router. Of requests that match a share can't be taken.
func (*Router) Capabilities() providers.Capabilities {
	return providers.Capabilities{Weighted: true, HeaderMatch: true, TLS: true}
}

// Acknowledged implements providers.Acknowledger: an Ingress does not say whether its
// controller has taken it.
func (*Router) Acknowledged() bool { return true }

// ByIngress implements providers.ByIngresser.
func (*Router) ByIngress() bool { return true }

// Ignores implements providers.Ignorer.
func (*Router) Ignores() map[string]string {
	return providers.IgnoresAll("with ingress-nginx that is what spec.ingressRef and its annotations say")
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
		state.Traffic = r.trafficOf(live)
	}
	want, err := r.desired(ctx, route)
	if providers.IsUnsupported(err) {
		return state, nil // the spec asks for no such traffic, so the controller can't have it
	}
	if err != nil {
		return state, err
	}
	state.InSync, err = r.applier.InSync(ctx, want)
	if state.InSync = state.InSync && live != nil && r.applier.Knows(live); err != nil || !state.InSync { // what is in sync may be newer than live
		return state, err
	}
	if state.Traffic != route.Traffic {
		state.InSync = false
		state.Detail = fmt.Sprintf("Ingress %s has annotations of somebody else's that send requests elsewhere: remove those that begin with %s", live.Name, r.key("canary"))
	}
	return state, nil
}

// Apply implements providers.Router.
func (r *Router) Apply(ctx context.Context, route providers.Route) error {
	if err := route.Traffic.Validate(); err != nil {
		return err
	}
	if err := r.refuse(route.Canary); err != nil {
		return err
	}
	want, err := r.desired(ctx, route)
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
	if err := ingresses.CheckRef(v1beta1.ProviderNGINX, c); err != nil {
		return err
	}
	if err := r.Capabilities().Check(v1beta1.ProviderNGINX, c); err != nil {
		return err
	}
	_, err := matchOf(c.GetAnalysis())
	return err
}

func unsupported(field, why string) error {
	return &providers.UnsupportedError{Router: v1beta1.ProviderNGINX, Field: field, Why: why}
}

// desired is the canary Ingress for the traffic of a route.
func (r *Router) desired(ctx context.Context, route providers.Route) (*networkingv1.Ingress, error) {
	c := route.Canary
	users, err := ingresses.Users(ctx, r.reader, c)
	if err != nil {
		return nil, err
	}
	spec := r.specFor(c, users)
	if len(spec.Rules) == 0 && spec.DefaultBackend == nil {
		return nil, &providers.InvalidError{
			Field: "spec.ingressRef.name", Value: users.Name, Allowed: "an Ingress of which a path leads to Service " + ingresses.Apex(c) + ", the Canary's apex",
		}
	}
	if err := r.alone(ctx, route, spec); err != nil {
		return nil, err
	}
	annotations, err := r.annotations(c, users, route.Traffic)
	if err != nil {
		return nil, err
	}
	want := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: ingresses.Name(c), Annotations: annotations},
		Spec:       spec,
	}
	route.Owner().Mark(want)
	return want, nil
}

// alone refuses to write beside somebody else's object: one of the name that is needed, and
// another canary of the same host and path, of which ingress-nginx takes one.
func (r *Router) alone(ctx context.Context, route providers.Route, spec networkingv1.IngressSpec) error {
	all := &networkingv1.IngressList{}
	if err := r.reader.List(ctx, all, client.InNamespace(route.Canary.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list the Ingresses of %s: %w", route.Canary.Namespace, err)
	}
	places := placesOf(spec)
	for i := range all.Items {
		other := &all.Items[i]
		switch {
		case other.Name == ingresses.Name(route.Canary):
			if whose := route.Owner().Of(other); whose != ownership.Ours {
				return providers.Conflict("Ingress", other)
			}
		case other.Annotations[r.key("canary")] != "true":
		default:
			for place := range placesOf(other.Spec) {
				if places[place] {
					return &providers.InvalidError{
						Field: "spec.ingressRef.name", Value: route.Canary.Spec.IngressRef.Name,
						Allowed: fmt.Sprintf("an Ingress without another canary; Ingress %s is one of %s, and ingress-nginx takes one of each", other.Name, place),
					}
				}
			}
		}
	}
	return nil
}
