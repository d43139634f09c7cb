package apisix

import (
	"context"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/custom"
)

var gvk = schema.GroupVersionKind{Group: "apisix.apache.org", Version: "v2", Kind: "ApisixRoute"}

// AddToScheme registers APISIX's kind.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(gvk.GroupVersion(), &ApisixRoute{}, &ApisixRouteList{})
	metav1.AddToGroupVersion(s, gvk.GroupVersion())
	return nil
}

// ApisixRoute is APISIX's kind of route.
// Source: https://apisix.apache.org/docs/ingress-controller/reference/api-reference/#apisixroute
type ApisixRoute struct { //nolint:revive // that is the name of the kind
	custom.Resource `json:",inline"`
}

// ApisixRouteList is a list of ApisixRoutes.
type ApisixRouteList struct { //nolint:revive // that is the name of the kind
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ApisixRoute `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (r *ApisixRoute) DeepCopyObject() runtime.Object { return &ApisixRoute{Resource: r.DeepCopy()} }

// DeepCopyObject implements runtime.Object.
func (l *ApisixRouteList) DeepCopyObject() runtime.Object {
	out := &ApisixRouteList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy()}
	for i := range l.Items {
		out.Items = append(out.Items, ApisixRoute{Resource: l.Items[i].DeepCopy()})
	}
	return out
}

// About tells which Canaries an ApisixRoute concerns: those of the Services that it leads to.
func About() *providers.About {
	return &providers.About{
		Services: func(_ context.Context, _ client.Reader, o client.Object) (out []types.NamespacedName) {
			r, ok := o.(*ApisixRoute)
			if !ok {
				return nil
			}
			for _, rule := range rulesOf(r.Spec) {
				for _, name := range backends(rule) {
					out = append(out, types.NamespacedName{Namespace: r.Namespace, Name: name})
				}
			}
			return out
		},
		Alike: func(before, after client.Object) bool {
			a, isRoute := before.(*ApisixRoute)
			b, areRoutes := after.(*ApisixRoute)
			return isRoute && areRoutes && equality.Semantic.DeepEqual(a.Spec, b.Spec) && equality.Semantic.DeepEqual(a.Status, b.Status)
		},
	}
}
