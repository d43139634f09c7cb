// Package knative has what of Knative's Service the operator and its router read: a workload whose revisions are Knative's
// own, and which divides its requests between them itself. Its CRD is Knative's.
//
// +kubebuilder:skip
package knative

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

const (
	// PrimaryAnnotation is on a Service and holds the name of the revision that serves. It is Flagger's.
	PrimaryAnnotation = "flagger.app/primary-revision"

	group = "serving.knative.dev"
	// format is that of revisions in a status, to tell them from hashes of pod templates.
	format = "kn-"
)

// GVK is the kind of a Service.
var GVK = schema.GroupVersionKind{Group: group, Version: "v1", Kind: "Service"}

// AddToScheme registers Knative's kind.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GVK.GroupVersion(), &Service{}, &ServiceList{}, &Revision{}, &RevisionList{})
	metav1.AddToGroupVersion(s, GVK.GroupVersion())
	return nil
}

// Is tells whether the target of a Canary is a Service of Knative.
func Is(c *v1beta1.Canary) bool {
	return c.Spec.TargetRef.Kind == GVK.Kind && strings.HasPrefix(c.Spec.TargetRef.APIVersion, group+"/")
}

// Service is Knative's. Source: https://knative.dev/docs/serving/reference/serving-api/
type Service struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is as in JSON; whole numbers are int64.
	Spec map[string]any `json:"spec,omitempty"`
	// Status is what Knative says of it.
	Status Status `json:"status,omitzero"`
}

// Status is what Knative says of a Service.
type Status struct {
	// ObservedGeneration is the generation that it is about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions are ConfigurationsReady, RoutesReady and Ready.
	Conditions []Condition `json:"conditions,omitempty"`
	// LatestCreatedRevisionName is the revision of the present template.
	LatestCreatedRevisionName string `json:"latestCreatedRevisionName,omitempty"`
	// LatestReadyRevisionName is the newest that can serve.
	LatestReadyRevisionName string `json:"latestReadyRevisionName,omitempty"`
	// Traffic is how requests are divided.
	Traffic []Traffic `json:"traffic,omitempty"`
}

// Condition is one of a Service.
type Condition struct {
	// Type, Status, Reason and Message are as elsewhere.
	Type    string                 `json:"type"`
	Status  metav1.ConditionStatus `json:"status"`
	Reason  string                 `json:"reason,omitempty"`
	Message string                 `json:"message,omitempty"`
}

// Traffic is the share of a revision.
type Traffic struct {
	// RevisionName is the revision.
	RevisionName string `json:"revisionName,omitempty"`
	// LatestRevision says that it is the newest.
	LatestRevision *bool `json:"latestRevision,omitempty"`
	// Percent is its share; nil for 0.
	Percent *int64 `json:"percent,omitempty"`
}

// ServiceList is a list of Services.
type ServiceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Service `json:"items"`
}

// Canary is the revision of the present template, and Primary that which serves, as a status names them; empty where there
// is none.
func (s *Service) Canary() string { return InStatus(s.Status.LatestCreatedRevisionName) }

// Primary is the revision that serves, like Canary.
func (s *Service) Primary() string { return InStatus(s.Annotations[PrimaryAnnotation]) }

// InStatus is how a status names a revision of Knative, empty for none.
func InStatus(revision string) string {
	if revision == "" {
		return ""
	}
	return format + revision
}

// Name is Knative's name of a revision in a status, empty for what is none of Knative's.
func Name(revision string) string {
	name, ok := strings.CutPrefix(revision, format)
	if !ok {
		return ""
	}
	return name
}

// Condition is the condition of a type, its zero value where there is none.
func (s *Service) Condition(kind string) Condition {
	if i := slices.IndexFunc(s.Status.Conditions, func(c Condition) bool { return c.Type == kind }); i >= 0 {
		return s.Status.Conditions[i]
	}
	return Condition{Type: kind, Status: metav1.ConditionUnknown, Message: "Knative has not said yet"}
}

// DeepCopyObject implements runtime.Object.
func (s *Service) DeepCopyObject() runtime.Object {
	out := &Service{TypeMeta: s.TypeMeta, ObjectMeta: *s.ObjectMeta.DeepCopy(), Status: s.Status}
	if s.Spec != nil {
		out.Spec = runtime.DeepCopyJSON(s.Spec)
	}
	out.Status.Conditions = slices.Clone(s.Status.Conditions)
	out.Status.Traffic = slices.Clone(s.Status.Traffic)
	for i, t := range out.Status.Traffic {
		if t.LatestRevision != nil {
			out.Status.Traffic[i].LatestRevision = new(*t.LatestRevision)
		}
		if t.Percent != nil {
			out.Status.Traffic[i].Percent = new(*t.Percent)
		}
	}
	return out
}

// DeepCopyObject implements runtime.Object.
func (l *ServiceList) DeepCopyObject() runtime.Object {
	out := &ServiceList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy()}
	for i := range l.Items {
		out.Items = append(out.Items, *l.Items[i].DeepCopyObject().(*Service)) //nolint:forcetypeassert // a copy is of the same type
	}
	return out
}
