// Package apisix moves traffic with an ApisixRoute beside the user's, which stays as it is and leads to the primary by
// the apex Service. Ours has the same rules with a higher priority, whose backends are the primary and the canary.
package apisix

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/custom"
	"github.com/sluice-delivery/sluice/providers/internal/shares"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// Router is the providers.Router for APISIX.
type Router struct {
	reader  client.Reader
	applier *ssa.Applier
}

var _ providers.Router = (*Router)(nil)

// New returns a router that reads through reader, an informer cache whose scheme needs what AddToScheme registers, and
// writes by a.
func New(reader client.Reader, a *ssa.Applier) *Router { return &Router{reader: reader, applier: a} }

// Capabilities implements providers.Router. Copies and cookies are not a route's: plugins of APISIX have them.
func (*Router) Capabilities() providers.Capabilities {
	return providers.Capabilities{Weighted: true, HeaderMatch: true, WeightedMatch: true, TLS: true}
}

// ByRouteRef implements providers.ByRouteRefer.
func (*Router) ByRouteRef() bool { return true }

// Ignores implements providers.Ignorer.
func (*Router) Ignores() map[string]string {
	return providers.IgnoresAll("with APISIX that is what the ApisixRoute of spec.routeRef says")
}

// Observe implements providers.Router.
func (r *Router) Observe(ctx context.Context, route providers.Route) (providers.State, error) {
	c := route.Canary
	if c.DeletionTimestamp.IsZero() {
		if err := r.refuse(c); err != nil {
			return providers.State{}, err
		}
	}
	live, err := r.get(ctx, c.Namespace, name(c))
	if err != nil {
		return providers.State{}, err
	}
	state := providers.State{Exists: live != nil && route.Owner().Owns(live)}
	if state.Exists {
		state.Traffic = trafficOf(c, live)
	}
	if !c.DeletionTimestamp.IsZero() {
		return state, nil
	}
	want, err := r.desired(ctx, route, live)
	if err != nil {
		return state, err
	}
	same, err := r.applier.InSync(ctx, want, ssa.ProtoJSON)
	if err != nil || !same || live == nil || !r.applier.Knows(live) { // what is in sync may be newer than live
		return state, custom.Explain(gvk, err)
	}
	// Versions before 2 say ResourcesAvailable, and don't say again of a generation what they have said of the one before.
	said := live.Verdict(c, custom.Speaking{Type: "Accepted"}, custom.Speaking{Type: "ResourcesAvailable", Undated: true})
	if said.Against != "" {
		state.Detail, state.Refused = "ApisixRoute "+live.Name+": "+said.Against, said.Final
		return state, nil
	}
	return providers.State{Exists: true, Traffic: route.Traffic, InSync: true}, nil
}

// Apply implements providers.Router.
func (r *Router) Apply(ctx context.Context, route providers.Route) error {
	if err := route.Traffic.Validate(); err != nil {
		return err
	}
	if err := r.refuse(route.Canary); err != nil {
		return err
	}
	live, err := r.get(ctx, route.Canary.Namespace, name(route.Canary))
	if err != nil {
		return err
	}
	want, err := r.desired(ctx, route, live)
	if err != nil {
		return err
	}
	return custom.Explain(gvk, r.applier.Apply(ctx, want, ssa.ProtoJSON))
}

// Release implements providers.Router: the user's ApisixRoute was never touched.
func (r *Router) Release(ctx context.Context, route providers.Route) error {
	live, err := r.get(ctx, route.Canary.Namespace, name(route.Canary))
	if err != nil || live == nil || !route.Owner().Owns(live) {
		return err
	}
	return custom.Explain(gvk, r.applier.Delete(ctx, live))
}

