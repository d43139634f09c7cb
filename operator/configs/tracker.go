// Package configs tracks what the pods of targets read beside their template: it makes
// the contents of ConfigMaps and Secrets part of a revision, and keeps copies of them for
// primaries, so that a primary reads what its own revision was released with.
package configs

import (
	"context"
	"slices"
	"strings"

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

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// ownerIndex finds the copies that a Canary controls.
const ownerIndex = "canary"

// kinds are those that are tracked.
var kinds = []workload.ConfigKind{workload.ConfigMap, workload.Secret}

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
}

// New gives a Tracker that knows nothing yet.
func New(config Config) *Tracker {
	return &Tracker{Config: config, contents: contents{cached: config.Client, live: config.Live, facts: records{clock: config.Clock}}}
}

// Indexes are those of the cache for copies.
func Indexes() []wake.Index {
	var out []wake.Index
	for _, kind := range kinds {
		out = append(out, wake.Index{Of: newMetadata(kind), Name: ownerIndex, Values: owners})
	}
	return out
}

// SetUp wakes Canaries for what is changed of the objects that they use.
func (t *Tracker) SetUp(ctx context.Context, w *wake.Watches) error {
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
		out[newObject(kind)] = cache.ByObject{Transform: strip}
	}
	return out
}

func strip(o any) (any, error) {
	m, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return o, nil
	}
	tracking, annotated := m.Annotations[v1beta1.ConfigTrackingAnnotation]
	m.ManagedFields, m.Labels, m.Annotations = nil, nil, nil
	if annotated {
		m.Annotations = map[string]string{v1beta1.ConfigTrackingAnnotation: tracking}
	}
	return m, nil
}

// users finds the Canaries that an object matters to.
func (t *Tracker) users(kind workload.ConfigKind) handler.MapFunc {
	return func(_ context.Context, o client.Object) []reconcile.Request {
		canaries := t.index.canaries(objectKey{o.GetNamespace(), workload.ConfigRef{Kind: kind, Name: o.GetName()}})
		out := make([]reconcile.Request, len(canaries))
		for i := range canaries {
			out[i].NamespacedName = canaries[i]
		}
		return out
	}
}

// owners are the values of ownerIndex.
func owners(o client.Object) []string {
	owner := metav1.GetControllerOfNoCopy(o)
	if owner == nil || !isCanary(owner) {
		return nil
	}
	return []string{string(owner.UID)}
}

func isCanary(owner *metav1.OwnerReference) bool {
	gv, err := schema.ParseGroupVersion(owner.APIVersion)
	return err == nil && gv.Group == v1beta1.GroupVersion.Group && owner.Kind == "Canary"
}

func newMetadata(kind workload.ConfigKind) *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(gvkOf(kind))
	return o
}

func newMetadataList(kind workload.ConfigKind) *metav1.PartialObjectMetadataList {
	list := &metav1.PartialObjectMetadataList{}
	gvk := gvkOf(kind)
	gvk.Kind += "List"
	list.SetGroupVersionKind(gvk)
	return list
}

func gvkOf(kind workload.ConfigKind) schema.GroupVersionKind {
	if kind == workload.Secret {
		return corev1.SchemeGroupVersion.WithKind("Secret")
	}
	return corev1.SchemeGroupVersion.WithKind("ConfigMap")
}

// Forget drops what is known for a Canary that is gone.
func (t *Tracker) Forget(canary types.NamespacedName) {
	t.facts.drop(t.index.set(canary, nil))
}

// Observed are the objects that the pods of a Canary's target read, as they are in this
// turn. The zero value is that of a target of which nothing is tracked.
type Observed struct {
	tracked bool
	list    []tracked
	// hashes are as they go into status.trackeds.
	hashes map[string]string
	// missing are configs without which no pod starts.
	missing []string
	// contents of what was read in this turn.
	contents map[workload.ConfigRef]client.Object
}

// tracked is a config of which the primary has a copy.
type tracked struct {
	workload.Reference
	// gone is true when there is no such object now.
	gone bool
	// hash and data are of its contents, see workload.ConfigHash.
	hash, data string
	// names are those that its copy may have, in order.
	names []string
}

// Revision is a revision of the target with what its pods read made part of it.
func (o *Observed) Revision(template string) string {
	if !o.tracked {
		return template
	}
	return workload.TrackedRevision(template, o.hashes)
}

// Missing says which objects pods of the target can't start without, as they do not
// exist. It is empty if there is none.
func (o *Observed) Missing() string {
	if len(o.missing) == 0 {
		return ""
	}
	return "its pods can't start without " + strings.Join(o.missing, ", ") + ", which does not exist"
}

// Record puts the hashes of a release into its status.
func (o *Observed) Record(status *v1beta1.CanaryStatus) {
	if !o.tracked {
		return
	}
	if status.TrackedConfigs = nil; len(o.hashes) > 0 {
		status.TrackedConfigs = &o.hashes
	}
}

