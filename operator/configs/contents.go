package configs

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/operator/kube"
)

// contents knows what is in objects by their hashes, and reads of them what has changed.
type contents struct {
	cached client.Reader // of metadata
	live   client.Reader

	index  index
	facts  records
	shared kube.Sharer
	reads  sync.Map // namespace -> *sync.Mutex: several Canaries with one config read it once
	sizes  sizes
}

// existing is a config that exists. hash and data are empty where it was not
// asked for, and was not read.
type existing struct {
	marks      *marks // nil for nobody's
	uid        types.UID
	version    string
	shared     bool
	hash, data string
}

// isOf tells whether it was made for a Canary.
func (e existing) isOf(owner ownership.Owner) bool {
	return e.marks != nil && owner.Owns(e.marks.meta())
}

// marks are those metadata of a config by which it is told whose it is. As metadata of
// Kubernetes they would weigh six times as much.
type marks struct {
	labels, annotations map[string]string
	owners              []metav1.OwnerReference
}

// marksOf are the marks of an object, nil for one without any.
func marksOf(o client.Object) *marks {
	m := &marks{owners: o.GetOwnerReferences()}
	m.labels, m.annotations = ownership.Keep(o.GetLabels(), o.GetAnnotations())
	if len(m.labels)+len(m.annotations)+len(m.owners) == 0 {
		return nil
	}
	return m
}

// meta are the marks as metadata of Kubernetes.
func (m *marks) meta() *metav1.ObjectMeta {
	return &metav1.ObjectMeta{Labels: m.labels, Annotations: m.annotations, OwnerReferences: m.owners}
}

// look returns those of the configs that exist. It reads the contents of those
// that are wanted and have changed since they were read, and leaves these
// contents in the map.
func (k *contents) look(ctx context.Context, namespace string, refs []Ref, contents map[Ref]client.Object,
	wanted func(Ref, *metav1.PartialObjectMetadata) bool,
) (map[Ref]existing, error) {
	out, unknown, err := k.known(ctx, namespace, refs, wanted)
	if err != nil || len(unknown) == 0 {
		return out, err
	}
	lock, _ := k.reads.LoadOrStore(namespace, &sync.Mutex{})
	mu := lock.(*sync.Mutex) //nolint:forcetypeassert // nothing else is in there
	mu.Lock()
	defer mu.Unlock()
	// Another Canary may have read them meanwhile.
	if out, unknown, err = k.known(ctx, namespace, refs, wanted); err != nil || len(unknown) == 0 {
		return out, err
	}
	read, err := k.read(ctx, namespace, unknown)
	if err != nil {
		return nil, err
	}
	for _, ref := range unknown {
		o := read[ref]
		if o == nil {
			continue // it has just been deleted, and the cache will tell
		}
		contents[ref] = o
		fact, err := k.note(ref, o)
		if err != nil {
			return nil, err
		}
		out[ref] = fact.summary()
	}
	return out, nil
}

