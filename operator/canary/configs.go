package canary

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
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// configOwnerIndex finds the copies that a Canary controls.
const configOwnerIndex = "canary"

// configKinds are the kinds that are tracked.
var configKinds = []workload.ConfigKind{workload.ConfigMap, workload.Secret}

// ConfigTracker knows the contents of ConfigMaps and Secrets by their hashes.
// What changed is learned from a watch of their metadata; contents are read
// only of objects that a Canary uses, and only when they changed.
type ConfigTracker struct {
	cached client.Reader
	live   client.Reader
	index  configIndex
	facts  configFacts
	reads  sync.Map // namespace -> *sync.Mutex: several Canaries with one config read it once
}

// NewConfigTracker reads metadata through cached, which must answer from an
// informer cache, and contents through live, which must not.
func NewConfigTracker(cached, live client.Reader, clk clock.PassiveClock) *ConfigTracker {
	return &ConfigTracker{cached: cached, live: live, facts: configFacts{clock: clk}}
}

// setUp adds the watches of metadata to a controller.
func (t *ConfigTracker) setUp(ctx context.Context, mgr ctrl.Manager, b *builder.Builder) error {
	for _, kind := range configKinds {
		o := newConfigMetadata(kind)
		if err := mgr.GetFieldIndexer().IndexField(ctx, o, configOwnerIndex, configOwners); err != nil {
			return fmt.Errorf("index of %ss: %w", kind, err)
		}
		b.WatchesMetadata(newConfigMetadata(kind), handler.EnqueueRequestsFromMapFunc(t.users(kind)), builder.WithPredicates(configEvents()))
	}
	return nil
}

// configEvents drops the events of a resync, or of a relist after the
// connection broke: they change no version.
func configEvents() predicate.Predicate { return predicate.ResourceVersionChangedPredicate{} }

// configCaches are the settings of a cache for ConfigMaps and Secrets, of which
// it must have the metadata only. Even that is cut to what is looked at: the
// annotation of kubectl apply holds all contents.
func configCaches() map[client.Object]cache.ByObject {
	out := map[client.Object]cache.ByObject{}
	for _, kind := range configKinds {
		out[newConfig(kind)] = cache.ByObject{Transform: stripConfig}
	}
	return out
}

