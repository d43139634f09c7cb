package coverage

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sluice-delivery/sluice/operator/workload"
)

// CopyOfAnnotation is on every copy and holds the name of its original.
const CopyOfAnnotation = "sluice.dev/copy-of"

const suffix = "-primary"

// copyOf is the intent for the copy of an object, or why there can be none.
// names are those of the objects that are not copies of ours.
func (s Subject) copyOf(k Kind, o *unstructured.Unstructured, names map[string]bool) (intent *unstructured.Unstructured, why string) {
	if intent, why = blank(s, k, o, names); intent == nil {
		return nil, why
	}
	from, to := s.values(k)
	k.rewrite(intent, s.Label, from, to)
	if selector := k.selectorOf(intent); !s.coversPrimary(k, selector) || s.coversTarget(k, selector) {
		return nil, "its selector can't be turned to the primary"
	}
	return intent, ""
}

// blank is a copy of an object that still selects what that does, or why there can be none.
func blank(s Subject, k Kind, o *unstructured.Unstructured, names map[string]bool) (intent *unstructured.Unstructured, why string) {
	switch {
	case k.uncopied != "":
		return nil, k.uncopied
	case o.GetNamespace() != s.Namespace:
		return nil, "it is in another namespace"
	case len(o.GetName()+suffix) > validation.DNS1123SubdomainMaxLength:
		return nil, "its name is too long for a copy"
	}
	spec, _, err := unstructured.NestedMap(o.Object, "spec") // a copy
	if err != nil {
		return nil, "it has no spec"
	}
	c := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	c.SetGroupVersionKind(o.GroupVersionKind())
	c.SetNamespace(o.GetNamespace())
	c.SetName(o.GetName() + suffix)
	c.SetLabels(workload.CarriedLabels(o.GetLabels()))
	annotations := workload.Carried(o.GetAnnotations())
	annotations[CopyOfAnnotation] = o.GetName()
	c.SetAnnotations(annotations)
	s.Owner.Mark(c)
	if names[nameOf(c)] {
		return nil, c.GetName() + " is somebody else's and says something else"
	}
	return c, ""
}

// rewrite has the selector of a copy name to, and nobody else, where it named
// from.
func (k Kind) rewrite(c *unstructured.Unstructured, label, from, to string) {
	if e, ok := k.selectorOf(c).(expression); ok {
		_ = unstructured.SetNestedField(c.Object, e.turned(label, from, to).String(), k.selector...)
		return
	}
	field, _, _ := unstructured.NestedMap(c.Object, k.selector...)
	set := field
	if !k.plain {
		set, _ = field["matchLabels"].(map[string]any)
	}
	for key, value := range set {
		if k.key(key) == label && value == from {
			set[key] = to
		}
	}
	expressions, _ := field["matchExpressions"].([]any)
	for _, e := range expressions {
		e, _ := e.(map[string]any)
		values, _ := e["values"].([]any)
		key, _ := e["key"].(string)
		if !k.plain && k.key(key) == label && e["operator"] == string(metav1.LabelSelectorOpIn) && slices.Contains(values, any(from)) {
			e["values"] = []any{to}
		}
	}
	// What was read is a copy, so it has to be put back. It was read from there,
	// so that can't fail.
	_ = unstructured.SetNestedMap(c.Object, field, k.selector...)
}

// nameOf identifies an object among those of all kinds.
func nameOf(o *unstructured.Unstructured) string {
	return o.GroupVersionKind().GroupKind().String() + " " + o.GetNamespace() + "/" + o.GetName()
}
