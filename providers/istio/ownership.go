package istio

import (
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

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
