package wake

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// How long an event waits for others, so that one turn serves all of them.
const (
	// EchoDelay is for our own status write, which the events follow of what was
	// written after it.
	EchoDelay = 100 * time.Millisecond
	// readyDelay is for pods that became available. Their endpoints come with them.
	readyDelay = 100 * time.Millisecond
	// progressDelay is for what only says, to those who wait for long, how far a
	// workload has come.
	progressDelay = time.Second
	// lost is for pods that serve and are gone: who is left may have to take over, before anything else is done.
	lost = time.Duration(-1)
)

// bring has a Canary looked at after a delay.
func bring(q workqueue.TypedRateLimitingInterface[reconcile.Request], request reconcile.Request, delay time.Duration) {
	if delay == lost {
		Urgently(q, request)
		return
	}
	q.AddAfter(request, delay)
}

// OfChecks brings the Canaries whose checks have come to an end, and those first of which it is said that it is urgent.
func OfChecks(urgent func(*v1beta1.Canary) bool) handler.EventHandler {
	return handler.Funcs{GenericFunc: func(_ context.Context, e event.GenericEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		request := reconcile.Request{NamespacedName: client.ObjectKeyFromObject(e.Object)}
		if c, ok := e.Object.(*v1beta1.Canary); ok && urgent(c) {
			Urgently(q, request)
			return
		}
		q.Add(request)
	}}
}

// deploymentRevision is an annotation that changes with the status.
const deploymentRevision = "deployment.kubernetes.io/revision"

// BeyondStatus passes all events of an object but changes of nothing more than
// its status.
func BeyondStatus() predicate.Predicate {
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

// ComesOrGoes passes the creation, the deletion and a change of the spec. One that
// was deleted and created again may look like a change.
func ComesOrGoes() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() || e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration()
	}}
}

// Events are handlers of the events of what Canaries are made of. They wake only those
// for whom an event is news.
type Events struct {
	// Canaries finds those whom an event concerns.
	Canaries *Canaries
	// Turns knows what their own turns made.
	Turns *Turns
	// Applier writes workloads, and Routes the objects of the mesh.
	Applier, Routes *ssa.Applier
}

// OfStatus wakes a Canary when somebody else wrote its status. The turn
// that writes it sees to the next one itself.
func (v *Events) OfStatus() handler.EventHandler {
	return handler.Funcs{UpdateFunc: func(_ context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		c, ok := e.ObjectNew.(*v1beta1.Canary)
		if statusOnly(e) && !(ok && v.Turns.own(c)) {
			q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(e.ObjectNew)})
		}
	}}
}

// Deleted has those who write a kind know of deletions, before anybody is woken by them: what
// was made a moment ago and is deleted already would be taken for what the cache is yet to show.
func Deleted(of handler.EventHandler, writers ...*ssa.Applier) handler.EventHandler {
	return handler.Funcs{
		CreateFunc: of.Create, UpdateFunc: of.Update, GenericFunc: of.Generic,
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			for _, writer := range writers {
				writer.Deleted(e.Object)
			}
			of.Delete(ctx, e, q)
		},
	}
}

// OfWorkloads wakes the Canaries of a workload that changed, as soon as what
// changed asks for, but not those whose last turn wrote it as it is now and waits
// for what comes of that.
func (v *Events) OfWorkloads() handler.EventHandler {
	find := v.Canaries.ByName(TargetIndex)
	now := Deleted(handler.EnqueueRequestsFromMapFunc(find), v.Applier)
	return handler.Funcs{
		CreateFunc:  now.Create,
		DeleteFunc:  now.Delete,
		GenericFunc: now.Generic,
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			delay, matters := v.urgency(e)
			if !matters {
				return
			}
			for _, request := range find(ctx, e.ObjectNew) {
				v.Turns.updated(request.NamespacedName, update{
					echoes: func(last Outcome) bool {
						return last.Complete && v.Applier.Wrote(e.ObjectNew) && workload.SamePods(e.ObjectOld, e.ObjectNew)
					},
					wake: func() { bring(q, request, delay) },
				})
			}
		},
	}
}

