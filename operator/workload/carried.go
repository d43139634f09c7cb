package workload

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// CopyMeta is the metadata of a copy of an object that is made for a Canary: what the
// settings have it carry like its original, the annotations with these prefixes too, and
// the mark.
func CopyMeta(c *v1beta1.Canary, from client.Object, name string, o Options, annotations ...string) metav1.ObjectMeta {
	meta := metav1.ObjectMeta{
		Namespace:   c.Namespace,
		Name:        name,
		Labels:      included(from.GetLabels(), o.IncludeLabelPrefixes),
		Annotations: included(from.GetAnnotations(), slices.Concat(annotations, o.IncludeLabelPrefixes)),
	}
	meta.Labels[managedByLabel] = managedBy
	ownership.For(c).Mark(&meta)
	return meta
}

// Carried picks the annotations of an object that its copy has too: all but
// those by which other tools find what is theirs. The map is never nil.
func Carried(from map[string]string) map[string]string {
	return included(from, []string{"*"})
}

// CarriedLabels does the same with labels and says that Sluice made the copy.
func CarriedLabels(from map[string]string) map[string]string {
	out := Carried(from)
	out[managedByLabel] = managedBy
	return out
}
