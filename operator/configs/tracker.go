// Package configs tracks what the pods of targets read beside their template: it makes
// the contents of ConfigMaps and Secrets part of a revision, and keeps copies of them for
// primaries, so that a primary reads what its own revision was released with.
package configs

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// ownerIndex finds the copies that a Canary controls.
const ownerIndex = "canary"

// kinds are those that are tracked.
var kinds = []Kind{ConfigMap, Secret}

// Tracker knows the contents of ConfigMaps and Secrets by their hashes.
// What changed is learned from a watch of their metadata; contents are read
// only of objects that a Canary uses, and only when they changed. It is safe for
// concurrent use.
type Tracker struct {
	Config
	contents
}

// Config is what a Tracker needs.
type Config struct {
	// Client reads metadata, and must answer from an informer cache that has the
	// Indexes. It writes copies.
	Client client.Client
	// Live reads contents from the API server.
	Live client.Reader
	// Applier deletes copies that are not used any more.
	Applier *ssa.Applier
	// Options are the settings for copies.
	Options workload.Options
	// Clock tells the time.
	Clock clock.PassiveClock
	// Off is true where nothing is tracked.
	Off bool
}

var (
	_ world.Part[*Share] = (*Tracker)(nil)
	_ wake.Waker         = (*Tracker)(nil)
)

// New gives a Tracker that knows nothing yet.
func New(config Config) *Tracker {
	return &Tracker{Config: config, contents: contents{cached: config.Client, live: config.Live, facts: records{clock: config.Clock}}}
}

// Indexes are those of the cache for copies.
func Indexes() []wake.Index {
	var out []wake.Index
	for _, kind := range kinds {
		out = append(out, wake.Index{Of: newMetadata(kind), Name: ownerIndex, Values: owners, InNamespace: true})
	}
	return out
}

// SetUp wakes Canaries for what is changed of the objects that they use.
func (t *Tracker) SetUp(ctx context.Context, w *wake.Watches) error {
	if t.Off {
		return nil
	}
	for _, kind := range kinds {
		w.Builder.WatchesMetadata(newMetadata(kind), handler.EnqueueRequestsFromMapFunc(t.users(kind)), builder.WithPredicates(changes()))
	}
	return w.Index(ctx, Indexes()...)
}

// changes drops the events of a resync, or of a relist after the connection broke: they
// change no version.
func changes() predicate.Predicate { return predicate.ResourceVersionChangedPredicate{} }

// Caches are the settings of a cache for ConfigMaps and Secrets, of which
// it must have the metadata only. Even that is cut to what is looked at: the
// annotation of kubectl apply holds all contents.
func Caches() map[client.Object]cache.ByObject {
	out := map[client.Object]cache.ByObject{}
	for _, kind := range kinds {
		out[newObject(kind)] = cache.ByObject{Transform: kube.Share(strip)}
	}
	return out
}

func strip(o any) (any, error) {
	m, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return o, nil
	}
	tracking, annotated := m.Annotations[v1beta1.ConfigTrackingAnnotation]
	m.ManagedFields = nil
	m.Labels, m.Annotations = ownership.Keep(m.Labels, m.Annotations)
	if annotated {
		if m.Annotations == nil {
			m.Annotations = map[string]string{}
		}
		m.Annotations[v1beta1.ConfigTrackingAnnotation] = tracking
	}
	return m, nil
}

// users finds the Canaries that an object matters to.
func (t *Tracker) users(kind Kind) handler.MapFunc {
	return func(_ context.Context, o client.Object) []reconcile.Request {
		canaries := t.index.canaries(objectKey{o.GetNamespace(), Ref{Kind: kind, Name: o.GetName()}})
		out := make([]reconcile.Request, len(canaries))
		for i := range canaries {
			out[i].NamespacedName = canaries[i]
		}
		return out
	}
}

// owners are the values of ownerIndex.
func owners(o client.Object) []string {
	if key := ownership.Key(o); key != "" {
		return []string{key}
	}
	return nil
}

func newMetadata(kind Kind) *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(gvkOf(kind))
	return o
}

func newMetadataList(kind Kind) *metav1.PartialObjectMetadataList {
	list := &metav1.PartialObjectMetadataList{}
	gvk := gvkOf(kind)
	gvk.Kind += "List"
	list.SetGroupVersionKind(gvk)
	return list
}

func gvkOf(kind Kind) schema.GroupVersionKind {
	if kind == Secret {
		return corev1.SchemeGroupVersion.WithKind("Secret")
	}
	return corev1.SchemeGroupVersion.WithKind("ConfigMap")
}

// Forget drops what is known for a Canary that is gone.
func (t *Tracker) Forget(canary types.NamespacedName) {
	t.facts.drop(canary.Namespace, t.index.set(canary, nil)...)
}

func newObject(kind Kind) client.Object {
	if kind == Secret {
		return &corev1.Secret{}
	}
	return &corev1.ConfigMap{}
}
