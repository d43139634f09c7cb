// Package objects reads the objects of Istio from the cache.
package objects

import (
	"context"
	"fmt"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/istio/internal/hosts"
)

// hostIndex finds DestinationRules and VirtualServices by their hosts in the form of hosts.Key.
const hostIndex = "host"

// Reader reads from informer caches.
type Reader struct{ cache client.Reader }

// NewReader returns a reader of a cache.
func NewReader(cache client.Reader) Reader { return Reader{cache: cache} }

// Index is for providers.Watch: it has objects found by host. Without that, routers look
// through all that there are.
func Index(ctx context.Context, indexer client.FieldIndexer, kind client.Object) error {
	if err := indexer.IndexField(ctx, kind, hostIndex, hostsIndexed); err != nil {
		return fmt.Errorf("index of hosts: %w", err)
	}
	return nil
}

func hostsIndexed(o client.Object) (keys []string) {
	switch o := o.(type) {
	case *networkingv1.DestinationRule:
		if strings.HasPrefix(o.Spec.Host, "*") {
			return []string{"*"}
		}
		return []string{hosts.Key(o.Spec.Host, o.Namespace)}
	case *networkingv1.VirtualService:
		for _, h := range o.Spec.Hosts {
			keys = append(keys, hosts.Key(h, o.Namespace))
		}
	}
	return keys
}

// List reads what the index has for a host, or all that there is without the index.
func (r Reader) List(ctx context.Context, into client.ObjectList, key string, of ...client.ListOption) error {
	of = append(of, client.UnsafeDisableDeepCopy)
	err := r.cache.List(ctx, into, append(of, client.MatchingFields{hostIndex: key})...)
	if err != nil && !meta.IsNoMatchError(err) {
		err = r.cache.List(ctx, into, of...)
	}
	if err != nil {
		return Explain(fmt.Errorf("list by host %s: %w", key, err))
	}
	return nil
}

// All reads all that there is of a kind.
func (r Reader) All(ctx context.Context, into client.ObjectList) error {
	if err := r.cache.List(ctx, into, client.UnsafeDisableDeepCopy); err != nil {
		return Explain(fmt.Errorf("list all: %w", err))
	}
	return nil
}

// Exported tells whether an object of a namespace holds in another.
func Exported(to []string, from, in string) bool {
	if len(to) == 0 {
		return true
	}
	for _, t := range to {
		if t == "*" || t == in || t == "." && from == in {
			return true
		}
	}
	return false
}

// Older tells whether a was created before b, which Istio then prefers.
func Older(a, b client.Object) bool {
	x, y := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	if !x.Equal(&y) {
		return x.Before(&y)
	}
	if a.GetName() != b.GetName() {
		return a.GetName() < b.GetName()
	}
	return a.GetNamespace() < b.GetNamespace()
}

// Get reads from the cache and says whether there is such an object.
func (r Reader) Get(ctx context.Context, key client.ObjectKey, into client.Object) (bool, error) {
	err := r.cache.Get(ctx, key, into)
	switch {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err):
		return false, nil
	default:
		return false, Explain(fmt.Errorf("read %s %s: %w", KindOf(into), key, err))
	}
}

// Explain marks errors that mean that Istio's kinds are not served.
func Explain(err error) error {
	if meta.IsNoMatchError(err) {
		return fmt.Errorf("%w: networking.istio.io/v1 is not served by this cluster: %w", providers.ErrNotInstalled, err)
	}
	return err
}

// EmptyLike is a new object of the same kind.
func EmptyLike(object client.Object) client.Object {
	if _, ok := object.(*networkingv1.DestinationRule); ok {
		return &networkingv1.DestinationRule{}
	}
	return &networkingv1.VirtualService{}
}

// KindOf is the kind of an object.
func KindOf(object client.Object) string {
	if _, ok := object.(*networkingv1.DestinationRule); ok {
		return "DestinationRule"
	}
	return "VirtualService"
}
