package policies

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/wake"
)

var _ wake.Waker = (*Policies)(nil)

// namespacesWait is how long is waited for the labels of namespaces, to which the operator may have no right.
const namespacesWait = 30 * time.Second

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// SetUp follows Canaries, and policies as soon as they are served. No release begins before those are read that are
// served already.
func (x *Policies) SetUp(_ context.Context, w *wake.Watches) error {
	kinds := map[string]client.Object{v1alpha1.ReleasePolicyKind: &v1alpha1.ReleasePolicy{}}
	if len(x.Namespaces) == 0 {
		kinds[v1alpha1.ClusterReleasePolicyKind] = &v1alpha1.ClusterReleasePolicy{}
	}
	var inController controller.Controller
	w.OnceBuilt(func(c controller.Controller) { inController = c })
	w.Builder.Watches(&v1beta1.Canary{}, x.events(nil))
	for kind, object := range kinds {
		gvk := v1alpha1.GroupVersion.WithKind(kind)
		_, err := w.Manager.GetRESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
		switch {
		case err == nil:
			x.Served(kind)
		case !meta.IsNoMatchError(err):
			return fmt.Errorf("look for %s: %w", gvk, err)
		}
		w.WhenServed(wake.Kinds{
			Cluster: w.Manager, Kinds: [][]client.Object{{object}}, Events: x.events(x.changed),
			Prepare: func(ctx context.Context, _ client.Object) error {
				if kind == v1alpha1.ClusterReleasePolicyKind {
					if err := x.readNamespaces(ctx, w.Manager.GetCache()); err != nil {
						log.FromContext(ctx).Error(err, "ClusterReleasePolicies that select namespaces are invalid")
					} else if err := inController.Watch(source.Kind[client.Object](w.Manager.GetCache(), namespaces(), x.events(nil))); err != nil {
						return fmt.Errorf("watch namespaces: %w", err)
					}
				}
				return x.Read(ctx, w.Manager.GetCache(), kind)
			},
		})
	}
	return x.setUpStatus(w.Manager)
}

// namespaces is an empty namespace of which only the metadata is read.
func namespaces() *metav1.PartialObjectMetadata {
	out := &metav1.PartialObjectMetadata{}
	out.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return out
}

// readNamespaces reads the labels of all namespaces.
func (x *Policies) readNamespaces(ctx context.Context, from client.Reader) error {
	all := &metav1.PartialObjectMetadataList{}
	all.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	ctx, cancel := context.WithTimeoutCause(ctx, namespacesWait, errors.New("the API server does not list them; the operator needs the right to list and watch them"))
	defer cancel()
	err := from.List(ctx, all, client.UnsafeDisableDeepCopy)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	for i := range all.Items {
		x.Seen(&all.Items[i])
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.spaces = err
	return err
}

// events is what wakes those whose turn has come by an event. The objects go to a channel, too, nil for none.
func (x *Policies) events(to chan<- event.GenericEvent) handler.EventHandler {
	seen := func(ctx context.Context, o client.Object, q queue) {
		add(q, x.Seen(o))
		if to != nil {
			select {
			case to <- event.GenericEvent{Object: o}:
			case <-ctx.Done():
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { seen(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			_, isPolicy := e.ObjectNew.(interface{ GetStatus() *v1beta1.ObjectStatus })
			if !isPolicy || e.ObjectNew.GetUID() != e.ObjectOld.GetUID() || e.ObjectNew.GetGeneration() != e.ObjectOld.GetGeneration() {
				seen(ctx, e.ObjectNew, q)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { add(q, x.Gone(e.Object)) },
	}
}

func add(q queue, keys []types.NamespacedName) {
	for _, key := range keys {
		q.Add(reconcile.Request{NamespacedName: key})
	}
}
