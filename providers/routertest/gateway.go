package routertest

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Accepted gives a route of the Gateway API the status of one that the controllers of all
// its parents have taken as it is now, and returns it.
func Accepted(o client.Object) client.Object {
	switch r := o.(type) {
	case *gatewayv1.HTTPRoute:
		r.Status.Parents = AcceptedBy(r.Spec.ParentRefs, r.Generation)
	case *gatewayv1.GRPCRoute:
		r.Status.Parents = AcceptedBy(r.Spec.ParentRefs, r.Generation)
	}
	return o
}

// Refused gives a route the status of one that the controllers of all its parents have looked at as it
// is now and will not carry out, and returns it.
func Refused(r *gatewayv1.HTTPRoute) client.Object {
	r.Status.Parents = AcceptedBy(r.Spec.ParentRefs, r.Generation)
	for i := range r.Status.Parents {
		accepted := &r.Status.Parents[i].Conditions[0]
		accepted.Status, accepted.Reason = metav1.ConditionFalse, string(gatewayv1.RouteReasonNotAllowedByListeners)
	}
	return r
}

// AcceptedBy is what controllers say of a route of that generation that is well.
func AcceptedBy(parents []gatewayv1.ParentReference, generation int64) []gatewayv1.RouteParentStatus {
	out := make([]gatewayv1.RouteParentStatus, len(parents))
	for i, parent := range parents {
		out[i] = gatewayv1.RouteParentStatus{ParentRef: parent, ControllerName: "example.com/controller"}
		for _, kind := range []gatewayv1.RouteConditionType{gatewayv1.RouteConditionAccepted, gatewayv1.RouteConditionResolvedRefs} {
			out[i].Conditions = append(out[i].Conditions, metav1.Condition{
				Type: string(kind), Status: metav1.ConditionTrue, Reason: string(kind), ObservedGeneration: generation,
				LastTransitionTime: metav1.Unix(1, 0),
			})
		}
	}
	return out
}
