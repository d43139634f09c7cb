package configs

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// objectKey names a ConfigMap or Secret of the cluster.
type objectKey struct {
	namespace string
	Ref
}

// index finds the Canaries that a ConfigMap or Secret matters to. It is
// safe for concurrent use; the zero value is empty.
type index struct {
	mu       sync.RWMutex
	byCanary map[types.NamespacedName][]objectKey
	byConfig map[objectKey]map[types.NamespacedName]struct{}
}

// set replaces what matters to a Canary and returns what matters to nobody any
// more. Without keys the Canary is forgotten.
func (x *index) set(canary types.NamespacedName, keys []objectKey) (dropped []objectKey) {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.byCanary[canary]
	if slices.Equal(old, keys) {
		return nil
	}
	if x.byCanary == nil {
		x.byCanary = map[types.NamespacedName][]objectKey{}
		x.byConfig = map[objectKey]map[types.NamespacedName]struct{}{}
	}
	for _, k := range old {
		delete(x.byConfig[k], canary)
	}
	for _, k := range keys {
		if x.byConfig[k] == nil {
			x.byConfig[k] = map[types.NamespacedName]struct{}{}
		}
		x.byConfig[k][canary] = struct{}{}
	}
	for _, k := range old {
		if users, ok := x.byConfig[k]; ok && len(users) == 0 {
			delete(x.byConfig, k)
			dropped = append(dropped, k)
		}
	}
	if x.byCanary[canary] = keys; len(keys) == 0 {
		delete(x.byCanary, canary)
	}
	return dropped
}

// canaries are those that a config matters to, in no order.
func (x *index) canaries(key objectKey) []types.NamespacedName {
	x.mu.RLock()
	defer x.mu.RUnlock()
	out := make([]types.NamespacedName, 0, len(x.byConfig[key]))
	for c := range x.byConfig[key] {
		out = append(out, c)
	}
	return out
}

// matters tells whether a config matters to any Canary.
func (x *index) matters(key objectKey) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.byConfig[key]) > 0
}
