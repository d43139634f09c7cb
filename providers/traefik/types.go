package traefik

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
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
	// More says that there is something else, which is read and not written.
	More bool `json:"-"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Spec) UnmarshalJSON(raw []byte) error {
	type plain Spec
	more, err := decode(raw, (*plain)(s), "weighted")
	s.More = more
	return err
}

// Weighted shares requests out between Services.
type Weighted struct {
	// Services are the Services with their weights.
	Services []Service `json:"services,omitempty"`
	// More says that there is something else, such as sticky sessions, which is read and not written.
	More bool `json:"-"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (w *Weighted) UnmarshalJSON(raw []byte) error {
	type plain Weighted
	more, err := decode(raw, (*plain)(w), "services")
	w.More = more
	return err
}

// Service is one Service of several.
type Service struct {
	// Kind is empty, or Service, for a Service of Kubernetes.
	Kind string `json:"kind,omitempty"`
	// Name and Namespace are those of the Service.
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
	// Port is a port of the Service, by its number or its name.
	Port *intstr.IntOrString `json:"port,omitempty"`
	// Weight is in relation to the sum of all; nil means 1.
	Weight *int32 `json:"weight,omitempty"`
	// More says that there is something else, such as the scheme, which is read and not written.
	More bool `json:"-"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Service) UnmarshalJSON(raw []byte) error {
	type plain Service
	more, err := decode(raw, (*plain)(s), "kind", "name", "namespace", "port", "weight")
	s.More = more
	return err
}

// decode reads what there is by the known names, and tells whether there is anything else.
func decode(raw []byte, into any, known ...string) (more bool, err error) {
	if err := json.Unmarshal(raw, into); err != nil {
		return false, err
	}
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &all); err != nil {
		return false, err
	}
	for _, name := range known {
		delete(all, name)
	}
	return len(all) > 0, nil
}

// TraefikServiceList is a list of TraefikServices.
type TraefikServiceList struct { //nolint:revive // that is the name of the kind
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []TraefikService `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (s *TraefikService) DeepCopyObject() runtime.Object {
	out := &TraefikService{TypeMeta: s.TypeMeta, ObjectMeta: *s.ObjectMeta.DeepCopy(), Spec: Spec{More: s.Spec.More}}
	if s.Spec.Weighted == nil {
		return out
	}
	out.Spec.Weighted = &Weighted{More: s.Spec.Weighted.More}
	for _, service := range s.Spec.Weighted.Services {
		if service.Port != nil {
			service.Port = new(*service.Port)
		}
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
