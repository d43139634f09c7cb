package canary

import (
	"context"
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// mostReferrers bounds the memory of referrers; there is one entry for each
// Deployment and Service that has had an event.
const mostReferrers = 50_000

// referrers remembers which Canaries refer to a name, until a Canary comes,
// goes or changes its spec.
type referrers struct {
	mu      sync.Mutex
	watched bool // changed is called for each such event
	epoch   int
	byName  map[referrersKey][]referrer
}

type referrersKey struct{ index, namespace, name string }

// referrer is as much of a Canary as is asked about.
type referrer struct {
	name    string
	created metav1.Time
}

// older tells which of two Canaries keeps what both refer to.
func (a referrer) older(b referrer) bool {
	if a.created.Equal(&b.created) {
		return a.name < b.name
	}
	return a.created.Before(&b.created)
}

// watch says that every change will be told from now on.
func (m *referrers) watch() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watched = true
}

// changed forgets everything.
func (m *referrers) changed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
	clear(m.byName)
}

// now is the epoch, which ends with each change.
func (m *referrers) now() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.epoch
}

func (m *referrers) recall(key referrersKey) (known []referrer, ok bool, epoch int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok = m.byName[key]
	return known, ok, m.epoch
}

// remember keeps what was read since the epoch was asked for.
func (m *referrers) remember(key referrersKey, found []referrer, epoch int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.watched || m.epoch != epoch {
		return
	}
	if m.byName == nil || len(m.byName) >= mostReferrers {
		m.byName = map[referrersKey][]referrer{}
	}
	m.byName[key] = found
}

// referrersOf finds the Canaries that an index of the cache has for a name.
func (r *Reconciler) referrersOf(ctx context.Context, index, namespace, name string) ([]referrer, error) {
	key := referrersKey{index, namespace, name}
	known, ok, epoch := r.referrers.recall(key)
	if ok {
		return known, nil
	}
	var list v1beta1.CanaryList
	err := r.Client.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{index: name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list Canaries: %w", err)
	}
	found := make([]referrer, len(list.Items))
	for i := range list.Items {
		found[i] = referrer{name: list.Items[i].Name, created: list.Items[i].CreationTimestamp}
	}
	r.referrers.remember(key, found, epoch)
	return found, nil
}
