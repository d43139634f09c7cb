package configs

import (
	"hash/maphash"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// objectKey names a ConfigMap or Secret of the cluster.
type objectKey struct {
	namespace string
	Ref
}

// index finds the Canaries that a ConfigMap or Secret matters to, which are of its namespace. It is
// safe for concurrent use; the zero value is empty.
//
// A Canary has three names for each config that its pods read, and there is one hash of each here: an entry for each
// name would weigh more than what the cache has of it. What two names share by chance wakes one Canary more than it must.
type index struct {
	mu          sync.RWMutex
	byNamespace map[string]map[string][]digest // of Canaries by their names
}

// digest is a hash of a Ref, which is another in each process.
type digest uint64

var seed = maphash.MakeSeed()

func digestOf(ref Ref) digest { return digest(maphash.Comparable(seed, ref)) }

// set replaces what matters to a Canary and returns what matters to nobody any
// more. Without refs the Canary is forgotten.
func (x *index) set(canary types.NamespacedName, refs []Ref) (dropped []digest) {
	now := make([]digest, len(refs))
	for i, ref := range refs {
		now[i] = digestOf(ref)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	in := x.byNamespace[canary.Namespace]
	old := in[canary.Name]
	if slices.Equal(old, now) {
		return nil
	}
	switch {
	case len(now) == 0:
		if delete(in, canary.Name); len(in) == 0 {
			delete(x.byNamespace, canary.Namespace)
		}
	case in == nil:
		if x.byNamespace == nil {
			x.byNamespace = map[string]map[string][]digest{}
		}
		x.byNamespace[canary.Namespace] = map[string][]digest{canary.Name: now}
	default:
		in[canary.Name] = now
	}
	for _, d := range old {
		if !slices.Contains(now, d) && !x.has(canary.Namespace, d) {
			dropped = append(dropped, d)
		}
	}
	return dropped
}

// canaries are those that a config matters to, in no order.
func (x *index) canaries(key objectKey) (out []types.NamespacedName) {
	d := digestOf(key.Ref)
	x.mu.RLock()
	defer x.mu.RUnlock()
	for name, of := range x.byNamespace[key.namespace] {
		if slices.Contains(of, d) {
			out = append(out, types.NamespacedName{Namespace: key.namespace, Name: name})
		}
	}
	return out
}

// matters tells whether a config matters to any Canary.
func (x *index) matters(key objectKey) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.has(key.namespace, digestOf(key.Ref))
}

func (x *index) has(namespace string, d digest) bool {
	for _, of := range x.byNamespace[namespace] {
		if slices.Contains(of, d) {
			return true
		}
	}
	return false
}
