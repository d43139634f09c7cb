package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// readWithin is how long reads of an optional kind wait at first until all objects of it are in the cache.
const readWithin = 10 * time.Second

// NotReadError says that the objects of a kind are not in the cache yet. Perhaps they never will be: the kind was taken
// from the cluster at the moment at which it was to be read, or may not be read.
type NotReadError struct{ Kind schema.GroupVersionKind }

// Error implements error.
func (e *NotReadError) Error() string {
	return fmt.Sprintf("the cluster's objects of kind %s are not read yet; is the kind still served, and may the operator list and watch it?", e.Kind.GroupKind())
}

// IsNotRead tells whether an error is, or wraps, a NotReadError.
func IsNotRead(err error) bool {
	var notRead *NotReadError
	return errors.As(err, &notRead)
}

// optionalCache is a cache in which an optional kind holds up nothing but what is about it. Optional is whatever a
// cluster may serve or not, and what is read as unstructured objects. controller-runtime has every watch of a controller wait for all
// kinds of the cache, so that one which goes away while the operator starts would have it give up after two minutes, and
// has whoever reads such a kind wait for ever.
type optionalCache struct {
	cache.Cache

	scheme *runtime.Scheme
	served []string // groups that are, beside those of Kubernetes
	within time.Duration

	mu       sync.Mutex
	needed   map[form]toolscache.InformerSynced
	optional map[form]*reading
	narrow   map[string]bool // fields of indexes in namespaces
}

// form is a kind as what its objects are read: the same kind is read apart as objects of a Go type, as unstructured ones and as metadata.
type form struct {
	schema.GroupVersionKind

	of reflect.Type
}

// reading is an optional kind that is being read.
type reading struct {
	informer cache.Informer
	// waited is done once reads wait no more.
	waited context.Context //nolint:containedctx // it is a deadline that all reads of the kind share
	cancel context.CancelFunc
}

// NewCache makes caches that wait for what Kubernetes serves and for kinds of other groups that are always served, and that
// leave out custom resources which can't be decoded.
func NewCache(served ...string) cache.NewCacheFunc {
	return func(config *rest.Config, options cache.Options) (cache.Cache, error) {
		config, options, err := withSieve(config, options)
		if err != nil {
			return nil, err
		}
		c, err := cache.New(config, options)
		if err != nil {
			return nil, fmt.Errorf("cache: %w", err)
		}
		return withOptional(c, options.Scheme, readWithin, served...), nil
	}
}

func withOptional(c cache.Cache, kinds *runtime.Scheme, within time.Duration, served ...string) *optionalCache {
	return &optionalCache{
		Cache: c, scheme: kinds, within: within, served: served,
		needed: map[form]toolscache.InformerSynced{}, optional: map[form]*reading{}, narrow: map[string]bool{},
	}
}

// isOptional tells whether the operator can do without a kind that is read as such objects.
func (c *optionalCache) isOptional(o runtime.Object, kind schema.GroupVersionKind) bool {
	if _, ok := o.(runtime.Unstructured); ok {
		return true
	}
	return !scheme.Scheme.IsGroupRegistered(kind.Group) && !slices.Contains(c.served, kind.Group)
}

// GetInformer implements cache.Informers.
func (c *optionalCache) GetInformer(ctx context.Context, o client.Object, options ...cache.InformerGetOption) (cache.Informer, error) {
	if err := c.note(ctx, o); err != nil {
		return nil, err
	}
	return c.Cache.GetInformer(ctx, o, options...)
}

// IndexField implements client.FieldIndexer.
func (c *optionalCache) IndexField(ctx context.Context, o client.Object, field string, values client.IndexerFunc) error {
	if err := c.note(ctx, o); err != nil {
		return err
	}
	return c.Cache.IndexField(ctx, o, field, values)
}

// IndexInNamespace has a cache of NewCache find objects of a kind by a field, where they are looked for in one namespace
// alone. IndexField would keep a second entry for each value, for those who look for it in all namespaces, and an entry
// weighs as much as a small object. Another cache gets the index that it can keep. No two kinds have such a field of one
// name of which the other is looked for in all namespaces.
func IndexInNamespace(ctx context.Context, in client.FieldIndexer, o client.Object, field string, values client.IndexerFunc) error {
	c, ok := in.(*optionalCache)
	if !ok {
		return in.IndexField(ctx, o, field, values)
	}
	if err := c.note(ctx, o); err != nil {
		return err
	}
	informer, err := c.Cache.GetInformer(ctx, o, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.narrow[field] = true
	c.mu.Unlock()
	return informer.AddIndexers(toolscache.Indexers{"field:" + field: func(o any) ([]string, error) {
		of, ok := o.(client.Object)
		if !ok {
			return nil, fmt.Errorf("%T is no object with metadata", o)
		}
		var keys []string
		for _, value := range values(of) {
			keys = append(keys, of.GetNamespace()+"/"+value)
		}
		return keys, nil
	}})
}

// wide refuses to look in all namespaces for what is found in one alone: nothing would be found.
func (c *optionalCache) wide(options []client.ListOption) error {
	of := (&client.ListOptions{}).ApplyOptions(options)
	if of.FieldSelector == nil || of.Namespace != "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range of.FieldSelector.Requirements() {
		if c.narrow[r.Field] {
			return fmt.Errorf("the index by %s is of single namespaces, and none is named", r.Field)
		}
	}
	return nil
}

