// Package linkerd moves traffic with routes of the Gateway API whose parent is the apex
// Service, and with a ServiceProfile where the cluster has no such routes or the
// Service has a profile already, which Linkerd prefers.
package linkerd

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/gateway"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// Router is the providers.Router for Linkerd.
type Router struct {
	routes   *gateway.Router
	profiles *profiles
	// profiled is set once the cluster was seen to serve ServiceProfiles.
	profiled atomic.Bool
}

var _ providers.Router = (*Router)(nil)

// New returns a router that reads through c, an informer cache, and writes by
// a. The scheme of c needs gateway.networking.k8s.io in versions v1 and v1beta1,
// and what AddToScheme registers.
func New(c client.Client, a *ssa.Applier) *Router {
	return &Router{
		routes: gateway.New(c, a, gateway.Mesh{
			Name:        v1beta1.ProviderLinkerd,
			Can:         capabilities(),
			HTTP:        []gateway.Kind{gateway.HTTPRoute(), gateway.HTTPRouteV1Beta1(), policyKind()},
			GRPC:        []gateway.Kind{gateway.GRPCRoute()},
			Parents:     parents,
			Ignored:     ignores(),
			HTTPOnly:    true,
			Attached:    attached,
			Check:       check,
			Annotations: annotations,
		}),
		profiles: &profiles{client: c, applier: a},
	}
}

// ignores are the fields of spec.service that Linkerd does not act on.
func ignores() map[string]string {
	return map[string]string{
		"hosts":         "the linkerd provider routes what is for the apex Service, whatever its host",
		"gateways":      "the linkerd provider goes by the apex Service",
		"delegation":    "Linkerd has no delegation",
		"trafficPolicy": "Linkerd has none",
	}
}

func capabilities() providers.Capabilities {
	return providers.Capabilities{Weighted: true, HeaderMatch: true, WeightedMatch: true, SessionAffinity: true, ByAddress: true}
}

// Capabilities implements providers.Router. A ServiceProfile can do less, which Observe and
// Apply refuse.
func (*Router) Capabilities() providers.Capabilities { return capabilities() }

// Ignores implements providers.Ignorer.
func (r *Router) Ignores() map[string]string { return r.routes.Ignores() }

// Observe implements providers.Router.
func (r *Router) Observe(ctx context.Context, route providers.Route) (providers.State, error) {
	if !route.Canary.DeletionTimestamp.IsZero() {
		return r.observeDeleted(ctx, route)
	}
	router, err := r.choose(ctx, route.Canary)
	if err != nil {
		return providers.State{}, err
	}
	return router.Observe(ctx, route)
}

// Apply implements providers.Router.
func (r *Router) Apply(ctx context.Context, route providers.Route) error {
	router, err := r.choose(ctx, route.Canary)
	if err != nil {
		return err
	}
	return router.Apply(ctx, route)
}

// Release implements providers.Router. Whatever was made at some time is released.
func (r *Router) Release(ctx context.Context, route providers.Route) error {
	for _, router := range []providers.Router{r.routes, r.profiles} {
		if err := r.ifServed(router, func() error { return router.Release(ctx, route) }); err != nil {
			return err
		}
	}
	return nil
}

