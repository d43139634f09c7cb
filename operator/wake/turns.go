package wake

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/memory"
)

// Turns knows of each Canary what its last turn wrote and left, so that what comes of a
// turn's own writes brings no other. It is safe for concurrent use; the zero value
// knows nothing.
type Turns struct{ memory memory.Memory[turns] }

// turns are those of one Canary.
type turns struct {
	writing bool   // a write of ours to the Canary is under way
	written string // resource version of the last one
	// conflicts are those of writes to one version of it.
	conflicts conflicts
	// released is true once it was let go: the cache may show it a while longer.
	released bool

	underWay bool
	last     Outcome
	updates  []update // what came during the turn
}

// conflicts are the writes in a row that the API server refused as it has a newer version of a Canary than was read.
type conflicts struct {
	version string // that was read
	times   int
	last    time.Time
}

// until is when the next write may be tried on what is read still. Where the cache is behind for long, each would be refused.
func (x conflicts) until() time.Time {
	return x.last.Add(min(EchoDelay<<min(x.times-1, 16), longestWait))
}

// longestWait is how long at the most a write waits for a newer version to be read, as a refusal may have another reason.
const longestWait = 15 * time.Second

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

// Forget drops what is known of a Canary that is gone.
func (t *Turns) Forget(key types.NamespacedName) { t.memory.Forget(key) }

// Size is how many Canaries something is known of.
func (t *Turns) Size() int { return t.memory.Size() }

// Begin notes that a turn of a Canary begins.
func (t *Turns) Begin(c *v1beta1.Canary) {
	t.memory.Update(c, func(of *turns) { of.underWay = true })
}

// End notes what the turn left, and wakes the Canary for what came meanwhile and
// is no echo of it.
func (t *Turns) End(c *v1beta1.Canary, last Outcome) {
	var updates []update
	t.memory.Update(c, func(of *turns) {
		updates = of.updates
		of.underWay, of.last, of.updates = false, last, nil
	})
	for _, u := range updates {
		if !u.echoes(last) {
			u.wake()
		}
	}
}

// Last is what the last turn of a Canary left.
func (t *Turns) Last(key types.NamespacedName) (last Outcome) {
	t.memory.Visit(key, func(of *turns) { last = of.last })
	return last
}

// updated wakes a Canary for an update, unless it is an echo of its last turn. What
// comes during a turn may be the echo of a write that is not answered yet, so it
// waits for the end.
func (t *Turns) updated(of types.NamespacedName, u update) {
	var last Outcome
	underWay := false
	t.memory.Visit(of, func(of *turns) {
		if last, underWay = of.last, of.underWay; underWay {
			of.updates = append(of.updates, u)
		}
	})
	if !underWay && !u.echoes(last) {
		u.wake()
	}
}

// Writing notes that a write of ours to the Canary begins.
func (t *Turns) Writing(c *v1beta1.Canary) {
	t.memory.Update(c, func(of *turns) { of.writing = true })
}

// Failed notes that the write has made no new version.
func (t *Turns) Failed(c *v1beta1.Canary) {
	t.memory.Update(c, func(of *turns) { of.writing = false })
}

// Wrote notes the version that a write of ours gave the Canary.
func (t *Turns) Wrote(c *v1beta1.Canary) {
	t.memory.Update(c, func(of *turns) { of.written, of.writing = c.ResourceVersion, false })
}

// Conflicted notes that a write of ours was refused, as the API server has a newer version than the one that was read.
func (t *Turns) Conflicted(c *v1beta1.Canary, now time.Time) {
	t.memory.Update(c, func(of *turns) {
		times := 1
		if of.conflicts.version == c.ResourceVersion {
			times += of.conflicts.times
		}
		of.conflicts, of.writing = conflicts{c.ResourceVersion, times, now}, false
	})
}

// Outdated is how long nothing is to be written to a Canary that is read in a version that the API server has a newer one of; 0 or
// less once it may be tried.
func (t *Turns) Outdated(c *v1beta1.Canary, now time.Time) time.Duration {
	of, known := t.memory.Get(c)
	if !known || of.conflicts.times == 0 || of.conflicts.version != c.ResourceVersion {
		return 0
	}
	return of.conflicts.until().Sub(now)
}

// Stale tells whether the Canary as read is older than our last write of it.
func (t *Turns) Stale(c *v1beta1.Canary) bool {
	of, known := t.memory.Get(c)
	if !known || of.written == "" {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(c.ResourceVersion, of.written)
	return err == nil && order < 0
}

// Released notes that a Canary which is deleted was let go.
func (t *Turns) Released(c *v1beta1.Canary) {
	t.memory.Update(c, func(of *turns) { of.released = true })
}

// WasReleased tells whether a Canary that the cache shows was let go, so that nothing is to be done for it any more.
func (t *Turns) WasReleased(c *v1beta1.Canary) bool {
	of, known := t.memory.Get(c)
	return known && of.released
}

// own tells whether this may be the Canary as we wrote it last. It may be
// known before the write is answered.
func (t *Turns) own(c *v1beta1.Canary) bool {
	of, known := t.memory.Get(c)
	return known && (of.writing || of.written == c.ResourceVersion)
}