// Observe looks at every config that the pods of a template use, and at the
// copies of them that the Canary has.
func (t *Tracker) Observe(ctx context.Context, c *v1beta1.Canary, template *corev1.PodTemplateSpec) (*Observed, error) {
	references := workload.References(template)
	used := make([]workload.ConfigRef, len(references))
	for i := range references {
		used[i] = references[i].ConfigRef
	}
	out := &Observed{tracked: true, hashes: map[string]string{}, contents: map[workload.ConfigRef]client.Object{}}
	if len(references) == 0 {
		t.Forget(client.ObjectKeyFromObject(c))
		return out, nil
	}
	all := slices.Clone(used)
	names := make([][]string, len(used))
	for i, ref := range used {
		for _, name := range workload.CopyNames(ref.Name, c.Spec.TargetRef.Name) {
			// A name that the target itself uses is its user's.
			if other := (workload.ConfigRef{Kind: ref.Kind, Name: name}); !slices.Contains(used, other) {
				names[i] = append(names[i], name)
				all = append(all, other)
			}
		}
	}
	keys := make([]objectKey, len(all))
	for i := range all {
		keys[i] = objectKey{c.Namespace, all[i]}
	}
	t.facts.drop(t.index.set(client.ObjectKeyFromObject(c), keys))

	seen, err := t.look(ctx, c.Namespace, all, out.contents, func(ref workload.ConfigRef, o *metav1.PartialObjectMetadata) bool {
		return slices.Contains(used, ref) && !workload.TrackingDisabled(o.Annotations) || metav1.IsControlledBy(o, c)
	})
	if err != nil {
		return nil, err
	}
	for i, ref := range references {
		t.add(c, out, tracked{Reference: ref, names: names[i]}, seen)
	}
	return out, nil
}

// add decides whether and as what one config is tracked.
func (t *Tracker) add(c *v1beta1.Canary, to *Observed, one tracked, seen map[workload.ConfigRef]existing) {
	now, exists := seen[one.ConfigRef]
	switch {
	case exists && now.shared, !exists && one.PullOnly:
		return
	case exists:
		one.hash, one.data = now.hash, now.data
	case one.Optional:
		one.gone, one.hash = true, workload.AbsentConfig
	default:
		// Pods that run go on without it; only new ones can't start. So that is no
		// other revision, and the config may just be replaced.
		one.gone, one.hash = true, lastHash(c, one, seen)
		to.missing = append(to.missing, one.Title())
	}
	to.hashes[one.String()] = one.hash
	to.list = append(to.list, one)
}

// lastHash is that of a config that is missing, as far as it is known.
func lastHash(c *v1beta1.Canary, one tracked, seen map[workload.ConfigRef]existing) string {
	if tracked := c.Status.TrackedConfigs; tracked != nil {
		if hash := (*tracked)[one.String()]; workload.KnownConfigHash(hash) {
			return hash
		}
	}
	for _, name := range one.names {
		if copied := seen[workload.ConfigRef{Kind: one.Kind, Name: name}]; copied.owner.UID == c.UID && copied.hash != "" {
			return copied.hash
		}
	}
	return workload.MissingConfig
}

// Sourced is the primary with references to copies that are like their sources
// put back to the sources: where it is then a copy of the target, it carries
// the target's revision. Only a primary that another operator left is compared
// like that.
func (t *Tracker) Sourced(ctx context.Context, c *v1beta1.Canary, o *Observed, primary client.Object) (client.Object, error) {
	if _, ours := primary.GetAnnotations()[workload.RevisionAnnotation]; ours || len(o.list) == 0 {
		return primary, nil
	}
	var copies []workload.ConfigRef
	for _, one := range o.list {
		for _, name := range one.names {
			copies = append(copies, workload.ConfigRef{Kind: one.Kind, Name: name})
		}
	}
	// Flagger lets the Canaries that use one config share its copy, so another
	// Canary's will do.
	seen, err := t.look(ctx, c.Namespace, copies, o.contents, func(_ workload.ConfigRef, copied *metav1.PartialObjectMetadata) bool {
		owner := metav1.GetControllerOfNoCopy(copied)
		return owner != nil && isCanary(owner)
	})
	if err != nil {
		return nil, err
	}
	sources := map[workload.ConfigRef]string{}
	for _, one := range o.list {
		for _, name := range one.names {
			copied := workload.ConfigRef{Kind: one.Kind, Name: name}
			now, exists := seen[copied]
			if one.gone || exists && isCanary(&now.owner) && (now.hash == one.hash || now.hash == one.data) {
				sources[copied] = one.Name
			}
		}
	}
	out := primary.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy of one
	*workload.Template(out) = *workload.Rename(workload.Template(primary), sources)
	return out, nil
}

func newObject(kind workload.ConfigKind) client.Object {
	if kind == workload.Secret {
		return &corev1.Secret{}
	}
	return &corev1.ConfigMap{}
}