// urgency tells how long the update of a workload can wait for those that
// follow it, and whether anything changed that is read of it.
func (v *Events) urgency(e event.UpdateEvent) (wait time.Duration, matters bool) {
	// What came so late that it shows a write of ours is waited for.
	if !statusOnly(e) || !v.Applier.Observed(e.ObjectOld) {
		return 0, true
	}
	before, after := workload.Observe(e.ObjectOld, "", 100), workload.Observe(e.ObjectNew, "", 100)
	if before == after {
		return 0, false
	}
	switch {
	case after.Available == 0 && before.Available > 0:
		return lost, true
	case after.Ready && !before.Ready:
		return 0, true // nothing more is to follow
	case after.Available == before.Available && !canBeReady(e.ObjectOld) && !canBeReady(e.ObjectNew):
		return progressDelay, true
	default:
		return readyDelay, true
	}
}

// canBeReady tells whether there is a threshold for which a workload is ready.
func canBeReady(o client.Object) bool { return workload.Observe(o, "", 0).Ready }

// OfEndpoints wakes the Canaries of a Service whose endpoints changed. One more
// is news only to those that have seen it missing: until its pod is available, it
// counts for nothing.
func (v *Events) OfEndpoints() handler.EventHandler {
	now := handler.EnqueueRequestsFromMapFunc(v.byService)
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
				delay = lost
			}
			for _, request := range v.byService(ctx, e.ObjectNew) {
				v.Turns.updated(request.NamespacedName, update{
					echoes: func(last Outcome) bool { return after > before && last.Reached },
					wake:   func() { bring(q, request, delay) },
				})
			}
		},
	}
}

// byService finds the Canaries of the Service that an EndpointSlice is of.
func (v *Events) byService(ctx context.Context, o client.Object) []reconcile.Request {
	return v.Canaries.Requests(ctx, ApexIndex, o.GetNamespace(), o.GetLabels()[discoveryv1.LabelServiceName])
}

// readyOf is how many endpoints of an EndpointSlice are ready.
func readyOf(o client.Object) int32 {
	s, ok := o.(*discoveryv1.EndpointSlice)
	if !ok {
		return 0
	}
	return workload.ReadyEndpoints([]discoveryv1.EndpointSlice{*s})
}

// OfRoutes wakes the Canaries of a mesh's object that changed, but not those
// whose last turn wrote it as it is now and has nothing more to do about it. about tells whom else it
// concerns, whatever its name is; nil for nobody. reader is the cache of the cluster that has it.
func (v *Events) OfRoutes(reader client.Reader, about *providers.About) handler.EventHandler {
	all := func(ctx context.Context, o client.Object) []reconcile.Request {
		return merge(v.byRoute(ctx, o), v.byServices(ctx, reader, about, o))
	}
	now := Deleted(handler.EnqueueRequestsFromMapFunc(all), v.Routes)
	return handler.Funcs{
		CreateFunc:  now.Create,
		DeleteFunc:  now.Delete,
		GenericFunc: now.Generic,
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			concerned := v.byRoute(ctx, e.ObjectNew)
			if about != nil && !about.Alike(e.ObjectOld, e.ObjectNew) { // also those that it was about
				concerned = merge(concerned, v.byServices(ctx, reader, about, e.ObjectNew), v.byServices(ctx, reader, about, e.ObjectOld))
			}
			for _, request := range concerned {
				v.Turns.updated(request.NamespacedName, update{
					echoes: func(last Outcome) bool { return last.Complete && v.Routes.Knows(e.ObjectNew) },
					wake:   func() { q.Add(request) },
				})
			}
		},
	}
}

// merge has each request once.
func merge(lists ...[]reconcile.Request) (out []reconcile.Request) {
	for _, list := range lists {
		for _, request := range list {
			if !slices.Contains(out, request) {
				out = append(out, request)
			}
		}
	}
	return out
}

// byRoute finds the Canaries that a mesh's object is for, which has the name of a Service,
// or is the Ingress that the spec names. A name that is qualified begins with that of the Service.
func (v *Events) byRoute(ctx context.Context, o client.Object) []reconcile.Request {
	if _, ok := o.(*networkingv1.Ingress); ok {
		return v.Canaries.Requests(ctx, IngressIndex, o.GetNamespace(), o.GetName())
	}
	name, _, _ := strings.Cut(o.GetName(), ".")
	return v.Canaries.Requests(ctx, ApexIndex, o.GetNamespace(), name)
}

// byServices finds the Canaries that a mesh's object is about.
func (v *Events) byServices(ctx context.Context, reader client.Reader, about *providers.About, o client.Object) (out []reconcile.Request) {
	if about == nil {
		return nil
	}
	for _, service := range about.Services(ctx, reader, o) {
		out = append(out, v.Canaries.Requests(ctx, ApexIndex, service.Namespace, service.Name)...)
	}
	return out
}