// known is look without reading.
func (k *contents) known(ctx context.Context, namespace string, refs []Ref,
	wanted func(Ref, *metav1.PartialObjectMetadata) bool,
) (out map[Ref]existing, unknown []Ref, err error) {
	out = make(map[Ref]existing, len(refs))
	for _, ref := range refs {
		o := newMetadata(ref.Kind)
		err := k.cached.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, o)
		if apierrors.IsNotFound(err) {
			o = nil
		} else if err != nil {
			return nil, nil, fmt.Errorf("look for %s: %w", ref.Title(), err)
		}
		fact, exists, ok := k.facts.get(objectKey{namespace, ref}, o)
		switch {
		case !exists:
		case ok:
			out[ref] = fact.summary()
		case TrackingDisabled(o.Annotations) || !wanted(ref, o):
			out[ref] = existing{marks: marksOf(o), uid: o.UID, version: o.ResourceVersion, shared: TrackingDisabled(o.Annotations)}
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
func (k *contents) note(ref Ref, o client.Object) (record, error) {
	hash, data, err := Hash(o)
	if err != nil {
		return record{}, err
	}
	of := marksOf(o)
	// Those of all copies for a Canary are the same, and so is what is in a config and in its copy.
	if of != nil {
		of.labels, of.annotations = k.shared.Map(of.labels), k.shared.Map(of.annotations)
	}
	fact := record{
		marks: of, uid: o.GetUID(), version: o.GetResourceVersion(), shared: Shared(o), hash: k.shared.Text(hash), data: k.shared.Text(data),
	}
	k.facts.put(objectKey{o.GetNamespace(), ref}, fact)
	return fact, nil
}

// From listFrom configs on, all of a namespace are read by one request, unless
// that would be more than listWaste times as many as are needed.
const (
	listFrom  = 4
	listWaste = 10
)

// read returns the contents of those of the configs that exist.
func (k *contents) read(ctx context.Context, namespace string, refs []Ref) (map[Ref]client.Object, error) {
	out := map[Ref]client.Object{}
	for _, kind := range kinds {
		var wanted []Ref
		for _, ref := range refs {
			if ref.Kind == kind {
				wanted = append(wanted, ref)
			}
		}
		if err := k.readKind(ctx, namespace, kind, wanted, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (k *contents) readKind(ctx context.Context, namespace string, kind Kind, refs []Ref, into map[Ref]client.Object) error {
	if len(refs) >= listFrom {
		all, err := k.size(ctx, namespace, kind)
		if err != nil {
			return err
		}
		if all <= listWaste*len(refs) {
			return k.list(ctx, namespace, kind, refs, into)
		}
	}
	for _, ref := range refs {
		o := newObject(kind)
		err := k.live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, o)
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

// sizeHolds is how long it is taken to be known how many configs a namespace has, which only says how they are read best.
const sizeHolds = 10 * time.Second

// sizes are how many configs of a kind namespaces had. A start reads those of all Canaries of a namespace, one after the
// other, and to count them for each would be as much as the square of it. It is safe for concurrent use.
type sizes struct {
	mu    sync.Mutex
	until time.Time // when all of them are forgotten
	known map[sizeKey]int
}

type sizeKey struct {
	namespace string
	kind      Kind
}

func (s *sizes) get(of sizeKey, now time.Time) (int, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.After(s.until) {
		s.known = nil
	}
	n, ok := s.known[of]
	return n, ok
}

func (s *sizes) put(of sizeKey, n int, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known, s.until = map[sizeKey]int{}, now.Add(sizeHolds)
	}
	s.known[of] = n
}

// size is about how many configs of a kind a namespace has.
func (k *contents) size(ctx context.Context, namespace string, kind Kind) (int, error) {
	of, now := sizeKey{namespace, kind}, k.facts.clock.Now()
	if n, ok := k.sizes.get(of, now); ok {
		return n, nil
	}
	all := newMetadataList(kind)
	if err := k.cached.List(ctx, all, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("list %ss: %w", kind, err)
	}
	k.sizes.put(of, len(all.Items), now)
	return len(all.Items), nil
}

// list reads all configs of a namespace at once. The hashes of the others are
// remembered for a while: they are likely to be another Canary's.
func (k *contents) list(ctx context.Context, namespace string, kind Kind, refs []Ref, into map[Ref]client.Object) error {
	k.facts.sweep(k.index.matters)
	items, err := listObjects(ctx, k.live, namespace, kind)
	if err != nil {
		return fmt.Errorf("list %ss: %w", kind, err)
	}
	for _, o := range items {
		ref := Ref{Kind: kind, Name: o.GetName()}
		if slices.Contains(refs, ref) {
			into[ref] = o
			continue
		}
		if _, err := k.note(ref, o); err != nil {
			return err
		}
	}
	return nil
}

func listObjects(ctx context.Context, reader client.Reader, namespace string, kind Kind) ([]client.Object, error) {
	var out []client.Object
	if kind == Secret {
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
