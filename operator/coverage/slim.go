package coverage

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// lastApplied is kubectl's second copy of an object in itself.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// Slim is a transform of an informer cache: it drops what nobody reads of the
// kinds that select pods, in place, and leaves everything else to next.
func Slim(next func(any) (any, error)) func(any) (any, error) {
	return func(o any) (any, error) {
		if u, ok := o.(*unstructured.Unstructured); ok {
			if _, ours := kindOf(u); ours {
				unstructured.RemoveNestedField(u.Object, "status")
				unstructured.RemoveNestedField(u.Object, "metadata", "annotations", lastApplied)
			}
		}
		return next(o)
	}
}
