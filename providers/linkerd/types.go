package linkerd

import (
	"context"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/gateway"
)

// Versions of Linkerd's own kinds.
var (
	profileVersion = schema.GroupVersion{Group: "linkerd.io", Version: "v1alpha2"}
	policyVersion  = schema.GroupVersion{Group: "policy.linkerd.io", Version: "v1beta3"}
)

// AddToScheme registers Linkerd's own kinds, as far as this package knows them.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(profileVersion, &ServiceProfile{}, &ServiceProfileList{})
	metav1.AddToGroupVersion(s, profileVersion)
	s.AddKnownTypeWithName(policyVersion.WithKind("HTTPRoute"), &policyRoute{})
	s.AddKnownTypeWithName(policyVersion.WithKind("HTTPRouteList"), &policyRoutes{})
	metav1.AddToGroupVersion(s, policyVersion)
	return nil
}

// ServiceProfile is what of Linkerd's ServiceProfile we read and write. It has the name
// of the Service that it is for, fully qualified. Source:
// https://linkerd.io/2/reference/service-profiles/
type ServiceProfile struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what clients of the Service are told.
	Spec ServiceProfileSpec `json:"spec"`
}

// ServiceProfileSpec is what clients of a Service are told.
type ServiceProfileSpec struct {
	// Routes has to be there, be it empty. What is in it is not ours.
	Routes *[]struct{} `json:"routes,omitempty"`
	// DstOverrides say where requests go instead of to the Service.
	DstOverrides []WeightedDst `json:"dstOverrides,omitempty"`
}

// WeightedDst is one of several places for requests.
type WeightedDst struct {
	// Authority is the name of a Service, fully qualified; without a port, that of the request.
	Authority string `json:"authority"`
	// Weight is in relation to the sum of all.
	Weight resource.Quantity `json:"weight"`
}

// ServiceProfileList is a list of ServiceProfiles.
type ServiceProfileList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ServiceProfile `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (p *ServiceProfile) DeepCopyObject() runtime.Object {
	out := &ServiceProfile{TypeMeta: p.TypeMeta, ObjectMeta: *p.ObjectMeta.DeepCopy()}
	if p.Spec.Routes != nil {
		out.Spec.Routes = new(make([]struct{}, len(*p.Spec.Routes)))
	}
	for _, d := range p.Spec.DstOverrides {
		out.Spec.DstOverrides = append(out.Spec.DstOverrides, WeightedDst{Authority: d.Authority, Weight: d.Weight.DeepCopy()})
	}
	return out
}

// DeepCopyObject implements runtime.Object.
func (l *ServiceProfileList) DeepCopyObject() runtime.Object {
	out := &ServiceProfileList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy()}
	for i := range l.Items {
		out.Items = append(out.Items, *l.Items[i].DeepCopyObject().(*ServiceProfile)) //nolint:forcetypeassert // its own type
	}
	return out
}

// policyRoute is Linkerd's own HTTPRoute, which has fewer fields than the Gateway API's and those
// by the same names. Source: https://linkerd.io/2/reference/httproute/
type policyRoute struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   gatewayv1.HTTPRouteSpec   `json:"spec"`
	Status gatewayv1.HTTPRouteStatus `json:"status,omitempty"`
}

type policyRoutes struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []policyRoute `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (r *policyRoute) DeepCopyObject() runtime.Object {
	return &policyRoute{TypeMeta: r.TypeMeta, ObjectMeta: *r.ObjectMeta.DeepCopy(), Spec: *r.Spec.DeepCopy(), Status: *r.Status.DeepCopy()}
}

// Parents implements gateway.Parented.
func (r *policyRoute) Parents() []gatewayv1.ParentReference { return r.Spec.ParentRefs }

// DeepCopyObject implements runtime.Object.
func (l *policyRoutes) DeepCopyObject() runtime.Object {
	out := &policyRoutes{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy()}
	for i := range l.Items {
		out.Items = append(out.Items, *l.Items[i].DeepCopyObject().(*policyRoute)) //nolint:forcetypeassert // its own type
	}
	return out
}

// policyKind is Linkerd's own HTTPRoute.
func policyKind() gateway.Kind {
	return gateway.Kind{
		GVK:     policyVersion.WithKind("HTTPRoute"),
		New:     func() client.Object { return &policyRoute{} },
		NewList: func() client.ObjectList { return &policyRoutes{} },
		Make: func(meta metav1.ObjectMeta, spec gatewayv1.HTTPRouteSpec) (client.Object, error) {
			return &policyRoute{ObjectMeta: meta, Spec: spec}, nil
		},
		Read: func(o client.Object) (gatewayv1.HTTPRouteSpec, []gatewayv1.RouteParentStatus) {
			r := o.(*policyRoute) //nolint:forcetypeassert // New has made it
			return r.Spec, r.Status.Parents
		},
	}
}

// Index is for providers.Watch: it has routes found by what they are attached to.
func Index(ctx context.Context, indexer client.FieldIndexer, kind client.Object) error {
	return gateway.Index(ctx, indexer, kind)
}

// About is for providers.Watch: it tells which Canaries a route of another name is a rival of.
func About() *providers.About { return gateway.About(policyKind()) }

// Kinds are those by which this package moves traffic, an empty object of each.
func Kinds() []client.Object { return []client.Object{&ServiceProfile{}, &policyRoute{}} }
