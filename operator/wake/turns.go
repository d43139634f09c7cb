package wake

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Turns knows of each Canary what its last turn wrote and left, so that what comes of a
// turn's own writes brings no other. It is safe for concurrent use; the zero value
// knows nothing.
type Turns struct {
	mu    sync.Mutex
	byKey map[types.NamespacedName]*turns
}

// turns are those of one Canary.
type turns struct {
	uid     types.UID
	writing bool   // a write of ours to the Canary is under way
	written string // resource version of the last one

	underWay bool
	last     Outcome
	updates  []update // what came during the turn
}

// Outcome is what a turn of a Canary leaves to the updates that follow it.
type Outcome struct {
	// Complete says that it wrote something and has no more to do about it.
	Complete bool
	// Reached says that all pods it saw as available had endpoints.
	Reached bool
}

// update is that of an object that a Canary depends on.
type update struct {
	// echoes tells whether it says nothing that the last turn did not know.
	echoes func(last Outcome) bool
	wake   func()
}

// of returns the entry of a Canary; the lock must be held.
func (t *Turns) of(c *v1beta1.Canary) *turns {
	key := client.ObjectKeyFromObject(c)
	entry := t.byKey[key]
	if entry != nil && entry.uid == c.UID {
		return entry
	}
	if t.byKey == nil {
		t.byKey = map[types.NamespacedName]*turns{}
	}
	entry = &turns{uid: c.UID}
	t.byKey[key] = entry
	return entry
}

// Forget drops what is known of a Canary that is gone.
func (t *Turns) Forget(key types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byKey, key)
}

// Size is how many Canaries something is known of.
func (t *Turns) Size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byKey)
}

// Begin notes that a turn of a Canary begins.
func (t *Turns) Begin(c *v1beta1.Canary) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of(c).underWay = true
}

// End notes what the turn left, and wakes the Canary for what came meanwhile and
// is no echo of it.
func (t *Turns) End(c *v1beta1.Canary, last Outcome) {
	t.mu.Lock()
	entry := t.of(c)
	updates := entry.updates
	entry.underWay, entry.last, entry.updates = false, last, nil
	t.mu.Unlock()
	for _, u := range updates {
		if !u.echoes(last) {
			u.wake()
		}
	}
}

// Last is what the last turn of a Canary left.
func (t *Turns) Last(key types.NamespacedName) Outcome {
	t.mu.Lock()
	defer t.mu.Unlock()
	if entry := t.byKey[key]; entry != nil {
		return entry.last
	}
	return Outcome{}
}

// updated wakes a Canary for an update, unless it is an echo of its last turn. What
// comes during a turn may be the echo of a write that is not answered yet, so it
// waits for the end.
func (t *Turns) updated(of types.NamespacedName, u update) {
	t.mu.Lock()
	entry := t.byKey[of]
	var last Outcome
	underWay := false
	if entry != nil {
		if last, underWay = entry.last, entry.underWay; underWay {
			entry.updates = append(entry.updates, u)
		}
	}
	t.mu.Unlock()
	if !underWay && !u.echoes(last) {
		u.wake()
	}
}

// Writing notes that a write of ours to the Canary begins.
func (t *Turns) Writing(c *v1beta1.Canary) { t.setWriting(c, true) }

// Failed notes that the write has made no new version.
func (t *Turns) Failed(c *v1beta1.Canary) { t.setWriting(c, false) }

func (t *Turns) setWriting(c *v1beta1.Canary, underWay bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of(c).writing = underWay
}

// Wrote notes the version that a write of ours gave the Canary.
func (t *Turns) Wrote(c *v1beta1.Canary) {
	t.mu.Lock()
	defer t.mu.Unlock()
	entry := t.of(c)
	entry.written, entry.writing = c.ResourceVersion, false
}

// Stale tells whether the Canary as read is older than our last write of it.
func (t *Turns) Stale(c *v1beta1.Canary) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	entry := t.of(c)
	if entry.written == "" {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(c.ResourceVersion, entry.written)
	return err == nil && order < 0
}

// own tells whether this may be the Canary as we wrote it last. It may be
// known before the write is answered.
func (t *Turns) own(c *v1beta1.Canary) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	entry := t.byKey[client.ObjectKeyFromObject(c)]
	return entry != nil && entry.uid == c.UID && (entry.writing || entry.written == c.ResourceVersion)
}
