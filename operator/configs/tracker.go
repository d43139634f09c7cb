// Package configs tracks what the pods of targets read beside their template: it makes
// the contents of ConfigMaps and Secrets part of a revision, and keeps copies of them for
// primaries, so that a primary reads what its own revision was released with.
package configs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

	index index
	facts records
	reads sync.Map // namespace -> *sync.Mutex: several Canaries with one config read it once
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
	return &Tracker{Config: config, facts: records{clock: config.Clock}}
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
	if key := ownership.Key(o); key != "" {
		return []string{key}
	}
	return nil
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
	owner   ownership.Owner
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
// copies of them that the Canary has, of which owner is the owner.
func (t *Tracker) Observe(ctx context.Context, owner ownership.Owner, c *v1beta1.Canary, template *corev1.PodTemplateSpec) (*Observed, error) {
	references := workload.References(template)
	used := make([]workload.ConfigRef, len(references))
	for i := range references {
		used[i] = references[i].ConfigRef
	}
	out := &Observed{owner: owner, tracked: true, hashes: map[string]string{}, contents: map[workload.ConfigRef]client.Object{}}
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
		return slices.Contains(used, ref) && !workload.TrackingDisabled(o.Annotations) || owner.Owns(o)
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
		one.gone, one.hash = true, lastHash(c, to.owner, one, seen)
		to.missing = append(to.missing, one.Title())
	}
	to.hashes[one.String()] = one.hash
	to.list = append(to.list, one)
}

// lastHash is that of a config that is missing, as far as it is known.
func lastHash(c *v1beta1.Canary, owner ownership.Owner, one tracked, seen map[workload.ConfigRef]existing) string {
	if tracked := c.Status.TrackedConfigs; tracked != nil {
		if hash := (*tracked)[one.String()]; workload.KnownConfigHash(hash) {
			return hash
		}
	}
	for _, name := range one.names {
		if copied := seen[workload.ConfigRef{Kind: one.Kind, Name: name}]; copied.isOf(owner) && copied.hash != "" {
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
		return ownership.Key(copied) != ""
	})
	if err != nil {
		return nil, err
	}
	sources := map[workload.ConfigRef]string{}
	for _, one := range o.list {
		for _, name := range one.names {
			copied := workload.ConfigRef{Kind: one.Kind, Name: name}
			now, exists := seen[copied]
			if one.gone || exists && now.marks != nil && ownership.Key(now.marks) != "" && (now.hash == one.hash || now.hash == one.data) {
				sources[copied] = one.Name
			}
		}
	}
	out := primary.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy of one
	*workload.Template(out) = *workload.Rename(workload.Template(primary), sources)
	return out, nil
}

// existing is a config that exists. hash and data are empty where it was not
// asked for, and was not read.
type existing struct {
	marks      *metav1.ObjectMeta // see marksOf
	uid        types.UID
	version    string
	shared     bool
	hash, data string
}

// isOf tells whether it was made for a Canary.
func (e existing) isOf(owner ownership.Owner) bool { return e.marks != nil && owner.Owns(e.marks) }

// marksOf are those metadata of a config by which it is told whose it is, nil where it
// is nobody's.
func marksOf(o client.Object) *metav1.ObjectMeta {
	m := &metav1.ObjectMeta{OwnerReferences: o.GetOwnerReferences()}
	m.Labels, m.Annotations = ownership.Keep(o.GetLabels(), o.GetAnnotations())
	if len(m.OwnerReferences)+len(m.Labels)+len(m.Annotations) == 0 {
		return nil
	}
	return m
}

// look returns those of the configs that exist. It reads the contents of those
// that are wanted and have changed since they were read, and leaves these
// contents in the map.
func (t *Tracker) look(ctx context.Context, namespace string, refs []workload.ConfigRef, contents map[workload.ConfigRef]client.Object,
	wanted func(workload.ConfigRef, *metav1.PartialObjectMetadata) bool,
) (map[workload.ConfigRef]existing, error) {
	out, unknown, err := t.known(ctx, namespace, refs, wanted)
	if err != nil || len(unknown) == 0 {
		return out, err
	}
	lock, _ := t.reads.LoadOrStore(namespace, &sync.Mutex{})
	mu := lock.(*sync.Mutex) //nolint:forcetypeassert // nothing else is in there
	mu.Lock()
	defer mu.Unlock()
	// Another Canary may have read them meanwhile.
	if out, unknown, err = t.known(ctx, namespace, refs, wanted); err != nil || len(unknown) == 0 {
		return out, err
	}
	read, err := t.read(ctx, namespace, unknown)
	if err != nil {
		return nil, err
	}
	for _, ref := range unknown {
		o := read[ref]
		if o == nil {
			continue // it has just been deleted, and the cache will tell
		}
		contents[ref] = o
		fact, err := t.note(ref, o)
		if err != nil {
			return nil, err
		}
		out[ref] = fact.summary()
	}
	return out, nil
}

