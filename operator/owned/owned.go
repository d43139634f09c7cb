// Package owned finds what was made for a Canary among all that a namespace has.
package owned

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/operator/wake"
)

// Name is that of the index, which finds objects by the Canary that they were made for.
const Name = "madeFor"

// Index is the index that a cache must have of each kind that is listed.
func Index(of client.Object) wake.Index {
	return wake.Index{Of: of, Name: Name, Values: Values, InNamespace: true}
}

// Values are those of the index for an object: the name of its Canary as in ownership.LabelValue, if it has one.
func Values(o client.Object) []string {
	if key := ownership.Key(o); key != "" {
		return []string{key}
	}
	return nil
}

// List reads into a list what was made for a Canary of a namespace, and returns it. Nothing else of the namespace is read, as the
// deletion of all Canaries of a large one would else be the square of it. The objects are the cache's own and must not be changed.
func List(ctx context.Context, from client.Reader, namespace string, owner ownership.Owner, list client.ObjectList) ([]client.Object, error) {
	var out []client.Object
	for _, name := range owner.Names() {
		err := from.List(ctx, list, client.InNamespace(namespace), client.MatchingFields{Name: ownership.LabelValue(name)}, client.UnsafeDisableDeepCopy)
		if err != nil {
			return nil, fmt.Errorf("list what was made for Canary %s: %w", name, err)
		}
		err = meta.EachListItem(list, func(item runtime.Object) error {
			// A label may be that of two names, and two names that of one object.
			if o, ok := item.(client.Object); ok && owner.Owns(o) && ownership.Key(o) == ownership.LabelValue(name) {
				out = append(out, o)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list what was made for Canary %s: %w", name, err)
		}
	}
	return out, nil
}
