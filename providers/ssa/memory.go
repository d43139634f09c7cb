package ssa

import (
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
	at          time.Time
	ours        bool      // it is a write of ours that made this version
	seen        bool      // the cache has shown this version or a newer one
	gone        types.UID // what we deleted; then there is no version
}

// memory remembers our writes. A write is news until the cache shows it.
type memory struct {
	mu            sync.Mutex
	clock         clock.PassiveClock
	rotated       time.Time
	current, past map[objectKey]record
	conflicts     map[objectKey]conflict
}

// conflict is the last write of an object that was refused as the version that it was made from was an old one.
type conflict struct {
	version string
	err     error
	at      time.Time
}

func newMemory(now clock.PassiveClock) *memory {
	return &memory{clock: now, rotated: now.Now(), current: map[objectKey]record{}, conflicts: map[objectKey]conflict{}}
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
		if r.fingerprint == fp && m.clock.Since(r.at) < grace {
			return pending
		}
		return differs
	}
	if !r.seen {
		r.seen = true
		m.current[key] = r
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
	m.current[key] = r
}

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
	return ok && uid != "" && r.gone == uid && m.clock.Since(r.at) < grace
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
	r.at = m.clock.Now()
	m.drop(key)
	m.current[key] = r
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
	delete(m.current, key)
	delete(m.past, key)
}

// get returns the record of key, moves it to the current generation, and lets
// the generations grow old.
func (m *memory) get(key objectKey) (record, bool) {
	if m.clock.Since(m.rotated) >= generation {
		m.past, m.current = m.current, map[objectKey]record{}
		m.rotated = m.clock.Now()
	}
	if r, ok := m.current[key]; ok {
		return r, true
	}
	r, ok := m.past[key]
	if ok {
		m.current[key] = r
		delete(m.past, key)
	}
	return r, ok
}

// older reports whether version a is before b. Versions that cannot be
// compared are not: it is better to trust the cache than to wait for ever.
func older(a, b string) bool {
	c, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && c < 0
}