// observeDeleted says whether anything is left to release.
func (r *Router) observeDeleted(ctx context.Context, route providers.Route) (out providers.State, err error) {
	for _, router := range []providers.Router{r.profiles, r.routes} {
		err := r.ifServed(router, func() error {
			state, err := router.Observe(ctx, route)
			if !out.Exists {
				out = state
			}
			return err
		})
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// ifServed calls what needs the kinds of a router, unless the cluster does not have them.
func (r *Router) ifServed(router providers.Router, call func() error) error {
	if router == r.profiles {
		if served, err := r.servesProfiles(); err != nil || !served {
			return err
		}
	}
	if err := call(); !providers.IsNotInstalled(err) {
		return err
	}
	return nil
}

// choose takes a profile where there is one for the apex Service, as Linkerd goes by it
// and not by routes then; else a route where those are served; else a profile.
func (r *Router) choose(ctx context.Context, c *v1beta1.Canary) (providers.Router, error) {
	profiled, err := r.servesProfiles()
	if err != nil {
		return nil, err
	}
	if profiled {
		live, err := r.profiles.get(ctx, c)
		if err != nil {
			return nil, err
		}
		if live != nil {
			return r.profiles, nil
		}
	}
	_, err = r.routes.Served()
	switch {
	case err == nil:
		return r.routes, nil
	case providers.IsNotInstalled(err) && profiled:
		return r.profiles, nil
	default:
		return nil, err
	}
}

func (r *Router) servesProfiles() (bool, error) {
	if r.profiled.Load() {
		return true, nil
	}
	gvk := profileVersion.WithKind("ServiceProfile")
	_, err := r.profiles.client.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
	switch {
	case err == nil:
		r.profiled.Store(true)
		return true, nil
	case meta.IsNoMatchError(err):
		return false, nil
	default:
		return false, fmt.Errorf("look for ServiceProfiles: %w", err)
	}
}

// ofApex is a reference to the apex Service as a parent.
func ofApex(c *v1beta1.Canary) gatewayv1.ParentReference {
	apex, _, _ := c.ServiceNames()
	return gatewayv1.ParentReference{
		Group: new(gatewayv1.Group("")), Kind: new(gatewayv1.Kind("Service")), Name: gatewayv1.ObjectName(apex), Port: new(c.Spec.Service.Port),
	}
}

// attached tells whether a user's route is for requests to the apex Service. One for a Gateway
// has hostnames and rules that are for what comes in there, and meshed clients have others.
func attached(c *v1beta1.Canary, users []gatewayv1.ParentReference) bool {
	service := ofApex(c)
	return slices.ContainsFunc(users, func(p gatewayv1.ParentReference) bool { return gateway.SameParent(p, service, c.Namespace) })
}

// parents are those that the user's route or the spec has, and the apex Service.
func parents(c *v1beta1.Canary, users []gatewayv1.ParentReference) ([]gatewayv1.ParentReference, error) {
	service := ofApex(c)
	if len(c.Spec.Service.GatewayRefs) > 0 {
		users = gateway.Parents(c.Spec.Service.GatewayRefs)
	}
	if attached(c, users) {
		return users, nil
	}
	return append(slices.Clone(users), service), nil
}

// check refuses what Linkerd does not take from routes. Source:
// https://linkerd.io/2/reference/httproute/
func check(k gateway.Kind, route providers.Route) error {
	s := &route.Canary.Spec.Service
	if err := addressed(route); err != nil {
		return err
	}
	for _, f := range []struct {
		set        bool
		field, why string
	}{
		{s.Rewrite != nil, "spec.service.rewrite", "Linkerd rewrites no requests"},
		{s.CorsPolicy != nil, "spec.service.corsPolicy", "Linkerd has no cross-origin policy"},
		{len(s.Mirror) > 0, "spec.service.mirror", "Linkerd cannot mirror requests"},
		{
			k.GVK.Group == policyVersion.Group && setsAnswers(s.Headers),
			"spec.service.headers.response", "Linkerd's own HTTPRoute would set them in requests and not in answers: install the Gateway API",
		},
		{
			k.GVK.Group == policyVersion.Group && route.Canary.GetAnalysis().SessionAffinity != nil,
			"spec.analysis.sessionAffinity", "Linkerd's own HTTPRoute sets no headers in answers: install the Gateway API",
		},
	} {
		if f.set {
			return &providers.UnsupportedError{Router: v1beta1.ProviderLinkerd, Field: f.field, Why: f.why}
		}
	}
	return nil
}

// addressed refuses an apex Service that was there before and has no address: clients look up pods, and Linkerd goes by no
// route for those.
func addressed(route providers.Route) error {
	if route.ClusterIPs.Apex != corev1.ClusterIPNone || route.Canary.Spec.SkipAnalysis {
		return nil
	}
	apex, _, _ := route.Canary.ServiceNames()
	return &providers.UnsupportedError{
		Router: v1beta1.ProviderLinkerd, Field: "Service " + apex + ": clusterIP None",
		Why: "Linkerd finds the routes of a Service by its address, and what is for one without goes to the pod that the caller has looked up",
	}
}

// setsAnswers tells whether headers of answers are to be changed. What can't be read is refused
// elsewhere.
func setsAnswers(headers *v1beta1.RawObject) bool {
	read := struct {
		Response map[string]any `json:"response"`
	}{}
	return headers != nil && json.Unmarshal(headers.Raw, &read) == nil && len(read.Response) > 0
}
