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
	byConfig map[objectKey][]types.NamespacedName // most have one, for which a map would be large
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
		x.byConfig = map[objectKey][]types.NamespacedName{}
	}
	for _, k := range keys {
		if !slices.Contains(x.byConfig[k], canary) {
			x.byConfig[k] = append(x.byConfig[k], canary)
		}
	}
	for _, k := range old {
		if slices.Contains(keys, k) {
			continue
		}
		users := slices.DeleteFunc(x.byConfig[k], func(c types.NamespacedName) bool { return c == canary })
		if x.byConfig[k] = users; len(users) == 0 {
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
	return slices.Clone(x.byConfig[key])
}

// matters tells whether a config matters to any Canary.
func (x *index) matters(key objectKey) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.byConfig[key]) > 0
}
