package knative

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	// PromotedAnnotation is on a Service and holds the names of the revisions that have served, the last one first.
	PromotedAnnotation = "sluice.dev/promoted-revisions"
	// RevisionLabel is on the pods of a revision.
	RevisionLabel = group + "/revision"
	// ServiceLabel is on the revisions of a Service.
	ServiceLabel = group + "/service"

	// mostPromoted is how many revisions are remembered, as many as a Deployment keeps.
	mostPromoted = 10
)

// Revision is Knative's: a template that a Service has or had.
type Revision struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is that of its pods.
	Spec RevisionSpec `json:"spec,omitzero"`
	// Status is what Knative says of it.
	Status RevisionStatus `json:"status,omitzero"`
}

// RevisionSpec is what is read of the pods of a revision.
type RevisionSpec struct {
	// Containers are theirs.
	Containers []Container `json:"containers,omitempty"`
}

// Container is one of a pod.
type Container struct {
	// Image is what it runs.
	Image string `json:"image,omitempty"`
}

// RevisionStatus is what Knative says of a revision.
type RevisionStatus struct {
	// Conditions have Ready, which is true also of a revision that has no pods for want of requests.
	Conditions []Condition `json:"conditions,omitempty"`
}

// RevisionList is a list of revisions.
type RevisionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Revision `json:"items"`
}

// Promoted are the names of the revisions that serve or have served, the last one first.
func (s *Service) Promoted() []string {
	return distinct(append([]string{s.Annotations[PrimaryAnnotation]}, strings.Split(s.Annotations[PromotedAnnotation], ",")...))
}

// WithPromoted is the value of PromotedAnnotation once another revision serves.
func (s *Service) WithPromoted(name string) string {
	all := distinct(append([]string{name}, s.Promoted()...))
	return strings.Join(all[:min(len(all), mostPromoted)], ",")
}

// distinct are the names that are not empty, each once.
func distinct(names []string) []string {
	var out []string
	for _, name := range names {
		if name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// Images are those of the containers of a revision, without their registries, for people to read.
func (r *Revision) Images() string {
	var out []string
	for _, c := range r.Spec.Containers {
		out = append(out, c.Image[strings.LastIndex(c.Image, "/")+1:])
	}
	return strings.Join(out, ", ")
}

// Unable says why a revision can't serve, nothing where it can or Knative does not know.
func (r *Revision) Unable() string {
	i := slices.IndexFunc(r.Status.Conditions, func(c Condition) bool { return c.Type == "Ready" && c.Status == metav1.ConditionFalse })
	if i < 0 {
		return ""
	}
	return strings.TrimSuffix(r.Status.Conditions[i].Reason+": "+r.Status.Conditions[i].Message, ": ")
}

// DeepCopyObject implements runtime.Object.
func (r *Revision) DeepCopyObject() runtime.Object {
	out := &Revision{TypeMeta: r.TypeMeta, ObjectMeta: *r.ObjectMeta.DeepCopy()}
	out.Spec.Containers = slices.Clone(r.Spec.Containers)
	out.Status.Conditions = slices.Clone(r.Status.Conditions)
	return out
}

// DeepCopyObject implements runtime.Object.
func (l *RevisionList) DeepCopyObject() runtime.Object {
	out := &RevisionList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy()}
	for i := range l.Items {
		out.Items = append(out.Items, *l.Items[i].DeepCopyObject().(*Revision)) //nolint:forcetypeassert // a copy is of the same type
	}
	return out
}
