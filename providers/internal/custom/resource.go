// Package custom has what routers share whose mesh is told by a custom resource of its own, of which
// they know a few fields and leave the others to whoever wrote them.
package custom

import (
	"context"
	"fmt"
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// Resource is an object whose spec is kept as it was read, with every field that its kind has.
type Resource struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is as in JSON; whole numbers are int64.
	Spec map[string]any `json:"spec,omitempty"`
	// Status is what a controller says of it.
	Status Status `json:"status,omitzero"`
}

// Status is what a controller says of a resource.
type Status struct {
	// Conditions are its conditions.
	Conditions []Condition `json:"conditions,omitempty"`
}

// Condition is a condition that may have several reasons.
type Condition struct {
	metav1.Condition `json:",inline"`

	// Errors are what is wrong.
	Errors []Reason `json:"errors,omitempty"`
}

// Reason is one thing that is wrong with a resource.
type Reason struct {
	// Type, Reason and Message say what.
	Type    string `json:"type,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// DeepCopy returns a copy that shares nothing with the resource.
func (r *Resource) DeepCopy() Resource {
	out := Resource{TypeMeta: r.TypeMeta, ObjectMeta: *r.ObjectMeta.DeepCopy()}
	if r.Spec != nil {
		out.Spec = runtime.DeepCopyJSON(r.Spec)
	}
	for _, c := range r.Status.Conditions {
		c.Condition = *c.DeepCopy()
		c.Errors = append([]Reason(nil), c.Errors...)
		out.Status.Conditions = append(out.Status.Conditions, c)
	}
	return out
}

const (
	// statusAnnotation set to statusIgnored on a Canary has its route count as soon as it is stored.
	statusAnnotation = "sluice.dev/route-status"
	statusIgnored    = "ignored"
)

// Verdict is what a controller says of a resource.
type Verdict struct {
	// Against is why the resource does not count yet, empty where it does.
	Against string
	// Final is true where the controller has looked at the resource as it is now and won't carry it out.
	Final bool
	// Reasons has the types of what is wrong.
	Reasons []string
}

// Speaking is a condition by which a controller says what it makes of a resource.
type Speaking struct {
	// Type is the condition's.
	Type string
	// Undated says that the controller notes no generation when it says the same of another one, so that it is taken
	// at its word.
	Undated bool
}

// Verdict is what the first of these conditions that there is says about the resource as it is now.
func (r *Resource) Verdict(c *v1beta1.Canary, by ...Speaking) Verdict {
	if c.Annotations[statusAnnotation] == statusIgnored {
		return Verdict{}
	}
	for _, speaking := range by {
		for i := range r.Status.Conditions {
			if said := &r.Status.Conditions[i]; said.Type == speaking.Type {
				return said.verdict(r.Generation, speaking.Undated)
			}
		}
	}
	return Verdict{Against: "no controller has said yet whether it takes it"}
}

func (c *Condition) verdict(generation int64, undated bool) Verdict {
	old := c.ObservedGeneration < generation
	switch {
	case c.Status == metav1.ConditionTrue && (!old || undated):
		return Verdict{}
	case old:
		return Verdict{Against: fmt.Sprintf("its controller has not looked at generation %d yet", generation)}
	}
	v := Verdict{
		Against: fmt.Sprintf("%s is %s (%s): %s", c.Type, c.Status, c.Reason, c.Message),
		Final:   c.Status == metav1.ConditionFalse,
	}
	for _, e := range c.Errors {
		v.Reasons = append(v.Reasons, e.Type)
		if e.Message != c.Message {
			v.Against += fmt.Sprintf("; %s: %s", e.Reason, e.Message)
		}
	}
	return v
}

// Get reads an object from the cache, false where there is none. The error is providers.ErrNotInstalled where its
// kind is not served.
func Get(ctx context.Context, reader client.Reader, gvk schema.GroupVersionKind, key client.ObjectKey, into client.Object) (bool, error) {
	err := reader.Get(ctx, key, into)
	switch {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err):
		return false, nil
	default:
		return false, Explain(gvk, fmt.Errorf("read %s %s: %w", gvk.Kind, key, err))
	}
}

// Explain tells an error that means that a kind is not served, and one that means that the API server will never
// take what it was sent.
func Explain(gvk schema.GroupVersionKind, err error) error {
	switch {
	case meta.IsNoMatchError(err):
		return fmt.Errorf("%w: %s of %s is not served by this cluster: %w", providers.ErrNotInstalled, gvk.Kind, gvk.GroupVersion(), err)
	case apierrors.IsInvalid(err):
		return fmt.Errorf("%w: %w", &providers.InvalidError{Field: "the " + gvk.Kind, Allowed: "what the API server's schema of it allows"}, err)
	default:
		return err
	}
}

// Metadata is that of an object that the spec of a Canary asks for.
func Metadata(c *v1beta1.Canary, key client.ObjectKey) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Labels: map[string]string{}, Annotations: map[string]string{}}
	if apex := c.Spec.Service.Apex; apex != nil {
		maps.Copy(m.Labels, apex.Labels)
		maps.Copy(m.Annotations, apex.Annotations)
	}
	// What Flux installed would be put back by it at every reconciliation, in the middle of a release. These
	// tell it not to.
	m.Annotations["kustomize.toolkit.fluxcd.io/reconcile"] = "disabled"
	m.Annotations["helm.toolkit.fluxcd.io/driftDetection"] = "disabled"
	return m
}