// note has a start wait for a kind that is needed.
func (c *optionalCache) note(ctx context.Context, o client.Object) error {
	kind, err := apiutil.GVKForObject(o, c.scheme)
	if err != nil {
		return fmt.Errorf("kind of %T: %w", o, err)
	}
	if c.isOptional(o, kind) {
		return nil
	}
	informer, err := c.Cache.GetInformer(ctx, o, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.needed[form{kind, reflect.TypeOf(o)}] = informer.HasSynced
	return nil
}

// WaitForCacheSync implements cache.Informers. It waits for what is needed.
func (c *optionalCache) WaitForCacheSync(ctx context.Context) bool {
	c.mu.Lock()
	needed := slices.Collect(maps.Values(c.needed))
	c.mu.Unlock()
	if len(needed) == 0 {
		return c.Cache.WaitForCacheSync(ctx)
	}
	return toolscache.WaitForCacheSync(ctx.Done(), needed...)
}

// Get implements client.Reader. It returns a NotReadError where an optional kind is not read in time.
func (c *optionalCache) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	kind, err := apiutil.GVKForObject(o, c.scheme)
	if err != nil {
		return fmt.Errorf("kind of %T: %w", o, err)
	}
	if c.isOptional(o, kind) {
		if err := c.await(ctx, kind, o); err != nil {
			return err
		}
	}
	return c.Cache.Get(ctx, key, o, options...)
}

// List implements client.Reader. It returns a NotReadError where an optional kind is not read in time.
func (c *optionalCache) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	if err := c.wide(options); err != nil {
		return err
	}
	kind, err := apiutil.GVKForObject(list, c.scheme)
	if err != nil {
		return fmt.Errorf("kind of %T: %w", list, err)
	}
	kind.Kind = strings.TrimSuffix(kind.Kind, "List")
	if c.isOptional(list, kind) {
		one, err := c.oneOf(list, kind)
		if err != nil {
			return err
		}
		if err := c.await(ctx, kind, one); err != nil {
			return err
		}
	}
	return c.Cache.List(ctx, list, options...)
}

// oneOf is an empty object of those that a list has.
func (c *optionalCache) oneOf(list client.ObjectList, kind schema.GroupVersionKind) (client.Object, error) {
	if _, ok := list.(runtime.Unstructured); ok {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(kind)
		return u, nil
	}
	o, err := c.scheme.New(kind)
	if err != nil {
		return nil, fmt.Errorf("kind of %T: %w", list, err)
	}
	one, ok := o.(client.Object)
	if !ok {
		return nil, fmt.Errorf("%T is no object with metadata", o)
	}
	return one, nil
}

// await waits until an optional kind is read, but no longer than all reads of it together may.
func (c *optionalCache) await(ctx context.Context, kind schema.GroupVersionKind, o client.Object) error {
	r, err := c.readingOf(ctx, kind, o)
	switch {
	case err != nil:
		return err
	case r.informer.HasSynced():
		r.cancel()
		return nil
	case r.waited.Err() != nil:
		return &NotReadError{kind}
	}
	waits, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.waited, cancel)() //nolint:contextcheck // it is that of all reads of the kind
	if !toolscache.WaitForCacheSync(waits.Done(), r.informer.HasSynced) {
		return errors.Join(ctx.Err(), &NotReadError{kind})
	}
	return nil
}

// readingOf begins to read an optional kind, unless somebody has.
func (c *optionalCache) readingOf(ctx context.Context, kind schema.GroupVersionKind, o client.Object) (*reading, error) {
	key := form{kind, reflect.TypeOf(o)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.optional[key]; r != nil {
		return r, nil
	}
	informer, err := c.Cache.GetInformer(ctx, o, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, err
	}
	r := &reading{informer: informer}
	r.waited, r.cancel = context.WithTimeout(context.WithoutCancel(ctx), c.within)
	c.optional[key] = r
	return r, nil
}
