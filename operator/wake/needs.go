package wake

import (
	"context"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// needs are what is asked of all Canaries together, and answered together: to read all of a large cluster for each would take as
// long as all of their turns.
type needs struct {
	mu    sync.Mutex
	all   []*need
	times int // how often all Canaries were read
	epoch int // that of the last time
}

// need is whether any Canary is one that a function is true for.
type need struct {
	of  *Canaries
	met func(*v1beta1.Canary) bool

	known, answer bool
	seen          int // the last reading whose answer was told
}

// need asks for a Canary that a function, which depends on its spec alone, is true for.
func (m *Canaries) need(met func(*v1beta1.Canary) bool) *need {
	n := &need{of: m, met: met}
	m.needs.mu.Lock()
	defer m.needs.mu.Unlock()
	m.needs.all = append(m.needs.all, n)
	return n
}

// look tells whether there is one. It is looked again, for all needs, once a Canary has come, gone or changed its spec since
// the answer that was told the last time: who has not been told of the last reading is told that.
func (n *need) look(ctx context.Context) bool {
	all := &n.of.needs
	all.mu.Lock()
	defer all.mu.Unlock()
	if !n.known || all.times == n.seen && all.epoch != n.of.now() {
		if err := n.of.answer(ctx); err != nil {
			log.FromContext(ctx).Error(err, "Looking for Canaries that need a kind")
			return false
		}
	}
	n.seen = all.times
	return n.answer
}

// answer reads all Canaries. The lock of the needs is held.
func (m *Canaries) answer(ctx context.Context) error {
	epoch := m.now()
	var list v1beta1.CanaryList
	if err := m.reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	for _, n := range m.needs.all {
		n.known, n.answer = true, false
		for i := range list.Items {
			if n.answer = n.met(&list.Items[i]); n.answer {
				break
			}
		}
	}
	m.needs.epoch = epoch
	m.needs.times++
	return nil
}
