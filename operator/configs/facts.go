package configs

import (
	"slices"
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
	// sweepEvery is how often it is looked for those at most.
	sweepEvery = time.Minute
	// unusedFact is how long the hash of a config is kept that no Canary was
	// seen to use yet.
	unusedFact = 10 * time.Minute
)

// record is what is remembered of a ConfigMap or Secret once it was read:
// never its contents.
type record struct {
	uid     types.UID
	version string
	marks   *marks // nil for nobody's
	hash    string
	data    string // see Hash

	at     int64 // when it was read or written, in seconds
	shared bool  // see Shared
	seen   bool  // the cache has shown this version or a newer one
}

// records remembers hashes, so that contents are read only when an object
// changed. It is safe for concurrent use.
type records struct {
	clock       clock.PassiveClock
	mu          sync.Mutex
	byNamespace map[string]map[Ref]*record
	swept       time.Time
}

// put notes what an object is since a version. A fact about a newer version
// stays.
func (f *records) put(key objectKey, fact record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	in := f.byNamespace[key.namespace]
	if known := in[key.Ref]; known != nil && newer(known.version, fact.version) {
		return
	}
	if f.byNamespace == nil {
		f.byNamespace = map[string]map[Ref]*record{}
	}
	if in == nil {
		in = map[Ref]*record{}
		f.byNamespace[key.namespace] = in
	}
	fact.at = f.clock.Now().Unix()
	in[key.Ref] = &fact
}

// since is how long ago something was learned, in whole seconds.
func (f *records) since(r *record) time.Duration {
	return time.Duration(f.clock.Now().Unix()-r.at) * time.Second
}

// get returns what is known of the object that the cache shows, nil for one
// that it does not show. ok is false when the object must be read first; exists
// is false when there is none.
func (f *records) get(key objectKey, cached *metav1.PartialObjectMetadata) (fact record, exists, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.byNamespace[key.namespace][key.Ref]
	switch {
	case cached == nil && known == nil:
		return record{}, false, true
	case cached == nil:
		if !known.seen && f.since(known) < writeGrace {
			return *known, true, true
		}
		f.remove(key.namespace, key.Ref)
		return record{}, false, true
	case known == nil || newer(cached.ResourceVersion, known.version):
		return record{}, true, false
	}
	known.seen = true
	return *known, true, true
}

func (f *records) remove(namespace string, ref Ref) {
	in := f.byNamespace[namespace]
	if delete(in, ref); len(in) == 0 {
		delete(f.byNamespace, namespace)
	}
}

// drop drops what is known of configs of a namespace.
func (f *records) drop(namespace string, of ...digest) {
	if len(of) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for ref := range f.byNamespace[namespace] {
		if slices.Contains(of, digestOf(ref)) {
			f.remove(namespace, ref)
		}
	}
}

// sweep drops what was learned long ago and is still of no use.
func (f *records) sweep(matters func(objectKey) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.clock.Now()
	if now.Sub(f.swept) < sweepEvery {
		return
	}
	f.swept = now
	for namespace, in := range f.byNamespace {
		for ref, fact := range in {
			if f.since(fact) >= unusedFact && !matters(objectKey{namespace, ref}) {
				f.remove(namespace, ref)
			}
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
