package canary

import (
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// memory is what a process knows of a Canary beyond its status. All of it can
// be lost: then a wait begins again, and nothing moves sooner.
type memory struct {
	mu   sync.Mutex
	byID map[types.NamespacedName]*remembered
}

type remembered struct {
	uid types.UID

	failures    []release.Failure // of the last turn
	failedTimes int               // how many turns in a row had some

	revision revision
	services *knownServices

	routeLooked bool
	routeSeen   bool // the route was in sync when last looked at
	routeWeight int32
	routeSince  time.Time // since when, zero if it was so at the first look
}

// revision is that of the target in a state of its spec.
type revision struct{ version, hash string }

// of returns the entry of a Canary; the lock must be held.
func (m *memory) of(c *v1beta1.Canary) *remembered {
	key := client.ObjectKeyFromObject(c)
	entry := m.byID[key]
	if entry != nil && entry.uid == c.UID {
		return entry
	}
	if m.byID == nil {
		m.byID = map[types.NamespacedName]*remembered{}
	}
	entry = &remembered{uid: c.UID}
	m.byID[key] = entry
	return entry
}

func (m *memory) forget(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.byID, key)
}

// revision is the target's, computed once for each state of its spec.
func (m *memory) revision(c *v1beta1.Canary, target client.Object) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	entry := m.of(c)
	version := workload.Version(target)
	if entry.revision.version == version {
		return entry.revision.hash, nil
	}
	hash, err := workload.Revision(target)
	if err != nil {
		return "", err
	}
	entry.revision = revision{version: version, hash: hash}
	return hash, nil
}

// failed notes what could not be applied, nil where everything could. It returns how
// often in a row that has been so, and whether it mends what failed before.
func (m *memory) failed(c *v1beta1.Canary, failures []release.Failure) (times int, mended bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	entry := m.of(c)
	mended = len(failures) == 0 && len(entry.failures) > 0
	entry.failures = failures
	if entry.failedTimes++; len(failures) == 0 {
		entry.failedTimes = 0
	}
	return entry.failedTimes, mended
}

// failures are what could not be applied the last time.
func (m *memory) failures(c *v1beta1.Canary) []release.Failure {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.of(c).failures)
}

// routeInSync notes whether the mesh shows the route with this weight and
// returns since when it is known to.
func (m *memory) routeInSync(c *v1beta1.Canary, inSync bool, weight int32, now time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	entry := m.of(c)
	switch {
	case !inSync:
		entry.routeSince = time.Time{}
	case !entry.routeLooked:
		// It was so before this process looked.
	case !entry.routeSeen || entry.routeWeight != weight:
		entry.routeSince = now
	}
	entry.routeLooked, entry.routeSeen, entry.routeWeight = true, inSync, weight
	return entry.routeSince
}
