package gateway

import (
	"k8s.io/utils/ptr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Parents writes the references of a spec as those of a route, with what the API
// server would fill in.
func Parents(refs []v1beta1.ParentReference) []gatewayv1.ParentReference {
	out := make([]gatewayv1.ParentReference, len(refs))
	for i, ref := range refs {
		out[i] = gatewayv1.ParentReference{
			Group:       new(gatewayv1.Group(ptr.Deref(ref.Group, gatewayv1.GroupName))),
			Kind:        new(gatewayv1.Kind(ptr.Deref(ref.Kind, "Gateway"))),
			Namespace:   (*gatewayv1.Namespace)(ref.Namespace),
			Name:        gatewayv1.ObjectName(ref.Name),
			SectionName: (*gatewayv1.SectionName)(ref.SectionName),
			Port:        ref.Port,
		}
	}
	return out
}

// SameParent tells whether two references of routes in a namespace are to the same object
// and, where both say, the same part of it.
func SameParent(a, b gatewayv1.ParentReference, namespace string) bool {
	return sameParent(a, b, namespace)
}
