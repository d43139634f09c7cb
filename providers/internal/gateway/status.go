package gateway

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers/internal/gateway/rules"
)

const (
	// StatusAnnotation set to [StatusIgnored] on a Canary has its route count as soon as it
	// is stored, for meshes whose controller never says that it has accepted a route.
	StatusAnnotation = "sluice.dev/route-status"
	// StatusIgnored is the value of StatusAnnotation.
	StatusIgnored = "ignored"
)

// verdict is what controllers say of a route.
type verdict struct {
	// against is why the route does not count yet, empty where it does.
	against string
	// final is true where a controller has looked at the route as it is now and will not
	// carry it out, so that it is no use to wait.
	final bool
}

// verdictOf says whether a route of that generation counts, which it does when each
// of its parents has a controller that has accepted all of it and found its backends.
func verdictOf(c *v1beta1.Canary, status []gatewayv1.RouteParentStatus, parents []gatewayv1.ParentReference, generation int64) verdict {
	if c.Annotations[StatusAnnotation] == StatusIgnored {
		return verdict{}
	}
	for _, parent := range parents {
		if of := verdictOn(parent, status, c.Namespace, generation); of != (verdict{}) {
			return of
		}
	}
	return verdict{}
}

// verdictOn is that of the controllers of one parent. One of them has to accept the route, and as
// long as one may do so yet nothing is final.
func verdictOn(parent gatewayv1.ParentReference, status []gatewayv1.RouteParentStatus, namespace string, generation int64) verdict {
	of := verdict{against: nameOf(parent) + " has not said yet whether it accepts the route"}
	spoken := false
	for _, said := range status {
		if !sameParent(said.ParentRef, parent, namespace) {
			continue
		}
		one := refusal(said, parent, generation)
		if one == (verdict{}) {
			return one
		}
		if !spoken || !one.final {
			of, spoken = one, true
		}
	}
	return of
}

// refusal says what one controller has against a route, or has not said yet. Linkerd's
// controller never says which generation it speaks of, and is taken at its word. What it
// says against a route may be of an earlier one, though, so that it is not final.
func refusal(said gatewayv1.RouteParentStatus, parent gatewayv1.ParentReference, generation int64) verdict {
	for _, kind := range []gatewayv1.RouteConditionType{gatewayv1.RouteConditionAccepted, gatewayv1.RouteConditionResolvedRefs} {
		condition := meta.FindStatusCondition(said.Conditions, string(kind))
		switch {
		case condition == nil:
			return verdict{against: fmt.Sprintf("%s of %s has not said yet whether the route is %s", said.ControllerName, nameOf(parent), kind)}
		case condition.ObservedGeneration != 0 && condition.ObservedGeneration < generation:
			return verdict{against: fmt.Sprintf("%s of %s has not looked at generation %d of the route yet", said.ControllerName, nameOf(parent), generation)}
		case condition.Status != metav1.ConditionTrue:
			pending := condition.Status != metav1.ConditionFalse || condition.Reason == string(gatewayv1.RouteReasonPending)
			return verdict{spelled(parent, condition), !pending && generation > 0 && condition.ObservedGeneration == generation}
		}
	}
	// Of a route that is partly invalid some rules are not in effect, or what they were before.
	partly := meta.FindStatusCondition(said.Conditions, string(gatewayv1.RouteConditionPartiallyInvalid))
	if partly != nil && partly.Status == metav1.ConditionTrue && (partly.ObservedGeneration == 0 || partly.ObservedGeneration >= generation) {
		return verdict{spelled(parent, partly), generation > 0 && partly.ObservedGeneration == generation}
	}
	return verdict{}
}

func spelled(parent gatewayv1.ParentReference, condition *metav1.Condition) string {
	return fmt.Sprintf("%s: %s is %s (%s): %s", nameOf(parent), condition.Type, condition.Status, condition.Reason, condition.Message)
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
		ptr.Deref(said.Kind, "Gateway") == ptr.Deref(parent.Kind, "Gateway") &&
		ptr.Deref(said.Namespace, gatewayv1.Namespace(namespace)) == ptr.Deref(parent.Namespace, gatewayv1.Namespace(namespace)) &&
		(said.SectionName == nil || ptr.Deref(parent.SectionName, "") == *said.SectionName) &&
		(said.Port == nil || parent.Port == nil || *said.Port == *parent.Port)
}

func groupOf(p gatewayv1.ParentReference) gatewayv1.Group {
	g := ptr.Deref(p.Group, gatewayv1.GroupName)
	if rules.IsCore(g) {
		return ""
	}
	return g
}
