package istio

import (
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/providers"
)

// owner is the Canary as the owner of the objects that move its traffic.
func (r *Router) owner(route providers.Route) ownership.Owner {
	if r.remote {
		return ownership.Remote(route.Canary)
	}
	return route.Owner()
}

func emptyLike(object client.Object) client.Object {
	if _, ok := object.(*networkingv1.DestinationRule); ok {
		return &networkingv1.DestinationRule{}
	}
	return &networkingv1.VirtualService{}
}

func kindOf(object client.Object) string {
	if _, ok := object.(*networkingv1.DestinationRule); ok {
		return "DestinationRule"
	}
	return "VirtualService"
}
