package kuma

import (
	"context"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/custom"
)

var gvk = schema.GroupVersionKind{Group: "kuma.io", Version: "v1alpha1", Kind: "TrafficRoute"}

// AddToScheme registers Kuma's kind.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(gvk.GroupVersion(), &TrafficRoute{}, &TrafficRouteList{})
	metav1.AddToGroupVersion(s, gvk.GroupVersion())
	return nil
}

// TrafficRoute is Kuma's kind of route, which is in no namespace. Source: https://kuma.io/docs/2.9.x/policies/traffic-route/
type TrafficRoute struct {
	custom.Resource `json:",inline"`

	// Mesh is the name of the mesh that it is for; empty means default.
	Mesh string `json:"mesh,omitempty"`
}

// TrafficRouteList is a list of TrafficRoutes.
type TrafficRouteList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []TrafficRoute `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (r *TrafficRoute) DeepCopyObject() runtime.Object {
	return &TrafficRoute{Resource: r.DeepCopy(), Mesh: r.Mesh}
}

// DeepCopyObject implements runtime.Object.
func (l *TrafficRouteList) DeepCopyObject() runtime.Object {
	out := &TrafficRouteList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy()}
	for i := range l.Items {
		out.Items = append(out.Items, TrafficRoute{Resource: l.Items[i].DeepCopy(), Mesh: l.Items[i].Mesh})
	}
	return out
}

// About tells which Canaries a TrafficRoute concerns: those of the Services that its requests are for.
func About() *providers.About {
	return &providers.About{
		Services: func(_ context.Context, _ client.Reader, o client.Object) (out []types.NamespacedName) {
			r, ok := o.(*TrafficRoute)
			if !ok {
				return nil
			}
			for _, service := range destinations(r.Spec) {
				// NAME_NAMESPACE_svc_PORT; neither name has a _.
				if parts := strings.Split(service, "_"); len(parts) > 1 {
					out = append(out, types.NamespacedName{Namespace: parts[1], Name: parts[0]})
				}
			}
			return out
		},
		Alike: func(before, after client.Object) bool {
			a, isRoute := before.(*TrafficRoute)
			b, areRoutes := after.(*TrafficRoute)
			return isRoute && areRoutes && a.Mesh == b.Mesh && equality.Semantic.DeepEqual(a.Spec, b.Spec)
		},
	}
}