func stripConfig(o any) (any, error) {
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
func (t *ConfigTracker) users(kind workload.ConfigKind) handler.MapFunc {
	return func(_ context.Context, o client.Object) []reconcile.Request {
		canaries := t.index.canaries(configKey{o.GetNamespace(), workload.ConfigRef{Kind: kind, Name: o.GetName()}})
		out := make([]reconcile.Request, len(canaries))
		for i := range canaries {
			out[i].NamespacedName = canaries[i]
		}
		return out
	}
}

// configOwners are the values of configOwnerIndex.
func configOwners(o client.Object) []string {
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

func newConfigMetadata(kind workload.ConfigKind) *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(configGVK(kind))
	return o
}

func newConfigList(kind workload.ConfigKind) *metav1.PartialObjectMetadataList {
	list := &metav1.PartialObjectMetadataList{}
	gvk := configGVK(kind)
	gvk.Kind += "List"
	list.SetGroupVersionKind(gvk)
	return list
}

func configGVK(kind workload.ConfigKind) schema.GroupVersionKind {
	if kind == workload.Secret {
		return corev1.SchemeGroupVersion.WithKind("Secret")
	}
	return corev1.SchemeGroupVersion.WithKind("ConfigMap")
}

// forget drops what is known for a Canary that is gone.
func (t *ConfigTracker) forget(canary types.NamespacedName) {
	t.facts.drop(t.index.set(canary, nil))
}

// configs are those of a Canary's target, as they are in this turn.
type configs struct {
	list []trackedConfig
	// hashes are as they go into status.trackedConfigs.
	hashes map[string]string
	// missing are configs without which no pod starts.
	missing []string
	// contents of what was read in this turn.
	contents map[workload.ConfigRef]client.Object
}

// trackedConfig is a config of which the primary has a copy.
type trackedConfig struct {
	workload.Reference
	// gone is true when there is no such object now.
	gone bool
	// hash and data are of its contents, see workload.ConfigHash.
	hash, data string
	// names are those that its copy may have, in order.
	names []string
}

// observeConfigs finds what the target's pods read beside their template and
// makes it part of the target's revision. A deletion does not depend on it.
func (r *Reconciler) observeConfigs(ctx context.Context, w *world) error {
	if r.Configs == nil || w.target == nil || workload.Template(w.target) == nil || !w.Canary.DeletionTimestamp.IsZero() {
		return nil // a target of kind Service has no pods of its own
	}
	found, err := r.Configs.observe(ctx, w.Canary, workload.Template(w.target))
	if err != nil {
		return err
	}
	w.configs = found
	w.Target.Revision = workload.TrackedRevision(w.Target.Revision, found.hashes)
	if len(found.missing) > 0 {
		w.Target.Ready = false
		w.Target.Message = found.missingMessage()
	}
	return nil
}

func (c *configs) missingMessage() string {
	return "its pods can't start without " + strings.Join(c.missing, ", ") + ", which does not exist"
}

// observe looks at every config that the pods of a template use, and at the
// copies of them that the Canary has.
func (t *ConfigTracker) observe(ctx context.Context, c *v1beta1.Canary, template *corev1.PodTemplateSpec) (*configs, error) {
	references := workload.References(template)
	used := make([]workload.ConfigRef, len(references))
	for i := range references {
		used[i] = references[i].ConfigRef
	}
	out := &configs{hashes: map[string]string{}, contents: map[workload.ConfigRef]client.Object{}}
	if len(references) == 0 {
		t.forget(client.ObjectKeyFromObject(c))
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
	keys := make([]configKey, len(all))
	for i := range all {
		keys[i] = configKey{c.Namespace, all[i]}
	}
	t.facts.drop(t.index.set(client.ObjectKeyFromObject(c), keys))

	seen, err := t.look(ctx, c.Namespace, all, out.contents, func(ref workload.ConfigRef, o *metav1.PartialObjectMetadata) bool {
		return slices.Contains(used, ref) && !workload.TrackingDisabled(o.Annotations) || metav1.IsControlledBy(o, c)
	})
	if err != nil {
		return nil, err
	}
	for i, ref := range references {
		t.add(c, out, trackedConfig{Reference: ref, names: names[i]}, seen)
	}
	return out, nil
}

// add decides whether and as what one config is tracked.
func (t *ConfigTracker) add(c *v1beta1.Canary, to *configs, one trackedConfig, seen map[workload.ConfigRef]seenConfig) {
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
func lastHash(c *v1beta1.Canary, one trackedConfig, seen map[workload.ConfigRef]seenConfig) string {
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

// recordConfigs puts the hashes of the release into its status.
func (w *world) recordConfigs(d *rollout.Decision) {
	if w.configs == nil || d.Desired.Hold || d.Status.LastAppliedSpec != w.Target.Revision {
		return
	}
	if d.Status.TrackedConfigs = nil; len(w.configs.hashes) > 0 {
		d.Status.TrackedConfigs = &w.configs.hashes
	}
}

// sourced is the primary with references to copies that are like their sources
// put back to the sources: where it is then a copy of the target, it carries
// the target's revision. Only a primary that another operator left is compared
// like that.
func (r *Reconciler) sourced(ctx context.Context, w *world, primary client.Object) (client.Object, error) {
	if _, ours := primary.GetAnnotations()[workload.RevisionAnnotation]; ours || w.configs == nil || len(w.configs.list) == 0 {
		return primary, nil
	}
	var copies []workload.ConfigRef
	for _, one := range w.configs.list {
		for _, name := range one.names {
			copies = append(copies, workload.ConfigRef{Kind: one.Kind, Name: name})
		}
	}
	// Flagger lets the Canaries that use one config share its copy, so another
	// Canary's will do.
	seen, err := r.Configs.look(ctx, w.Canary.Namespace, copies, w.configs.contents, func(_ workload.ConfigRef, o *metav1.PartialObjectMetadata) bool {
		owner := metav1.GetControllerOfNoCopy(o)
		return owner != nil && isCanary(owner)
	})
	if err != nil {
		return nil, err
	}
	sources := map[workload.ConfigRef]string{}
	for _, one := range w.configs.list {
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

// seenConfig is a config that exists. hash and data are empty where it was not
// asked for, and was not read.
type seenConfig struct {
	owner      metav1.OwnerReference
	uid        types.UID
	version    string
	shared     bool
	hash, data string
}

// look returns those of the configs that exist. It reads the contents of those
// that are wanted and have changed since they were read, and leaves these
// contents in the map.
func (t *ConfigTracker) look(ctx context.Context, namespace string, refs []workload.ConfigRef, contents map[workload.ConfigRef]client.Object,
	wanted func(workload.ConfigRef, *metav1.PartialObjectMetadata) bool,
) (map[workload.ConfigRef]seenConfig, error) {
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
func (t *ConfigTracker) known(ctx context.Context, namespace string, refs []workload.ConfigRef,
	wanted func(workload.ConfigRef, *metav1.PartialObjectMetadata) bool,
) (out map[workload.ConfigRef]seenConfig, unknown []workload.ConfigRef, err error) {
	out = make(map[workload.ConfigRef]seenConfig, len(refs))
	for _, ref := range refs {
		o := newConfigMetadata(ref.Kind)
		err := t.cached.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, o)
		if apierrors.IsNotFound(err) {
			o = nil
		} else if err != nil {
			return nil, nil, fmt.Errorf("look for %s: %w", ref.Title(), err)
		}
		fact, exists, ok := t.facts.get(configKey{namespace, ref}, o)
		switch {
		case !exists:
		case ok:
			out[ref] = fact.summary()
		case workload.TrackingDisabled(o.Annotations) || !wanted(ref, o):
			now := seenConfig{uid: o.UID, version: o.ResourceVersion, shared: workload.TrackingDisabled(o.Annotations)}
			if owner := metav1.GetControllerOf(o); owner != nil {
				now.owner = *owner
			}
			out[ref] = now
		default:
			unknown = append(unknown, ref)
		}
	}
	return out, unknown, nil
}

func (f configFact) summary() seenConfig {
	return seenConfig{owner: f.owner, uid: f.uid, version: f.version, shared: f.shared, hash: f.hash, data: f.data}
}

// note remembers an object that was read or written.
func (t *ConfigTracker) note(ref workload.ConfigRef, o client.Object) (configFact, error) {
	hash, data, err := workload.ConfigHash(o)
	if err != nil {
		return configFact{}, err
	}
	fact := configFact{uid: o.GetUID(), version: o.GetResourceVersion(), shared: workload.Shared(o), hash: hash, data: data}
	if owner := metav1.GetControllerOf(o); owner != nil {
		fact.owner = *owner
	}
	t.facts.put(configKey{o.GetNamespace(), ref}, fact)
	return fact, nil
}

// From listFrom configs on, all of a namespace are read by one request, unless
// that would be more than listWaste times as many as are needed.
const (
	listFrom  = 4
	listWaste = 10
)

// read returns the contents of those of the configs that exist.
func (t *ConfigTracker) read(ctx context.Context, namespace string, refs []workload.ConfigRef) (map[workload.ConfigRef]client.Object, error) {
	out := map[workload.ConfigRef]client.Object{}
	for _, kind := range configKinds {
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

func (t *ConfigTracker) readKind(ctx context.Context, namespace string, kind workload.ConfigKind, refs []workload.ConfigRef, into map[workload.ConfigRef]client.Object) error {
	if len(refs) >= listFrom {
		all := newConfigList(kind)
		if err := t.cached.List(ctx, all, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("list %ss: %w", kind, err)
		}
		if len(all.Items) <= listWaste*len(refs) {
			return t.list(ctx, namespace, kind, refs, into)
		}
	}
	for _, ref := range refs {
		o := newConfig(kind)
		err := t.live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, o)
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
func (t *ConfigTracker) list(ctx context.Context, namespace string, kind workload.ConfigKind, refs []workload.ConfigRef, into map[workload.ConfigRef]client.Object) error {
	t.facts.sweep(t.index.matters)
	items, err := listConfigs(ctx, t.live, namespace, kind)
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

func listConfigs(ctx context.Context, reader client.Reader, namespace string, kind workload.ConfigKind) ([]client.Object, error) {
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

func newConfig(kind workload.ConfigKind) client.Object {
	if kind == workload.Secret {
		return &corev1.Secret{}
	}
	return &corev1.ConfigMap{}
}
