package atrest

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"

	toolscache "k8s.io/client-go/tools/cache"
)

const (
	// buckets is how many an index has. What is looked for by a value is among the few objects of its bucket, which are
	// unpacked and asked: an entry of its own for each value, with a set of one key, weighs as much as an object at rest.
	buckets = 2048
	// ofFields is what the names of controller-runtime's indexes begin with. Their values are a namespace, or
	// everywhere, and after a slash that of the field.
	ofFields   = "field:"
	everywhere = "__all_namespaces"
)

// bucketNames are what indexes of stores have in place of values.
var bucketNames = func() []string {
	out := make([]string, buckets)
	for i := range out {
		out[i] = strconv.FormatInt(int64(i), 36)
	}
	return out
}()

var seed = maphash.MakeSeed()

// bucketOf is the name of the bucket that a value of an index is in. That of a field is in one, whatever the namespace.
func bucketOf(name, value string) string {
	if strings.HasPrefix(name, ofFields) {
		value = value[strings.IndexByte(value, '/')+1:]
	}
	return bucketNames[maphash.String(seed, value)%buckets]
}

// index notes index functions, and gives those by which the store of an informer has objects at rest.
func (k *kind) index(by toolscache.Indexers) toolscache.Indexers {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := toolscache.Indexers{}
	for name, values := range by {
		if k.indexes[name] == nil { // else the store refuses it
			k.indexes[name] = values
		}
		if out[name] = k.inBuckets(name, values); name == toolscache.NamespaceIndex {
			out[name] = byNamespace
		}
	}
	return out
}

// byNamespace is MetaNamespaceIndexFunc for what is at rest, which need not be unpacked for it.
func byNamespace(o any) ([]string, error) {
	s, ok := o.(*stored)
	if !ok {
		return toolscache.MetaNamespaceIndexFunc(o)
	}
	return []string{s.namespace()}, nil
}

// inBuckets has an index function give buckets in place of values.
func (k *kind) inBuckets(name string, values toolscache.IndexFunc) toolscache.IndexFunc {
	return func(o any) ([]string, error) {
		o, err := k.unpack(o)
		if err != nil {
			return nil, err
		}
		found, err := values(o)
		if err != nil || len(found) == 0 {
			return nil, err
		}
		out := make([]string, 0, len(found))
		for _, value := range found {
			if bucket := bucketOf(name, value); !slices.Contains(out, bucket) {
				out = append(out, bucket)
			}
		}
		return out, nil
	}
}

// indexed is the function of an index.
func (k *kind) indexed(name string) (toolscache.IndexFunc, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if values := k.indexes[name]; values != nil {
		return values, nil
	}
	return nil, fmt.Errorf("there is no index %s", name)
}

// view shows the store of an informer as whoever reads it knows it.
type view struct {
	toolscache.Indexer

	kind *kind
}

// List implements Store.
func (v view) List() []any { return v.kind.all(v.Indexer.List()) }

// Get implements Store.
func (v view) Get(o any) (any, bool, error) { return v.one(v.Indexer.Get(o)) }

// GetByKey implements Store.
func (v view) GetByKey(key string) (any, bool, error) { return v.one(v.Indexer.GetByKey(key)) }

func (v view) one(o any, exists bool, err error) (any, bool, error) {
	if err != nil || !exists {
		return nil, exists, err
	}
	o, err = v.kind.unpack(o)
	return o, err == nil, err
}

// ByIndex implements Indexer.
func (v view) ByIndex(name, value string) ([]any, error) {
	if name == toolscache.NamespaceIndex {
		found, err := v.Indexer.ByIndex(name, value)
		return v.kind.all(found), err
	}
	values, err := v.kind.indexed(name)
	if err != nil {
		return nil, err
	}
	bucket, err := v.Indexer.ByIndex(name, bucketOf(name, value))
	if err != nil {
		return nil, err
	}
	if namespace, _, ok := strings.Cut(value, "/"); ok && strings.HasPrefix(name, ofFields) && namespace != everywhere {
		bucket = slices.DeleteFunc(bucket, func(o any) bool { // most, and they need not be unpacked for it
			s, ok := o.(*stored)
			return ok && s.namespace() != namespace
		})
	}
	out := bucket[:0]
	for _, o := range v.kind.all(bucket) {
		is, err := values(o)
		if err != nil {
			return nil, fmt.Errorf("index %s: %w", name, err)
		}
		if slices.Contains(is, value) {
			out = append(out, o)
		}
	}
	return out, nil
}

// Index implements Indexer.
func (v view) Index(name string, o any) ([]any, error) {
	values, err := v.kind.indexed(name)
	if err != nil {
		return nil, err
	}
	of, err := values(o)
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", name, err)
	}
	known := map[string]struct{}{}
	var out []any
	for _, value := range of {
		found, err := v.ByIndex(name, value)
		if err != nil {
			return nil, err
		}
		for _, o := range found {
			key, err := toolscache.MetaNamespaceKeyFunc(o)
			if _, ok := known[key]; err == nil && !ok {
				known[key] = struct{}{}
				out = append(out, o)
			}
		}
	}
	return out, nil
}

// IndexKeys implements Indexer.
func (v view) IndexKeys(name, value string) ([]string, error) {
	found, err := v.ByIndex(name, value)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(found))
	for i, o := range found {
		if out[i], err = toolscache.MetaNamespaceKeyFunc(o); err != nil {
			return nil, err
		}
	}
	slices.Sort(out)
	return out, nil
}

// ListIndexFuncValues implements Indexer.
func (v view) ListIndexFuncValues(name string) []string {
	values, err := v.kind.indexed(name)
	if err != nil {
		return nil
	}
	known := map[string]struct{}{}
	var out []string
	for _, o := range v.List() {
		is, err := values(o)
		if err != nil {
			continue
		}
		for _, value := range is {
			if _, ok := known[value]; !ok {
				known[value] = struct{}{}
				out = append(out, value)
			}
		}
	}
	return out
}

// GetIndexers implements Indexer.
func (v view) GetIndexers() toolscache.Indexers {
	v.kind.mu.Lock()
	defer v.kind.mu.Unlock()
	out := toolscache.Indexers{}
	for name, values := range v.kind.indexes {
		out[name] = values
	}
	return out
}

// AddIndexers implements Indexer.
func (v view) AddIndexers(by toolscache.Indexers) error {
	return v.Indexer.AddIndexers(v.kind.index(by))
}