// refuse says which field of the spec cannot be served.
func (r *Router) refuse(c *v1beta1.Canary) error {
	apex, _, _ := c.ServiceNames()
	ref := c.Spec.RouteRef
	if ref == nil || ref.Name == "" {
		return &providers.InvalidError{
			Field: "spec.routeRef.name", Allowed: "provider apisix needs the name of the ApisixRoute that leads to Service " + apex,
		}
	}
	if ref.Kind != "" && ref.Kind != gvk.Kind {
		return &providers.InvalidError{Field: "spec.routeRef.kind", Value: ref.Kind, Allowed: gvk.Kind}
	}
	return r.Capabilities().Check(v1beta1.ProviderAPISIX, c)
}

// desired is our ApisixRoute for the traffic of a route, where live is what there is of that name.
func (r *Router) desired(ctx context.Context, route providers.Route, live *ApisixRoute) (*ApisixRoute, error) {
	c := route.Canary
	switch {
	case route.Traffic.Mirror > 0:
		return nil, unsupported("spec.analysis.mirror", "it cannot mirror requests")
	case route.Traffic.Sessions != (providers.Sessions{}):
		return nil, unsupported("spec.analysis.sessionAffinity", "it cannot keep a user on a version")
	case live != nil && route.Owner().Of(live) != ownership.Ours:
		return nil, providers.Conflict(gvk.Kind, live)
	}
	users, err := r.get(ctx, c.Namespace, c.Spec.RouteRef.Name)
	if err != nil {
		return nil, err
	}
	if users == nil {
		return nil, &providers.InvalidError{
			Field: "spec.routeRef.name", Value: c.Spec.RouteRef.Name, Missing: true,
			Allowed: "an ApisixRoute of namespace " + c.Namespace + "; there is none of that name",
		}
	}
	rules, err := rulesFor(c, users, route.Traffic)
	if err != nil {
		return nil, err
	}
	out := &ApisixRoute{Resource: custom.Resource{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: name(c), Annotations: map[string]string{}},
		Spec:       map[string]any{"http": rules},
	}}
	if class, ok := users.Spec["ingressClassName"]; ok {
		out.Spec["ingressClassName"] = class
	}
	if class, ok := users.Annotations[classAnnotation]; ok {
		out.Annotations[classAnnotation] = class
	}
	route.Owner().Mark(out)
	return out, nil
}

// classAnnotation is the older way to say which controller a route is for.
const classAnnotation = "kubernetes.io/ingress.class"

// get reads from the cache, nil where there is no such object.
func (r *Router) get(ctx context.Context, namespace, name string) (*ApisixRoute, error) {
	out := &ApisixRoute{}
	found, err := custom.Get(ctx, r.reader, gvk, client.ObjectKey{Namespace: namespace, Name: name}, out)
	if err != nil || !found {
		return nil, err
	}
	return out, nil
}

// name is that of our ApisixRoute, which is Flagger's. It is empty where the spec names no route, so that nothing is found.
func name(c *v1beta1.Canary) string {
	if c.Spec.RouteRef == nil || c.Spec.RouteRef.Name == "" {
		return ""
	}
	apex, _, _ := c.ServiceNames()
	return c.Spec.RouteRef.Name + "-" + apex + "-canary"
}

// trafficOf is what an ApisixRoute has APISIX do.
func trafficOf(c *v1beta1.Canary, live *ApisixRoute) providers.Traffic {
	_, primary, canary := c.ServiceNames()
	var routes []shares.Read
	for _, rule := range rulesOf(live.Spec) {
		var r shares.Read
		list, _ := rule["backends"].([]any)
		for _, one := range list {
			backend, _ := one.(map[string]any)
			weight, ok := backend["weight"].(int64)
			if !ok {
				weight = defaultWeight
			}
			switch r.Total += weight; backend["serviceName"] {
			case primary:
				r.ToPrimary, r.Primary = true, r.Primary+weight
			case canary:
				r.ToCanary, r.Canary = true, r.Canary+weight
			}
		}
		routes = append(routes, r)
	}
	traffic, _ := shares.Of(routes)
	return traffic
}
