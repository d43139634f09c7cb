package wake

import (
	"context"
	"fmt"
	"slices"
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
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// kindsPoll is how often it is looked whether a mesh has been installed.
const kindsPoll = 10 * time.Second

// Kinds are kinds of the meshes, of KEDA or of ours, that are watched as soon as they
// are served: what is installed after the operator needs no restart.
type Kinds struct {
	// Cluster serves them.
	Cluster cluster.Cluster
	// Kinds are those to watch; of several versions of one the first that is served.
	Kinds [][]client.Object
	// Events wakes those whom an object of the kinds concerns.
	Events handler.EventHandler
	// Predicates choose the events; none for all.
	Predicates []predicate.Predicate
	// Awaited says that Canaries may wait for the kinds, so that all are looked at once
	// they are served. Otherwise Events wakes all whom they concern.
	Awaited bool
	// Wanted tells whether there is a Canary for which to look for the kinds once more
	// when they were not served at first; nil for yes.
	Wanted func(*v1beta1.Canary) bool
	// Lazy has Wanted called the first time too.
	Lazy bool
	// Prepare is called before a kind that is served is watched; nil for nothing
	// to prepare.
	Prepare func(context.Context, client.Object) error
}

// Meshes are the kinds by which a router moves traffic. Those that need not be watched always
// are from the first Canary on that has the mesh for its provider; byDefault is the
// provider of one that names none.
func Meshes(of cluster.Cluster, mesh providers.Watch, byDefault string, events handler.EventHandler) Kinds {
	k := Kinds{Cluster: of, Kinds: mesh.Kinds, Events: events, Awaited: true}
	if !mesh.Always {
		k.Lazy, k.Wanted = true, func(c *v1beta1.Canary) bool { return slices.Contains(mesh.Providers, c.GetProvider(byDefault)) }
	}
	if mesh.Index != nil {
		k.Prepare = func(ctx context.Context, kind client.Object) error {
			return mesh.Index(ctx, of.GetFieldIndexer(), kind)
		}
	}
	return k
}

// kindsWatch watches Kinds for a controller.
type kindsWatch struct {
	Kinds

	controller controller.Controller
	begun      *beginning
	canaries   *Canaries
	signals    *Signals
}

// NeedLeaderElection makes it start with the controller.
func (w *kindsWatch) NeedLeaderElection() bool { return true }

// Start runs until every kind is watched. It waits for the controller to begin: what is watched before,
// a controller reads to the end before it does anything, and a kind that is taken out of the
// cluster just then is never read to the end.
func (w *kindsWatch) Start(ctx context.Context) error {
	select {
	case <-w.begun.seen:
	case <-ctx.Done():
		return nil
	}
	missing := slices.Clone(w.Kinds.Kinds)
	looked := w.Lazy
	var n need
	err := wait.PollUntilContextCancel(ctx, kindsPoll, true, func(ctx context.Context) (bool, error) {
		if looked && w.Wanted != nil && !n.look(ctx, w) {
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

// need is whether a Canary wants the kinds, which is looked at again when one has come,
// gone or changed its spec.
type need struct {
	known, wanted bool
	epoch         int
}

func (n *need) look(ctx context.Context, w *kindsWatch) bool {
	epoch := w.canaries.now()
	if n.known && n.epoch == epoch {
		return n.wanted
	}
	var all v1beta1.CanaryList
	if err := w.canaries.reader.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		log.FromContext(ctx).Error(err, "Looking for Canaries that need a kind")
		return false
	}
	wanted := slices.ContainsFunc(all.Items, func(c v1beta1.Canary) bool { return w.Wanted(&c) })
	*n = need{known: true, wanted: wanted, epoch: epoch}
	return wanted
}

// watch begins to watch those kinds that are served and returns the others.
func (w *kindsWatch) watch(ctx context.Context, kinds [][]client.Object) (missing [][]client.Object, err error) {
	for _, versions := range kinds {
		kind, gvk, err := w.served(ctx, versions)
		if err != nil {
			return nil, err
		}
		if kind == nil {
			missing = append(missing, versions)
			continue
		}
		if w.Prepare != nil {
			if err := w.Prepare(ctx, kind); err != nil {
				return nil, fmt.Errorf("prepare the watch of %s: %w", gvk, err)
			}
		}
		if err := w.controller.Watch(source.Kind(w.Cluster.GetCache(), kind, w.Events, w.Predicates...)); err != nil {
			return nil, fmt.Errorf("watch %s: %w", gvk, err)
		}
	}
	if len(missing) == 0 && w.Awaited {
		w.wakeAll(ctx)
	}
	return missing, nil
}

// served returns the first of several versions of a kind that is served, nil for none.
func (w *kindsWatch) served(ctx context.Context, versions []client.Object) (client.Object, schema.GroupVersionKind, error) {
	for _, kind := range versions {
		gvk, err := apiutil.GVKForObject(kind, w.Cluster.GetScheme())
		if err != nil {
			return nil, gvk, fmt.Errorf("kind of %T: %w", kind, err)
		}
		_, err = w.Cluster.GetRESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
		if err == nil {
			return kind, gvk, nil
		}
		if !meta.IsNoMatchError(err) {
			log.FromContext(ctx).Error(err, "Looking for a kind to watch", "kind", gvk.String())
		}
	}
	return nil, schema.GroupVersionKind{}, nil
}

// wakeAll has every Canary looked at: those that waited for the kinds go on.
func (w *kindsWatch) wakeAll(ctx context.Context) {
	var all v1beta1.CanaryList
	if err := w.canaries.reader.List(ctx, &all); err != nil {
		log.FromContext(ctx).Error(err, "Listing the Canaries that wait for a kind to be served")
		return
	}
	for i := range all.Items {
		if !w.signals.Send(ctx, event.GenericEvent{Object: &all.Items[i]}) {
			return // nobody reads any more
		}
	}
}
