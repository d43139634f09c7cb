package canary

import (
	"context"
	"maps"
	"slices"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// How long an event waits for others, so that one turn serves all of them.
const (
	// echoDelay is for our own status write, which the events follow of what was
	// written after it.
	echoDelay = 100 * time.Millisecond
	// readyDelay is for pods that became available. Their endpoints come with them.
	readyDelay = 100 * time.Millisecond
	// storyDelay is for what is only told, to those who wait for long, of how far
	// a workload has come.
	storyDelay = time.Second
)

// deploymentRevision is an annotation that changes with the status.
const deploymentRevision = "deployment.kubernetes.io/revision"

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
		maps.Equal(annotationsOf(a), annotationsOf(b)) &&
		slices.Equal(a.GetFinalizers(), b.GetFinalizers()) &&
		slices.Equal(ownersOf(a), ownersOf(b))
}

// annotationsOf are those of an object without what the controller of
// Deployments counts for itself.
func annotationsOf(o client.Object) map[string]string {
	all := o.GetAnnotations()
	if _, counted := all[deploymentRevision]; !counted {
		return all
	}
	all = maps.Clone(all)
	delete(all, deploymentRevision)
	return all
}

func ownersOf(o client.Object) []string {
	owners := o.GetOwnerReferences()
	out := make([]string, len(owners))
	for i := range owners {
		out[i] = string(owners[i].UID)
	}
	return out
}

// statusEvents wakes a Canary when somebody else wrote its status. The turn
// that writes it sees to the next one itself.
func (r *Reconciler) statusEvents() handler.EventHandler {
	return handler.Funcs{UpdateFunc: func(_ context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		c, ok := e.ObjectNew.(*v1beta1.Canary)
		if statusOnly(e) && !(ok && r.memory.echo(c)) {
			q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(e.ObjectNew)})
		}
	}}
}

// next is when to look again after a turn. One that wrote the status is
// followed by another that sees it.
func next(wrote bool, after time.Duration) ctrl.Result {
	if wrote && (after == 0 || after > echoDelay) {
		after = echoDelay
	}
	return ctrl.Result{RequeueAfter: after}
}

// workloadEvents wakes the Canaries of a workload that changed, as soon as what
// changed asks for, but not those whose last turn wrote it as it is now and waits
// for what comes of that.
func (r *Reconciler) workloadEvents() handler.EventHandler {
	find := r.byName(targetIndex)
	now := handler.EnqueueRequestsFromMapFunc(find)
	return handler.Funcs{
		CreateFunc:  now.Create,
		DeleteFunc:  now.Delete,
		GenericFunc: now.Generic,
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			delay, matters := r.urgency(e)
			if !matters {
				return
			}
			for _, request := range find(ctx, e.ObjectNew) {
				r.memory.hear(request.NamespacedName, heard{
					echoes: func(last outcome) bool {
						return last.rests && r.Applier.Wrote(e.ObjectNew) && workload.SamePods(e.ObjectOld, e.ObjectNew)
					},
					wake: func() { q.AddAfter(request, delay) },
				})
			}
		},
	}
}

// urgency tells how long the update of a workload can wait for those that
// follow it, and whether anything changed that is read of it.
func (r *Reconciler) urgency(e event.UpdateEvent) (wait time.Duration, matters bool) {
	// What came so late that it shows a write of ours is waited for.
	if !statusOnly(e) || !r.Applier.Observed(e.ObjectOld) {
		return 0, true
	}
	before, after := workload.Observe(e.ObjectOld, "", 100), workload.Observe(e.ObjectNew, "", 100)
	if before == after {
		return 0, false
	}
	switch {
	case after.Available == 0 && before.Available > 0:
		return 0, true // who serves may have to take over
	case after.Ready && !before.Ready:
		return 0, true // nothing more is to follow
	case after.Available == before.Available && !canBeReady(e.ObjectOld) && !canBeReady(e.ObjectNew):
		return storyDelay, true
	default:
		return readyDelay, true
	}
}

// canBeReady tells whether there is a threshold for which a workload is ready.
func canBeReady(o client.Object) bool { return workload.Observe(o, "", 0).Ready }

// endpointEvents wakes the Canaries of a Service whose endpoints changed. One more
// is news only to those that have seen it missing: until its pod is available, it
// counts for nothing.
func (r *Reconciler) endpointEvents() handler.EventHandler {
	now := handler.EnqueueRequestsFromMapFunc(r.byService)
	return handler.Funcs{
		CreateFunc:  now.Create,
		DeleteFunc:  now.Delete,
		GenericFunc: now.Generic,
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			delay := readyDelay
			before, after := readyOf(e.ObjectOld), readyOf(e.ObjectNew)
			switch {
			case before == after:
				return
			case after == 0:
				delay = 0 // who serves may have to take over
			}
			for _, request := range r.byService(ctx, e.ObjectNew) {
				r.memory.hear(request.NamespacedName, heard{
					echoes: func(last outcome) bool { return after > before && last.reached },
					wake:   func() { q.AddAfter(request, delay) },
				})
			}
		},
	}
}

// readyOf is how many endpoints of an EndpointSlice are ready.
func readyOf(o client.Object) int32 {
	s, ok := o.(*discoveryv1.EndpointSlice)
	if !ok {
		return 0
	}
	return workload.ReadyEndpoints([]discoveryv1.EndpointSlice{*s})
}
