package targets

import (
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// kindWatches watches the kinds of workloads that Canaries have, each from the
// first Canary on that has it: a cache of all DaemonSets of a cluster is for
// nothing where no Canary has one.
type kindWatches struct {
	mu      sync.Mutex
	begin   func(client.Object) error // nil in a process without watches
	watched map[string]bool
}

// newKindWatches watches what c does not watch from its start.
func newKindWatches(w *wake.Watches, c controller.Controller) *kindWatches {
	return &kindWatches{
		watched: map[string]bool{workload.KindDeployment: true, workload.KindService: true},
		begin: func(kind client.Object) error {
			return c.Watch(source.Kind(w.Manager.GetCache(), kind, w.Events.OfWorkloads()))
		},
	}
}

// has tells whether a kind is watched, so that its objects are in the cache.
func (k *kindWatches) has(kind string) bool {
	if k == nil {
		return true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.watched[kind]
}

// watch begins to watch the kind of an empty object, unless it did before.
func (k *kindWatches) watch(o client.Object) error {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	kind := workload.Kind(o)
	if k.watched[kind] {
		return nil
	}
	if err := k.begin(workload.New(kind)); err != nil {
		return err
	}
	k.watched[kind] = true
	return nil
}
