package canary

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
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
				r.memory.hear(request.NamespacedName, heard{
					echoes: func(last outcome) bool { return last.rests && r.Routes.Knows(e.ObjectNew) },
					wake:   func() { q.Add(request) },
				})
			}
		},
	}
}

// outcome is what a turn of a Canary leaves to the updates that follow it.
type outcome struct {
	// rests says that it wrote something and has no more to do about it.
	rests bool
	// reached says that all pods it saw as available had endpoints.
	reached bool
}

// heard is the update of an object that a Canary depends on.
type heard struct {
	// echoes tells whether it says nothing that the last turn did not know.
	echoes func(last outcome) bool
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
	return rollout.Settled(o, d)
}

// hear wakes a Canary for an update, unless it is an echo of its last turn. What
// comes during a turn may be the echo of a write that is not answered yet, so it
// waits for the end.
func (m *memory) hear(of types.NamespacedName, update heard) {
	m.mu.Lock()
	entry := m.byID[of]
	var last outcome
	turning := false
	if entry != nil {
		if last, turning = entry.last, entry.turning; turning {
			entry.heard = append(entry.heard, update)
		}
	}
	m.mu.Unlock()
	if !turning && !update.echoes(last) {
		update.wake()
	}
}

// turn notes that a turn of a Canary begins.
func (m *memory) turn(c *v1beta1.Canary) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of(c).turning = true
}

// ended notes what the turn left, and wakes the Canary for what came meanwhile and
// is no echo of it.
func (m *memory) ended(c *v1beta1.Canary, last outcome) {
	m.mu.Lock()
	entry := m.of(c)
	updates := entry.heard
	entry.turning, entry.last, entry.heard = false, last, nil
	m.mu.Unlock()
	for _, update := range updates {
		if !update.echoes(last) {
			update.wake()
		}
	}
}
