package canary

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/providers"
)

// routeEvents wakes the Canaries of a mesh's object that changed, but not those
// whose last turn wrote it as it is now and has nothing more to do about it.
func (r *Reconciler) routeEvents() handler.EventHandler {
	now := handler.EnqueueRequestsFromMapFunc(r.byRoute)
	return handler.Funcs{
		CreateFunc:  now.Create,
		DeleteFunc:  now.Delete,
		GenericFunc: now.Generic,
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			for _, request := range r.byRoute(ctx, e.ObjectNew) {
				r.memory.hear(request.NamespacedName, heard{object: e.ObjectNew, wake: func() { q.Add(request) }}, r.Routes.Knows)
			}
		},
	}
}

// heard is the update of an object that turns of a Canary write.
type heard struct {
	object client.Object
	wake   func()
}

// rest tells when to look again after a turn that wrote the status and did what it
// desires. ok is false where it must be seen first what came of that.
func (r *Reconciler) rest(w *world, d rollout.Decision) (after time.Duration, ok bool) {
	if !w.Canary.DeletionTimestamp.IsZero() || !d.Desired.Routed {
		return 0, false
	}
	o := w.Observation
	o.Now = r.Clock.Now()
	if !w.settled(d.Desired) {
		a, is := w.router.(providers.Acknowledger)
		if !is || !a.Acknowledged() {
			return 0, false
		}
		o.Route.InSync = true
		o.Route.Since = r.memory.routeInSync(w.Canary, true, d.Status.CanaryWeight, o.Now)
	}
	return rollout.Rest(o, d)
}

// hear wakes a Canary for an update, unless it is an echo of its last turn. What
// comes during a turn may be the echo of a write that is not answered yet, so it
// waits for the end. known tells whether an object is as we wrote it.
func (m *memory) hear(of types.NamespacedName, update heard, known func(client.Object) bool) {
	m.mu.Lock()
	entry := m.byID[of]
	turning := entry != nil && entry.turning
	if turning {
		entry.heard = append(entry.heard, update)
	}
	rests := entry != nil && entry.rests
	m.mu.Unlock()
	if !turning && !(rests && known(update.object)) {
		update.wake()
	}
}

// turn notes that a turn of a Canary begins.
func (m *memory) turn(c *v1beta1.Canary) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of(c).turning = true
}

// ended notes that the turn is over, and wakes the Canary for what came meanwhile
// and is no echo of it. rests is true for a turn that has no more to do about
// what it wrote.
func (m *memory) ended(c *v1beta1.Canary, rests bool, known func(client.Object) bool) {
	m.mu.Lock()
	entry := m.of(c)
	updates := entry.heard
	entry.turning, entry.rests, entry.heard = false, rests, nil
	m.mu.Unlock()
	for _, update := range updates {
		if !rests || !known(update.object) {
			update.wake()
			return
		}
	}
}
