// Package memory keeps what a process knows of Canaries beyond their status. All of it can
// be lost: then something is looked at again or a wait begins again, and nothing moves sooner.
package memory

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Memory knows a T of each Canary. What is known of one is not known of another that is
// created by its name. It is safe for concurrent use; the zero value knows nothing.
type Memory[T any] struct {
	mu    sync.Mutex
	byKey map[types.NamespacedName]*entry[T]
}

type entry[T any] struct {
	uid   types.UID
	known T
}

// Get gives what is known of a Canary, false where nothing is.
func (m *Memory[T]) Get(c *v1beta1.Canary) (known T, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.byKey[client.ObjectKeyFromObject(c)]; e != nil && e.uid == c.UID {
		return e.known, true
	}
	return known, false
}

// Set remembers something of a Canary in place of what was known.
func (m *Memory[T]) Set(c *v1beta1.Canary, known T) {
	m.Update(c, func(k *T) { *k = known })
}

// Update has change, which is called with the zero value where nothing was known, change
// what is known of a Canary. It holds the lock meanwhile.
func (m *Memory[T]) Update(c *v1beta1.Canary, change func(known *T)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := client.ObjectKeyFromObject(c)
	e := m.byKey[key]
	if e == nil || e.uid != c.UID {
		if m.byKey == nil {
			m.byKey = map[types.NamespacedName]*entry[T]{}
		}
		e = &entry[T]{uid: c.UID}
		m.byKey[key] = e
	}
	change(&e.known)
}

// Visit calls visit, as Update does, for the Canary of a name, whichever that is, and not
// at all where nothing is known.
func (m *Memory[T]) Visit(key types.NamespacedName, visit func(known *T)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.byKey[key]; e != nil {
		visit(&e.known)
	}
}

// Forget drops what is known of a Canary that is gone.
func (m *Memory[T]) Forget(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.byKey, key)
}

// Size is how many Canaries something is known of.
func (m *Memory[T]) Size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.byKey)
}
