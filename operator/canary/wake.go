package canary

import (
	"context"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// echoDelay is how long the echo of our own status write waits for the events
// of what was written after it, so that one turn serves all of them.
const echoDelay = 100 * time.Millisecond

// beyondStatus passes all events of an object but changes of nothing more than
// its status.
func beyondStatus() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return !statusOnly(e) }}
}

// statusOnly tells whether nothing but the status of an object has changed. It
// depends on nothing else, so that every event is somebody's.
func statusOnly(e event.UpdateEvent) bool {
	before, after := e.ObjectOld, e.ObjectNew
	return before.GetUID() == after.GetUID() && sameMeta(before, after)
}

// sameMeta compares what people and controllers set of an object, apart from
// its status.
func sameMeta(a, b client.Object) bool {
	return a.GetGeneration() == b.GetGeneration() &&
		a.GetDeletionTimestamp().IsZero() == b.GetDeletionTimestamp().IsZero() &&
		maps.Equal(a.GetLabels(), b.GetLabels()) &&
		maps.Equal(a.GetAnnotations(), b.GetAnnotations()) &&
		slices.Equal(a.GetFinalizers(), b.GetFinalizers()) &&
		slices.Equal(ownersOf(a), ownersOf(b))
}

func ownersOf(o client.Object) []string {
	owners := o.GetOwnerReferences()
	out := make([]string, len(owners))
	for i := range owners {
		out[i] = string(owners[i].UID)
	}
	return out
}

// statusEvents wakes a Canary whose status has changed: at once when somebody
// else wrote it, or when turns were missed because the cache did not have it yet,
// and else together with what follows.
func (r *Reconciler) statusEvents() handler.EventHandler {
	return handler.Funcs{UpdateFunc: func(_ context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		if !statusOnly(e) {
			return
		}
		request := reconcile.Request{NamespacedName: client.ObjectKeyFromObject(e.ObjectNew)}
		if c, ok := e.ObjectNew.(*v1beta1.Canary); ok && r.memory.echo(c) {
			q.AddAfter(request, echoDelay)
			return
		}
		q.Add(request)
	}}
}

// workloadChanged passes the events of a Deployment that change something that
// is read of it, or that show a write of ours.
func (r *Reconciler) workloadChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, okBefore := e.ObjectOld.(*appsv1.Deployment)
		after, okAfter := e.ObjectNew.(*appsv1.Deployment)
		return !okBefore || !okAfter || !statusOnly(e) ||
			workload.Observe(before, "", 100) != workload.Observe(after, "", 100) ||
			!r.Applier.Observed(before)
	}}
}
