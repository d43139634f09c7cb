package traefik

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var groupVersion = schema.GroupVersion{Group: "traefik.io", Version: "v1alpha1"}

// AddToScheme registers Traefik's kind, as far as this package knows it.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(groupVersion, &TraefikService{}, &TraefikServiceList{})
	metav1.AddToGroupVersion(s, groupVersion)
	return nil
}

// TraefikService is what of Traefik's kind we read and write: an abstraction that IngressRoutes
// lead to. Source: https://doc.traefik.io/traefik/reference/routing-configuration/kubernetes/crd/http/traefikservice/
type TraefikService struct { //nolint:revive // that is the name of the kind
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is where requests go.
	Spec Spec `json:"spec"`
}

// Spec is where requests go.
type Spec struct {
	// Weighted shares requests out.
	Weighted *Weighted `json:"weighted,omitempty"`
}

// Weighted shares requests out between Services.
type Weighted struct {
	// Services are the Services with their weights.
	Services []Service `json:"services,omitempty"`
}

// Service is one Service of several.
type Service struct {
	// Kind is empty, or Service, for a Service of Kubernetes.
	Kind string `json:"kind,omitempty"`
	// Name and Namespace are those of the Service.
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
	// Port is a port of the Service.
	Port int32 `json:"port,omitempty"`
	// Weight is in relation to the sum of all; nil means 1.
	Weight *int32 `json:"weight,omitempty"`
}

// TraefikServiceList is a list of TraefikServices.
type TraefikServiceList struct { //nolint:revive // that is the name of the kind
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []TraefikService `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (s *TraefikService) DeepCopyObject() runtime.Object {
	out := &TraefikService{TypeMeta: s.TypeMeta, ObjectMeta: *s.ObjectMeta.DeepCopy()}
	if s.Spec.Weighted == nil {
		return out
	}
	out.Spec.Weighted = &Weighted{}
	for _, service := range s.Spec.Weighted.Services {
		if service.Weight != nil {
			service.Weight = new(*service.Weight)
		}
		out.Spec.Weighted.Services = append(out.Spec.Weighted.Services, service)
	}
	return out
}

// DeepCopyObject implements runtime.Object.
func (l *TraefikServiceList) DeepCopyObject() runtime.Object {
	out := &TraefikServiceList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy()}
	for i := range l.Items {
		if s, ok := l.Items[i].DeepCopyObject().(*TraefikService); ok {
			out.Items = append(out.Items, *s)
		}
	}
	return out
}
