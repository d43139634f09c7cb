package istio

import (
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers/internal/ownership"
)

// mark marks an intent as the Canary's.
func (r *Router) mark(object client.Object, canary *v1beta1.Canary) {
	if r.remote {
		ownership.MarkRemote(object, canary)
		return
	}
	ownership.Mark(object, canary)
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