// known is look without reading.
func (t *Tracker) known(ctx context.Context, namespace string, refs []workload.ConfigRef,
	wanted func(workload.ConfigRef, *metav1.PartialObjectMetadata) bool,
) (out map[workload.ConfigRef]existing, unknown []workload.ConfigRef, err error) {
	out = make(map[workload.ConfigRef]existing, len(refs))
	for _, ref := range refs {
		o := newMetadata(ref.Kind)
		err := t.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, o)
		if apierrors.IsNotFound(err) {
			o = nil
		} else if err != nil {
			return nil, nil, fmt.Errorf("look for %s: %w", ref.Title(), err)
		}
		fact, exists, ok := t.facts.get(objectKey{namespace, ref}, o)
		switch {
		case !exists:
		case ok:
			out[ref] = fact.summary()
		case workload.TrackingDisabled(o.Annotations) || !wanted(ref, o):
			out[ref] = existing{marks: marksOf(o), uid: o.UID, version: o.ResourceVersion, shared: workload.TrackingDisabled(o.Annotations)}
		default:
			unknown = append(unknown, ref)
		}
	}
	return out, unknown, nil
}

func (f record) summary() existing {
	return existing{marks: f.marks, uid: f.uid, version: f.version, shared: f.shared, hash: f.hash, data: f.data}
}

// note remembers an object that was read or written.
func (t *Tracker) note(ref workload.ConfigRef, o client.Object) (record, error) {
	hash, data, err := workload.ConfigHash(o)
	if err != nil {
		return record{}, err
	}
	fact := record{marks: marksOf(o), uid: o.GetUID(), version: o.GetResourceVersion(), shared: workload.Shared(o), hash: hash, data: data}
	t.facts.put(objectKey{o.GetNamespace(), ref}, fact)
	return fact, nil
}

// From listFrom configs on, all of a namespace are read by one request, unless
// that would be more than listWaste times as many as are needed.
const (
	listFrom  = 4
	listWaste = 10
)

// read returns the contents of those of the configs that exist.
func (t *Tracker) read(ctx context.Context, namespace string, refs []workload.ConfigRef) (map[workload.ConfigRef]client.Object, error) {
	out := map[workload.ConfigRef]client.Object{}
	for _, kind := range kinds {
		var wanted []workload.ConfigRef
		for _, ref := range refs {
			if ref.Kind == kind {
				wanted = append(wanted, ref)
			}
		}
		if err := t.readKind(ctx, namespace, kind, wanted, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (t *Tracker) readKind(ctx context.Context, namespace string, kind workload.ConfigKind, refs []workload.ConfigRef, into map[workload.ConfigRef]client.Object) error {
	if len(refs) >= listFrom {
		all := newMetadataList(kind)
		if err := t.Client.List(ctx, all, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("list %ss: %w", kind, err)
		}
		if len(all.Items) <= listWaste*len(refs) {
			return t.list(ctx, namespace, kind, refs, into)
		}
	}
	for _, ref := range refs {
		o := newObject(kind)
		err := t.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, o)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", ref.Title(), err)
		}
		into[ref] = o
	}
	return nil
}

// list reads all configs of a namespace at once. The hashes of the others are
// remembered for a while: they are likely to be another Canary's.
func (t *Tracker) list(ctx context.Context, namespace string, kind workload.ConfigKind, refs []workload.ConfigRef, into map[workload.ConfigRef]client.Object) error {
	t.facts.sweep(t.index.matters)
	items, err := listObjects(ctx, t.Live, namespace, kind)
	if err != nil {
		return fmt.Errorf("list %ss: %w", kind, err)
	}
	for _, o := range items {
		ref := workload.ConfigRef{Kind: kind, Name: o.GetName()}
		if slices.Contains(refs, ref) {
			into[ref] = o
			continue
		}
		if _, err := t.note(ref, o); err != nil {
			return err
		}
	}
	return nil
}

func listObjects(ctx context.Context, reader client.Reader, namespace string, kind workload.ConfigKind) ([]client.Object, error) {
	var out []client.Object
	if kind == workload.Secret {
		var list corev1.SecretList
		if err := reader.List(ctx, &list, client.InNamespace(namespace)); err != nil {
			return nil, err
		}
		for i := range list.Items {
			out = append(out, &list.Items[i])
		}
		return out, nil
	}
	var list corev1.ConfigMapList
	if err := reader.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	for i := range list.Items {
		out = append(out, &list.Items[i])
	}
	return out, nil
}

func newObject(kind workload.ConfigKind) client.Object {
	if kind == workload.Secret {
		return &corev1.Secret{}
	}
	return &corev1.ConfigMap{}
}
