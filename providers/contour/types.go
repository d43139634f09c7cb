package contour

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-delivery/sluice/providers/internal/custom"
)

var gvk = schema.GroupVersionKind{Group: "projectcontour.io", Version: "v1", Kind: "HTTPProxy"}

// AddToScheme registers Contour's kind.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(gvk.GroupVersion(), &HTTPProxy{}, &HTTPProxyList{})
	metav1.AddToGroupVersion(s, gvk.GroupVersion())
	return nil
}

// HTTPProxy is Contour's kind of route. Source: https://projectcontour.io/docs/main/config/api/
type HTTPProxy struct {
	custom.Resource `json:",inline"`
}

// HTTPProxyList is a list of HTTPProxies.
type HTTPProxyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []HTTPProxy `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (p *HTTPProxy) DeepCopyObject() runtime.Object { return &HTTPProxy{Resource: p.DeepCopy()} }

// DeepCopyObject implements runtime.Object.
func (l *HTTPProxyList) DeepCopyObject() runtime.Object {
	out := &HTTPProxyList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy()}
	for i := range l.Items {
		out.Items = append(out.Items, HTTPProxy{Resource: l.Items[i].DeepCopy()})
	}
	return out
}
