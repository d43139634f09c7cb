package configs

import (
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/clock"
)

const (
	// writeGrace is how long the cache may take to show a copy that was just
	// made.
	writeGrace = 15 * time.Second
	// unusedFact is how long the hash of a config is kept that no Canary was
	// seen to use yet.
	unusedFact = 10 * time.Minute
)

// record is what is remembered of a ConfigMap or Secret once it was read:
// never its contents.
type record struct {
	uid     types.UID
	version string
	marks   marks
	shared  bool // see Shared
	hash    string
	data    string // see Hash

	at   time.Time // when it was read or written
	seen bool      // the cache has shown this version or a newer one
}

// records remembers hashes, so that contents are read only when an object
// changed. It is safe for concurrent use.
type records struct {
	clock clock.PassiveClock
	mu    sync.Mutex
	byKey map[objectKey]*record
}

// put notes what an object is since a version. A fact about a newer version
// stays.
func (f *records) put(key objectKey, fact record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known := f.byKey[key]; known != nil && newer(known.version, fact.version) {
		return
	}
	if f.byKey == nil {
		f.byKey = map[objectKey]*record{}
	}
	fact.at = f.clock.Now()
	f.byKey[key] = &fact
}

// get returns what is known of the object that the cache shows, nil for one
// that it does not show. ok is false when the object must be read first; exists
// is false when there is none.
func (f *records) get(key objectKey, cached *metav1.PartialObjectMetadata) (fact record, exists, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.byKey[key]
	switch {
	case cached == nil && known == nil:
		return record{}, false, true
	case cached == nil:
		if !known.seen && f.clock.Since(known.at) < writeGrace {
			return *known, true, true
		}
		delete(f.byKey, key)
		return record{}, false, true
	case known == nil || newer(cached.ResourceVersion, known.version):
		return record{}, true, false
	}
	known.seen = true
	return *known, true, true
}

func (f *records) drop(keys []objectKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range keys {
		delete(f.byKey, k)
	}
}

// sweep drops what was learned long ago and is still of no use.
func (f *records) sweep(matters func(objectKey) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, fact := range f.byKey {
		if f.clock.Since(fact.at) >= unusedFact && !matters(k) {
			delete(f.byKey, k)
		}
	}
}

// newer tells whether version a is after b. Versions that can't be compared are
// different ones, and the object is read again.
func newer(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	if err != nil {
		return a != b
	}
	return order > 0
}
