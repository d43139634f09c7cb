package ssa

import (
	"hash/maphash"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// grace is how long the cache may take to show a write before the same
	// intent is sent again. A second write of it changes nothing on the server.
	grace = 15 * time.Second
	// generation bounds the memory: what nobody asked about for one to two
	// generations is forgotten, at the cost of one full comparison.
	generation = 10 * time.Minute
)

// state is what is known of an object in relation to an intent.
type state int

const (
	unknown state = iota // compare intent and live object
	same                 // the live object expresses the intent
	pending              // written, and the cache has yet to show it
	differs              // must be sent
)

type objectKey struct {
	gvk schema.GroupVersionKind
	client.ObjectKey
}

func keyOf(gvk schema.GroupVersionKind, obj client.Object) objectKey {
	return objectKey{gvk: gvk, ObjectKey: client.ObjectKeyFromObject(obj)}
}

// String names the object for people: "VirtualService test/podinfo".
func (k objectKey) String() string { return k.gvk.Kind + " " + k.ObjectKey.String() }

// record says that at resource version the object expressed an intent.
type record struct {
	fingerprint fingerprint
	version     string
	gone        types.UID     // what we deleted; then there is no version
	at          time.Duration // since the memory began
	ours        bool          // it is a write of ours that made this version
	seen        bool          // the cache has shown this version or a newer one
}

// digest is a hash of an objectKey, which is another in each process. What is remembered of an object is less than its names.
type digest [2]uint64

var seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

func digestOf(key objectKey) digest {
	return digest{maphash.Comparable(seeds[0], key), maphash.Comparable(seeds[1], key)}
}

// memory remembers our writes. A write is news until the cache shows it.
type memory struct {
	mu            sync.Mutex
	clock         clock.PassiveClock
	began         time.Time
	rotated       time.Time
	current, past map[digest]record
	conflicts     map[objectKey]conflict
}

// conflict is the last write of an object that was refused as the version that it was made from was an old one.
type conflict struct {
	version string
	err     error
	at      time.Time
}

func newMemory(now clock.PassiveClock) *memory {
	return &memory{clock: now, began: now.Now(), rotated: now.Now(), current: map[digest]record{}, conflicts: map[objectKey]conflict{}}
}

// recall compares what we remember with the version that the cache has ("" for
// an object that the cache does not have).
func (m *memory) recall(key objectKey, fp fingerprint, version string) state {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.get(key)
	switch {
	case version == "" && (!ok || r.seen):
		if r.gone == "" {
			m.drop(key)
		}
		return differs
	case !ok:
		return unknown
	case version == "" || older(version, r.version):
		if r.fingerprint == fp && m.since(r) < grace {
			return pending
		}
		return differs
	}
	if !r.seen {
		r.seen = true
		m.current[digestOf(key)] = r
	}
	if r.fingerprint == fp && r.version == version {
		return same
	}
	return unknown
}

// shown notes that the cache has had a version of the object.
func (m *memory) shown(key objectKey, version string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.get(key)
	if !ok || r.seen || version == "" || older(version, r.version) {
		return
	}
	r.seen = true
	m.current[digestOf(key)] = r
}

// since is how long ago something was remembered.
func (m *memory) since(r record) time.Duration { return m.clock.Since(m.began) - r.at }

func (m *memory) wrote(key objectKey, fp fingerprint, version string) {
	m.put(key, record{fingerprint: fp, version: version, ours: true})
}

func (m *memory) verified(key objectKey, fp fingerprint, version string) {
	m.put(key, record{fingerprint: fp, version: version, seen: true})
}

// deleted remembers that we deleted the object with this UID, "" for whatever was there.
func (m *memory) deleted(key objectKey, uid types.UID) {
	m.put(key, record{gone: uid, seen: true})
}

// isGone reports whether the object with this UID, which the cache may still
// show, was deleted by us a short while ago.
func (m *memory) isGone(key objectKey, uid types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.get(key)
	return ok && uid != "" && r.gone == uid && m.since(r) < grace
}

// refused remembers that an object was not any more in a version that a write of ours was made from.
func (m *memory) refused(key objectKey, version string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conflicts[key] = conflict{version, err, m.clock.Now()}
}

// refusal is why a write that is made from a version was refused a short while ago, nil where it was not.
func (m *memory) refusal(key objectKey, version string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	last, ok := m.conflicts[key]
	if !ok {
		return nil
	}
	if last.version == version && m.clock.Since(last.at) < grace {
		return last.err
	}
	delete(m.conflicts, key)
	return nil
}

func (m *memory) put(key objectKey, r record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r.at = m.clock.Since(m.began)
	m.drop(key)
	m.current[digestOf(key)] = r
}

func (m *memory) observed(key objectKey, version string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.get(key)
	return !ok || r.seen || version != "" && !older(version, r.version)
}

func (m *memory) knows(key objectKey, version string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.get(key)
	return ok && r.version != "" && r.version == version
}

// isOurs tells a version that a write of ours made from one that only turned out to
// express what was wanted.
func (m *memory) isOurs(key objectKey, version string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.get(key)
	return ok && r.ours && r.version != "" && r.version == version
}

func (m *memory) drop(key objectKey) {
	of := digestOf(key)
	delete(m.current, of)
	delete(m.past, of)
}

// get returns the record of key, moves it to the current generation, and lets
// the generations grow old.
func (m *memory) get(key objectKey) (record, bool) {
	if m.clock.Since(m.rotated) >= generation {
		m.past, m.current = m.current, map[digest]record{}
		m.rotated = m.clock.Now()
	}
	of := digestOf(key)
	if r, ok := m.current[of]; ok {
		return r, true
	}
	r, ok := m.past[of]
	if ok {
		m.current[of] = r
		delete(m.past, of)
	}
	return r, ok
}

// older reports whether version a is before b. Versions that cannot be
// compared are not: it is better to trust the cache than to wait for ever.
func older(a, b string) bool {
	c, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && c < 0
}
