package gateway

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

const (
	// StatusAnnotation set to [StatusIgnored] on a Canary has its route count as soon as it
	// is stored, for meshes whose controller never says that it has accepted a route.
	StatusAnnotation = "sluice.dev/route-status"
	// StatusIgnored is the value of StatusAnnotation.
	StatusIgnored = "ignored"
)

// unaccepted says why a route of that generation does not count yet, empty when each
// of its parents has a controller that has accepted it and found its backends.
func unaccepted(c *v1beta1.Canary, status []gatewayv1.RouteParentStatus, parents []gatewayv1.ParentReference, generation int64) string {
	if c.Annotations[StatusAnnotation] == StatusIgnored {
		return ""
	}
	for _, parent := range parents {
		detail := nameOf(parent) + " has not said yet whether it accepts the route"
		for _, said := range status {
			if !sameParent(said.ParentRef, parent, c.Namespace) {
				continue
			}
			if detail = refusal(said, parent, generation); detail == "" {
				break
			}
		}
		if detail != "" {
			return detail
		}
	}
	return ""
}

// refusal says what one controller has against a route, or has not said yet. Linkerd's
// controller never says which generation it speaks of, and is taken at its word.
func refusal(said gatewayv1.RouteParentStatus, parent gatewayv1.ParentReference, generation int64) string {
	for _, kind := range []gatewayv1.RouteConditionType{gatewayv1.RouteConditionAccepted, gatewayv1.RouteConditionResolvedRefs} {
		condition := meta.FindStatusCondition(said.Conditions, string(kind))
		switch {
		case condition == nil:
			return fmt.Sprintf("%s of %s has not said yet whether the route is %s", said.ControllerName, nameOf(parent), kind)
		case condition.ObservedGeneration != 0 && condition.ObservedGeneration < generation:
			return fmt.Sprintf("%s of %s has not looked at generation %d of the route yet", said.ControllerName, nameOf(parent), generation)
		case condition.Status != metav1.ConditionTrue:
			return fmt.Sprintf("%s: %s is %s (%s): %s", nameOf(parent), kind, condition.Status, condition.Reason, condition.Message)
		}
	}
	return ""
}

func nameOf(p gatewayv1.ParentReference) string {
	kind := "Gateway"
	if p.Kind != nil {
		kind = string(*p.Kind)
	}
	if p.Namespace != nil {
		return fmt.Sprintf("%s %s/%s", kind, *p.Namespace, p.Name)
	}
	return kind + " " + string(p.Name)
}

// sameParent compares what a controller says it speaks of with a parent of a route in
// that namespace. Some leave the port out, or spell out the empty group.
func sameParent(said, parent gatewayv1.ParentReference, namespace string) bool {
	return string(said.Name) == string(parent.Name) &&
		groupOf(said) == groupOf(parent) &&
		or(said.Kind, "Gateway") == or(parent.Kind, "Gateway") &&
		or(said.Namespace, gatewayv1.Namespace(namespace)) == or(parent.Namespace, gatewayv1.Namespace(namespace)) &&
		(said.SectionName == nil || or(parent.SectionName, "") == *said.SectionName) &&
		(said.Port == nil || parent.Port == nil || *said.Port == *parent.Port)
}

func groupOf(p gatewayv1.ParentReference) gatewayv1.Group {
	g := or(p.Group, gatewayv1.GroupName)
	if isCore(g) {
		return ""
	}
	return g
}

func or[T any](p *T, fallback T) T {
	if p == nil {
		return fallback
	}
	return *p
}
