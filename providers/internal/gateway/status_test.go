package gateway

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

func said(parent gatewayv1.ParentReference, conditions ...metav1.Condition) gatewayv1.RouteParentStatus {
	return gatewayv1.RouteParentStatus{ParentRef: parent, ControllerName: "example.com/controller", Conditions: conditions}
}

func condition3(kind string, is metav1.ConditionStatus, generation int64) metav1.Condition {
	return metav1.Condition{Type: kind, Status: is, Reason: "Because", Message: "of this", ObservedGeneration: generation}
}

func TestVerdict(t *testing.T) {
	public := Parents([]v1beta1.ParentReference{{Name: "public", Namespace: new("infra"), SectionName: new("https")}})[0]
	private := Parents([]v1beta1.ParentReference{{Name: "private"}})[0]
	apex := Parents([]v1beta1.ParentReference{{Group: new(""), Kind: new("Service"), Name: "podinfo", Port: new(int32(80))}})[0]
	accepted, resolved := condition3("Accepted", "True", 3), condition3("ResolvedRefs", "True", 4)
	well := []metav1.Condition{accepted, resolved}
	for name, tc := range map[string]struct {
		parents []gatewayv1.ParentReference
		status  []gatewayv1.RouteParentStatus
		ignored bool
		want    string // a part of it
		final   bool
	}{
		"accepted":           {parents: []gatewayv1.ParentReference{public}, status: []gatewayv1.RouteParentStatus{said(public, well...)}},
		"nothing said":       {parents: []gatewayv1.ParentReference{public}, want: "Gateway infra/public has not said yet"},
		"one of two":         {parents: []gatewayv1.ParentReference{public, private}, status: []gatewayv1.RouteParentStatus{said(public, well...)}, want: "Gateway private has not said yet"},
		"both":               {parents: []gatewayv1.ParentReference{public, private}, status: []gatewayv1.RouteParentStatus{said(private, well...), said(public, well...)}},
		"half":               {parents: []gatewayv1.ParentReference{public}, status: []gatewayv1.RouteParentStatus{said(public, accepted)}, want: "example.com/controller of Gateway infra/public has not said yet whether the route is ResolvedRefs"},
		"of an older one":    {parents: []gatewayv1.ParentReference{public}, status: []gatewayv1.RouteParentStatus{said(public, condition3("Accepted", "True", 2), resolved)}, want: "has not looked at generation 3"},
		"of no generation":   {parents: []gatewayv1.ParentReference{public}, status: []gatewayv1.RouteParentStatus{said(public, condition3("Accepted", "True", 0), condition3("ResolvedRefs", "True", 0))}},
		"refused":            {parents: []gatewayv1.ParentReference{public}, status: []gatewayv1.RouteParentStatus{said(public, accepted, condition3("ResolvedRefs", "False", 3))}, want: "Gateway infra/public: ResolvedRefs is False (Because): of this", final: true},
		"unknown":            {parents: []gatewayv1.ParentReference{public}, status: []gatewayv1.RouteParentStatus{said(public, condition3("Accepted", "Unknown", 3), resolved)}, want: "Accepted is Unknown"},
		"pending":            {parents: []gatewayv1.ParentReference{public}, status: []gatewayv1.RouteParentStatus{said(public, metav1.Condition{Type: "Accepted", Status: "False", Reason: "Pending", ObservedGeneration: 3})}, want: "Accepted is False (Pending)"},
		"refused once":       {parents: []gatewayv1.ParentReference{public}, status: []gatewayv1.RouteParentStatus{said(public, condition3("Accepted", "False", 2), resolved)}, want: "has not looked at generation 3"},
		"refused, sometime":  {parents: []gatewayv1.ParentReference{public}, status: []gatewayv1.RouteParentStatus{said(public, condition3("Accepted", "False", 0))}, want: "Accepted is False"},
		"rules were dropped": {parents: []gatewayv1.ParentReference{public}, status: []gatewayv1.RouteParentStatus{said(public, accepted, resolved, condition3("PartiallyInvalid", "True", 3))}, want: "PartiallyInvalid is True (Because): of this", final: true},
		"were dropped once":  {parents: []gatewayv1.ParentReference{public}, status: []gatewayv1.RouteParentStatus{said(public, accepted, resolved, condition3("PartiallyInvalid", "True", 2))}},
		"none was dropped":   {parents: []gatewayv1.ParentReference{public}, status: []gatewayv1.RouteParentStatus{said(public, accepted, resolved, condition3("PartiallyInvalid", "False", 3))}},
		"refused by one":     {parents: []gatewayv1.ParentReference{public}, status: []gatewayv1.RouteParentStatus{said(public, condition3("Accepted", "False", 3)), said(public, well...)}},
		"another is to come": {parents: []gatewayv1.ParentReference{public}, status: []gatewayv1.RouteParentStatus{said(public, condition3("Accepted", "False", 3)), said(public)}, want: "has not said yet"},
		"by another":         {parents: []gatewayv1.ParentReference{public}, status: []gatewayv1.RouteParentStatus{said(public), said(public, well...)}},
		"another section":    {parents: []gatewayv1.ParentReference{public}, status: []gatewayv1.RouteParentStatus{said(gatewayv1.ParentReference{Name: "public", Namespace: public.Namespace, SectionName: new(gatewayv1.SectionName("http"))}, well...)}, want: "has not said yet"},
		"another namespace":  {parents: []gatewayv1.ParentReference{private}, status: []gatewayv1.RouteParentStatus{said(gatewayv1.ParentReference{Name: "private", Namespace: public.Namespace}, well...)}, want: "has not said yet"},
		"spelled out":        {parents: []gatewayv1.ParentReference{private}, status: []gatewayv1.RouteParentStatus{said(gatewayv1.ParentReference{Name: "private", Namespace: new(gatewayv1.Namespace("test"))}, well...)}},
		"core and no port":   {parents: []gatewayv1.ParentReference{apex}, status: []gatewayv1.RouteParentStatus{said(gatewayv1.ParentReference{Group: new(gatewayv1.Group("core")), Kind: apex.Kind, Name: "podinfo"}, well...)}},
		"another port":       {parents: []gatewayv1.ParentReference{apex}, status: []gatewayv1.RouteParentStatus{said(gatewayv1.ParentReference{Group: apex.Group, Kind: apex.Kind, Name: "podinfo", Port: new(int32(81))}, well...)}, want: "Service podinfo has not said yet"},
		"a Gateway of name":  {parents: []gatewayv1.ParentReference{apex}, status: []gatewayv1.RouteParentStatus{said(gatewayv1.ParentReference{Name: "podinfo"}, well...)}, want: "has not said yet"},
		"status is ignored":  {parents: []gatewayv1.ParentReference{public}, ignored: true},
		"nothing to ask for": {},
	} {
		t.Run(name, func(t *testing.T) {
			c := canary()
			if tc.ignored {
				c.Annotations = map[string]string{StatusAnnotation: StatusIgnored}
			}
			got := verdictOf(c, tc.status, tc.parents, 3)
			if (got.against == "") != (tc.want == "") || !strings.Contains(got.against, tc.want) || got.final != tc.final {
				t.Errorf("got %+v, want %q, final: %t", got, tc.want, tc.final)
			}
		})
	}
}
