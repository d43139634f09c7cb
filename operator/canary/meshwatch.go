package canary

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// meshPoll is how often it is looked whether a mesh has been installed.
const meshPoll = 10 * time.Second

// meshWatch watches the kinds of the meshes, of KEDA or of ours, as soon as they
// are served: what is installed after the operator needs no restart.
type meshWatch struct {
	reconciler *Reconciler
	cluster    cluster.Cluster
	controller controller.Controller
	// kinds are those to watch; of several versions of one the first that is served.
	kinds [][]client.Object
	// index finds the Canaries that an object of such a kind belongs to.
	index string
	// requests finds them in place of the index; nil for the index. It finds all
	// whom the kind concerns, so that no other needs to be woken for it.
	requests handler.MapFunc
	// predicates choose the events; none for all.
	predicates []predicate.Predicate
	// wanted tells whether there is a Canary for which to look for the kinds once more
	// when they were not served at first; nil for yes.
	wanted func(*v1beta1.Canary) bool
	// lazy has wanted asked the first time too.
	lazy bool
	// prepare is called before a kind that is served is watched; nil for nothing
	// to prepare.
	prepare func(context.Context, client.Object) error
}

// NeedLeaderElection makes it start with the controller.
func (w *meshWatch) NeedLeaderElection() bool { return true }

// Start runs until every kind is watched.
func (w *meshWatch) Start(ctx context.Context) error {
	missing := slices.Clone(w.kinds)
	looked := w.lazy
	var want need
	err := wait.PollUntilContextCancel(ctx, meshPoll, true, func(ctx context.Context) (bool, error) {
		if looked && w.wanted != nil && !want.ask(ctx, w) {
			return false, nil
		}
		looked = true
		var err error
		missing, err = w.watch(ctx, missing)
		return len(missing) == 0, err
	})
	if wait.Interrupted(err) { // the operator stops
		return nil
	}
	return err
}

// need is whether a Canary wants the kinds, which is asked again when one has come,
// gone or changed its spec.
type need struct {
	asked, wanted bool
	epoch         int
}

func (n *need) ask(ctx context.Context, w *meshWatch) bool {
	epoch := w.reconciler.referrers.now()
	if n.asked && n.epoch == epoch {
		return n.wanted
	}
	var all v1beta1.CanaryList
	if err := w.reconciler.Client.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		log.FromContext(ctx).Error(err, "Looking for Canaries that need a kind")
		return false
	}
	wanted := slices.ContainsFunc(all.Items, func(c v1beta1.Canary) bool { return w.wanted(&c) })
	*n = need{asked: true, wanted: wanted, epoch: epoch}
	return wanted
}

// watch begins to watch those kinds that are served and returns the others.
func (w *meshWatch) watch(ctx context.Context, kinds [][]client.Object) (missing [][]client.Object, err error) {
	for _, versions := range kinds {
		kind, gvk, err := w.served(ctx, versions)
		if err != nil {
			return nil, err
		}
		if kind == nil {
			missing = append(missing, versions)
			continue
		}
		if w.prepare != nil {
			if err := w.prepare(ctx, kind); err != nil {
				return nil, fmt.Errorf("prepare the watch of %s: %w", gvk, err)
			}
		}
		if err := w.controller.Watch(source.Kind(w.cluster.GetCache(), kind, w.events(), w.predicates...)); err != nil {
			return nil, fmt.Errorf("watch %s: %w", gvk, err)
		}
	}
	if len(missing) == 0 && w.requests == nil {
		w.wakeAll(ctx)
	}
	return missing, nil
}

// events wakes those whom an object of the kinds concerns.
func (w *meshWatch) events() handler.EventHandler {
	switch {
	case w.requests != nil:
		return handler.EnqueueRequestsFromMapFunc(w.requests)
	case w.index == apexIndex:
		return w.reconciler.routeEvents()
	default:
		return handler.EnqueueRequestsFromMapFunc(w.reconciler.byName(w.index))
	}
}

// served returns the first of several versions of a kind that is served, nil for none.
func (w *meshWatch) served(ctx context.Context, versions []client.Object) (client.Object, schema.GroupVersionKind, error) {
	for _, kind := range versions {
		gvk, err := apiutil.GVKForObject(kind, w.cluster.GetScheme())
		if err != nil {
			return nil, gvk, fmt.Errorf("kind of %T: %w", kind, err)
		}
		_, err = w.cluster.GetRESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
		if err == nil {
			return kind, gvk, nil
		}
		if !meta.IsNoMatchError(err) {
			log.FromContext(ctx).Error(err, "Looking for a kind to watch", "kind", gvk.String())
		}
	}
	return nil, schema.GroupVersionKind{}, nil
}

// routerWatch watches the kinds of a mesh. Those that must not be watched always are from
// the first Canary on that has the mesh for its provider.
func (r *Reconciler) routerWatch(c controller.Controller, mesh providers.Watch) *meshWatch {
	w := &meshWatch{reconciler: r, cluster: r.Mesh, controller: c, kinds: mesh.Kinds, index: apexIndex}
	if !mesh.Always {
		w.lazy, w.wanted = true, func(c *v1beta1.Canary) bool { return slices.Contains(mesh.Providers, c.GetProvider(r.Provider)) }
	}
	if mesh.Index != nil {
		w.prepare = func(ctx context.Context, kind client.Object) error {
			return mesh.Index(ctx, r.Mesh.GetFieldIndexer(), kind)
		}
	}
	return w
}

// byRoute finds the Canaries that a mesh's object is for, which has the name of a Service.
// A name that is qualified begins with it.
func (r *Reconciler) byRoute(ctx context.Context, o client.Object) []reconcile.Request {
	name, _, _ := strings.Cut(o.GetName(), ".")
	return r.requests(ctx, apexIndex, o.GetNamespace(), name)
}

// wakeAll has every Canary looked at: those that waited for the kinds go on.
func (w *meshWatch) wakeAll(ctx context.Context) {
	var all v1beta1.CanaryList
	if err := w.reconciler.Client.List(ctx, &all); err != nil {
		log.FromContext(ctx).Error(err, "Listing the Canaries that wait for a kind to be served")
		return
	}
	for i := range all.Items {
		select {
		case w.reconciler.Checker.finished <- event.GenericEvent{Object: &all.Items[i]}:
		case <-ctx.Done(): // nobody reads any more
			return
		}
	}
}
