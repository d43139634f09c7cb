// Package gatewayapi moves the traffic of Gateways with HTTPRoutes and GRPCRoutes of
// the Gateway API.
package gatewayapi

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/gateway"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// Index is for providers.Watch: it has routes found by what they are attached to.
func Index(ctx context.Context, indexer client.FieldIndexer, kind client.Object) error {
	return gateway.Index(ctx, indexer, kind)
}

// About is for providers.Watch: it tells which Canaries a route of another name is a rival of.
func About() *providers.About {
	return gateway.About(gateway.HTTPRoute(), gateway.HTTPRouteV1Beta1(), gateway.GRPCRoute())
}

// New returns the router for the parents in spec.service.gatewayRefs. name is what
// users call it. It reads through c, an informer cache, and writes by a; live reads
// Gateways and their classes from the API server. The scheme
// of c needs gateway.networking.k8s.io in versions v1 and v1beta1, of which the
// router uses the newest that the cluster serves: the objects are the same.
func New(c client.Client, live client.Reader, a *ssa.Applier, name string) providers.Router {
	return gateway.New(c, a, gateway.Mesh{
		Name:    name,
		Can:     providers.Capabilities{Weighted: true, HeaderMatch: true, WeightedMatch: true, Mirror: true, SessionAffinity: true, TLS: true},
		HTTP:    []gateway.Kind{gateway.HTTPRoute(), gateway.HTTPRouteV1Beta1()},
		GRPC:    []gateway.Kind{gateway.GRPCRoute()},
		Parents: parents,
		Live:    live,
		Ignored: map[string]string{
			"gateways":      "the " + name + " provider goes by gatewayRefs",
			"delegation":    "routes of the Gateway API are not delegated to",
			"trafficPolicy": "routes of the Gateway API have none",
			"retries":       "routes of the Gateway API have none",
		},
		Hostnames: true,
	})
}

// parents are those that the spec names, else those that the user's route has.
func parents(c *v1beta1.Canary, users []gatewayv1.ParentReference) ([]gatewayv1.ParentReference, error) {
	if len(c.Spec.Service.GatewayRefs) > 0 {
		return gateway.Parents(c.Spec.Service.GatewayRefs), nil
	}
	if len(users) == 0 {
		return nil, &providers.InvalidError{
			Field: "spec.service.gatewayRefs", Value: "", Allowed: "at least one Gateway, or Service of a mesh, to attach the route to",
		}
	}
	return users, nil
}
