package alerts

import (
	"container/list"
	"sync"
)

// maxThreads is how many conversations are remembered: one for each release under way and receiver, and some that have
// ended.
const maxThreads = 4096

// Threads remembers with what the conversation of each release began, those that were used last. It is memory of this
// process: after a restart the next message of a release begins its conversation anew. It is safe for concurrent use.
type Threads struct {
	mu     sync.Mutex
	order  list.List // of thread, the latest first
	by     map[threadKey]*list.Element
	bounds int
}

type threadKey struct{ place, release string }

type thread struct {
	key threadKey
	id  string
}

// NewThreads remembers as many conversations as are needed.
func NewThreads() *Threads {
	return &Threads{by: map[threadKey]*list.Element{}, bounds: maxThreads}
}

// Get is with what the conversation of a release began at a place, empty where it is not known.
func (t *Threads) Get(place, release string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.by[threadKey{place, release}]
	if e == nil {
		return ""
	}
	t.order.MoveToFront(e)
	return e.Value.(thread).id
}

// Put notes with what the conversation of a release began. An empty id forgets it.
func (t *Threads) Put(place, release, id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := threadKey{place, release}
	if e := t.by[key]; e != nil {
		t.order.Remove(e)
		delete(t.by, key)
	}
	if id == "" {
		return
	}
	t.by[key] = t.order.PushFront(thread{key, id})
	if t.order.Len() > t.bounds {
		oldest := t.order.Back()
		delete(t.by, oldest.Value.(thread).key)
		t.order.Remove(oldest)
	}
}
