package kube

import (
	"bytes"
	"cmp"
	"compress/flate"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// packedAnnotation is on the template of a packed workload, and holds what was taken out of it.
	packedAnnotation = "sluice.dev/packed"
	// lastApplied is kubectl's second copy of a workload in itself, which nobody reads.
	lastApplied = "kubectl.kubernetes.io/last-applied-configuration"
)

// Pack is a transform of an informer cache: it packs the pod templates of Deployments and StatefulSets, in place, and
// leaves everything else to next. A cache has those of the whole cluster, most of them nobody's who releases anything,
// and a template weighs ten times as much as it does packed. The client that NewClient makes unpacks what it reads by
// its name.
//
// A template keeps its labels. DaemonSets are left as they are: a node selector says how many pods they have, and they
// are few.
func Pack(next func(any) (any, error)) func(any) (any, error) {
	p := &packer{}
	return func(o any) (any, error) {
		o, err := next(o)
		if err != nil {
			return o, err
		}
		if w, ok := o.(client.Object); ok {
			p.pack(w)
		}
		return o, nil
	}
}

// templateOf is the pod template of what is packed, nil for all else.
func templateOf(o client.Object) *corev1.PodTemplateSpec {
	switch o := o.(type) {
	case *appsv1.Deployment:
		return &o.Spec.Template
	case *appsv1.StatefulSet:
		return &o.Spec.Template
	default:
		return nil
	}
}

// packer packs templates, each once as long as it is among those of which something has happened lately.
type packer struct {
	last recent[packed]
}

// packed is what a template of a generation has become.
type packed struct {
	generation int64
	content    string
}

func (p *packer) pack(o client.Object) {
	template := templateOf(o)
	if template == nil || isPacked(template) {
		return
	}
	delete(o.GetAnnotations(), lastApplied)
	known, ok := p.last.get(o.GetUID())
	if !ok || known.generation != o.GetGeneration() {
		content, err := deflated(template)
		if err != nil {
			return // it is as good as it is
		}
		known = packed{o.GetGeneration(), content}
		p.last.put(o.GetUID(), known)
	}
	labels := template.Labels
	*template = corev1.PodTemplateSpec{}
	template.Labels, template.Annotations = labels, map[string]string{packedAnnotation: known.content}
}

// isPacked tells whether a template is packed. No template of the API server is without containers.
func isPacked(t *corev1.PodTemplateSpec) bool {
	return len(t.Spec.Containers) == 0 && t.Annotations[packedAnnotation] != ""
}

var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		panic(err) // there is such a level
	}
	return w
}}

// deflated is a template as it is packed.
func deflated(t *corev1.PodTemplateSpec) (string, error) {
	raw, err := t.Marshal()
	if err != nil {
		return "", fmt.Errorf("encode a pod template: %w", err)
	}
	var out strings.Builder
	w := deflaters.Get().(*flate.Writer) //nolint:forcetypeassert // there is nothing else in it
	defer deflaters.Put(w)
	w.Reset(&out)
	if _, err := w.Write(raw); err != nil {
		return "", fmt.Errorf("pack a pod template: %w", err)
	}
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("pack a pod template: %w", err)
	}
	return out.String(), nil
}

var inflaters = sync.Pool{New: func() any { return flate.NewReader(strings.NewReader("")) }}

// inflated is what deflated has packed.
func inflated(content string) (*corev1.PodTemplateSpec, error) {
	var raw bytes.Buffer
	r := inflaters.Get().(io.Reader) //nolint:forcetypeassert // there is nothing else in it
	defer inflaters.Put(r)
	err := r.(flate.Resetter).Reset(strings.NewReader(content), nil) //nolint:forcetypeassert // as package flate says
	if err == nil {
		_, err = raw.ReadFrom(r)
	}
	if err != nil {
		return nil, fmt.Errorf("unpack a pod template: %w", err)
	}
	t := &corev1.PodTemplateSpec{}
	if err := t.Unmarshal(raw.Bytes()); err != nil {
		return nil, fmt.Errorf("decode a pod template: %w", err)
	}
	return t, nil
}

// unpacker unpacks templates, each once as long as it is among those that have been read lately.
type unpacker struct {
	last recent[unpacked]
}

func newUnpacker() *unpacker { return &unpacker{recent[unpacked]{atLeast: unpackedAtLeast}} }

// unpacked is what has become of a packed template.
type unpacked struct {
	content  string
	template *corev1.PodTemplateSpec
}

// unpack gives a workload that was read from the cache its template, which is shared with others who have read it.
func (u *unpacker) unpack(o client.Object) error {
	template := templateOf(o)
	if template == nil || !isPacked(template) {
		return nil
	}
	content := template.Annotations[packedAnnotation]
	known, ok := u.last.get(o.GetUID())
	if !ok || known.content != content {
		full, err := inflated(content)
		if err != nil {
			return fmt.Errorf("%T %s/%s: %w", o, o.GetNamespace(), o.GetName(), err)
		}
		known = unpacked{content, full}
		u.last.put(o.GetUID(), known)
	}
	*template = *known.template
	return nil
}

// Get implements client.Reader.
func (c *briefClient) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if err := c.WithWatch.Get(ctx, key, o, opts...); err != nil {
		return err
	}
	return c.unpacker.unpack(o)
}

const (
	// recently is how many objects at least are remembered as those of which something has happened lately, and twice as
	// many at most.
	recently = 256
	// unpackedAtLeast is how many are of which the template is kept unpacked: those of as many Canaries as have turns at
	// once. Each weighs what a Canary does with all that belongs to it.
	unpackedAtLeast = 32
)

// recent remembers a T of those objects of which something has happened lately. It is safe for concurrent use; the zero
// value knows nothing.
type recent[T any] struct {
	atLeast     int // how many are remembered; recently without it
	mu          sync.Mutex
	now, before map[types.UID]T
}

func (r *recent[T]) get(of types.UID) (known T, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok = r.now[of]; ok {
		return known, true
	}
	if known, ok = r.before[of]; ok {
		r.set(of, known)
	}
	return known, ok
}

func (r *recent[T]) put(of types.UID, known T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(of, known)
}

func (r *recent[T]) set(of types.UID, known T) {
	atLeast := cmp.Or(r.atLeast, recently)
	if r.now == nil || len(r.now) >= atLeast {
		r.now, r.before = make(map[types.UID]T, atLeast), r.now
	}
	r.now[of] = known
}
