// Package fleet has all releases of a cluster in the form in which a list of them is shown, and streams what changes to
// as many as look. Whatever their number, a change is encoded once; while nobody looks, it is not encoded at all.
package fleet

import (
	"cmp"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/policy"
	"github.com/sluice-delivery/sluice/operator/view"
)

// mostSamples bounds of how many Canaries the values of checks are kept.
const mostSamples = 500

// Fleet has all Canaries. Whoever watches them calls Changed and Gone. It is safe for concurrent use.
type Fleet struct {
	clock clock.PassiveClock

	mu       sync.Mutex
	entries  map[types.NamespacedName]*entry
	watchers map[*Watcher]struct{}
	sampled  int    // entries with samples
	ticks    uint64 // of changes, to tell which samples are the oldest
	encoded  int
}

type entry struct {
	// canary is the cache's own, which nobody changes.
	canary *v1beta1.Canary
	// frame is the row as it is sent; nil until somebody needs it.
	frame   []byte
	samples view.Samples
	sampled uint64 // when samples were last added to, 0 for none
}

// New has no Canary.
func New(c clock.PassiveClock) *Fleet {
	return &Fleet{clock: c, entries: map[types.NamespacedName]*entry{}, watchers: map[*Watcher]struct{}{}}
}

// Changed takes a Canary that has come or changed. It is kept, and must not be changed by anybody.
func (f *Fleet) Changed(c *v1beta1.Canary) {
	key := types.NamespacedName{Namespace: c.Namespace, Name: c.Name}
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.entries[key]
	switch {
	case e == nil:
		e = &entry{}
		f.entries[key] = e
	case e.canary.UID == c.UID && e.canary.ResourceVersion == c.ResourceVersion && c.ResourceVersion != "":
		e.canary = c // the same was listed again
		return
	}
	e.canary, e.frame = c, nil
	f.sample(e)
	f.tell(key)
}

// Gone takes a Canary that was deleted.
func (f *Fleet) Gone(namespace, name string) {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.entries[key]
	if e == nil {
		return
	}
	f.forget(e)
	delete(f.entries, key)
	f.tell(key)
}

// Only has all Canaries go but these, after a list that a watch has begun anew with.
func (f *Fleet) Only(names map[types.NamespacedName]bool) {
	f.mu.Lock()
	var gone []types.NamespacedName
	for key := range f.entries {
		if !names[key] {
			gone = append(gone, key)
		}
	}
	f.mu.Unlock()
	for _, key := range gone {
		f.Gone(key.Namespace, key.Name)
	}
}

// sample keeps the values of checks, of the Canaries that had some last.
func (f *Fleet) sample(e *entry) {
	if len(e.canary.Status.Checks) == 0 {
		f.forget(e)
		return
	}
	if e.sampled == 0 {
		f.sampled++
	}
	f.ticks++
	e.samples, e.sampled = e.samples.Follow(e.canary), f.ticks
	if f.sampled <= mostSamples {
		return
	}
	oldest := e
	for _, other := range f.entries {
		if other.sampled > 0 && other.sampled < oldest.sampled {
			oldest = other
		}
	}
	f.forget(oldest)
}

func (f *Fleet) forget(e *entry) {
	if e.sampled > 0 {
		f.sampled--
	}
	e.samples, e.sampled = view.Samples{}, 0
}

// Get is a Canary, which must not be changed, with the values that its checks had; nil where there is none.
func (f *Fleet) Get(namespace, name string) (*v1beta1.Canary, view.Samples) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.entries[types.NamespacedName{Namespace: namespace, Name: name}]
	if e == nil {
		return nil, view.Samples{}
	}
	return e.canary, e.samples
}

// Place is where a release stands among those that wait for a place of the same policy.
func (f *Fleet) Place(c *v1beta1.Canary) policy.Place {
	if waits, _ := policy.ForPlace(c); !waits {
		return policy.Place{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*v1beta1.Canary, 0, len(f.entries))
	for _, e := range f.entries {
		all = append(all, e.canary)
	}
	return policy.Places(all)[types.NamespacedName{Namespace: c.Namespace, Name: c.Name}]
}

// Namespaces are those with Canaries, sorted.
func (f *Fleet) Namespaces() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := map[string]bool{}
	var out []string
	for key := range f.entries {
		if !known[key.Namespace] {
			known[key.Namespace] = true
			out = append(out, key.Namespace)
		}
	}
	slices.Sort(out)
	return out
}

// Encoded is how many rows were encoded so far.
func (f *Fleet) Encoded() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.encoded
}

// tell has all watchers know that a Canary has changed.
func (f *Fleet) tell(key types.NamespacedName) {
	for w := range f.watchers {
		w.dirty[key] = struct{}{}
		select {
		case w.wake <- struct{}{}:
		default: // it is awake
		}
	}
}

// frame is the row of a Canary as it is sent, encoded once after each change.
func (f *Fleet) frame(e *entry) []byte {
	if e.frame == nil {
		e.frame = rowOf(e.canary, f.clock.Now()).encode()
		f.encoded++
	}
	return e.frame
}

// Frame is a row of one Canary, or that it has gone.
type Frame struct {
	types.NamespacedName

	// Row is JSON in one line, shared by all who get it; nil for one that has gone.
	Row []byte
}

// Watcher is told what changes. It holds no more than the names of what it has not taken, however slow it is.
type Watcher struct {
	fleet *Fleet
	dirty map[types.NamespacedName]struct{}
	wake  chan struct{}
	begun bool
}

// Watch begins to watch. Close has to be called.
func (f *Fleet) Watch() *Watcher {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := &Watcher{fleet: f, dirty: map[types.NamespacedName]struct{}{}, wake: make(chan struct{}, 1)}
	f.watchers[w] = struct{}{}
	return w
}

// Close ends it. What was encoded goes with the last one.
func (w *Watcher) Close() {
	f := w.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.watchers, w)
	if len(f.watchers) > 0 {
		return
	}
	for _, e := range f.entries {
		e.frame = nil
	}
}

// Changes has something when there is something to Take.
func (w *Watcher) Changes() <-chan struct{} { return w.wake }

// Take is what has changed since it was last called, and all that there is at first; in the order of names.
func (w *Watcher) Take() []Frame {
	f := w.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]Frame, 0, len(w.dirty))
	if w.begun {
		for key := range w.dirty {
			out = append(out, f.frameOf(key))
		}
	} else {
		for key := range f.entries {
			out = append(out, f.frameOf(key))
		}
	}
	w.begun = true
	clear(w.dirty)
	slices.SortFunc(out, func(a, b Frame) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func (f *Fleet) frameOf(key types.NamespacedName) Frame {
	out := Frame{NamespacedName: key}
	if e := f.entries[key]; e != nil {
		out.Row = f.frame(e)
	}
	return out
}
