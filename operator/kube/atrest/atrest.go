// Package atrest keeps the objects of informer caches as bytes while nobody looks at them. A cluster's worth of them is
// there to be compared when something happens, which is rare for each: as the structures that they are decoded to they
// weigh three to five times as much.
//
// Whoever reads such a cache, indexes it or follows its events has objects of the same types as without it, and like those
// of any cache they are shared and must not be changed. What was looked at lately is decoded already.
package atrest

import (
	"fmt"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// stored is an object at rest.
type stored struct {
	unasked

	// key is NAMESPACE/NAME, or the name of what is in no namespace, as caches have it.
	key string
	// content is what the codec of its informer has made of it, after its resource version and the length of that.
	content string
}

// GetName implements metav1.Object. It gives all of the key, so that the store of the informer need not make another one.
func (s *stored) GetName() string { return s.key }

// GetNamespace implements metav1.Object.
func (s *stored) GetNamespace() string { return "" }

// GetResourceVersion implements metav1.Object.
func (s *stored) GetResourceVersion() string { return s.content[1 : 1+s.content[0]] }

// namespace is that of the object, empty for none.
func (s *stored) namespace() string {
	namespace, _, ok := strings.Cut(s.key, "/")
	if !ok {
		return ""
	}
	return namespace
}

// encoded is what the codec has made of the object.
func (s *stored) encoded() string { return s.content[1+s.content[0]:] }

// longestVersion is that of what is kept at rest: its length is a byte.
const longestVersion = 255

// Caches makes the informers of caches whose objects are at rest. They share what they remember of those that were looked
// at lately.
type Caches struct {
	// Plain has an example of each type of other objects that are at rest, which the API server sends as JSON.
	Plain []client.Object

	last recent
}

// scratch has room to encode and to decode in: what is kept is allocated once it is as large as it is to be, so that
// nothing that goes at once lies between what stays.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// NewInformer makes an informer whose objects are at rest, where there is an encoding that loses nothing of them; another
// one has them as any informer does. It is what cache.Options.NewInformer is for.
func (c *Caches) NewInformer(from toolscache.ListerWatcher, example runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
	codec := c.codecOf(example)
	if codec == nil {
		return toolscache.NewSharedIndexInformer(from, example, resync, indexers)
	}
	k := &kind{caches: c, codec: codec, indexes: toolscache.Indexers{}}
	i := &informer{SharedIndexInformer: toolscache.NewSharedIndexInformer(from, example, resync, k.index(indexers)), kind: k}
	k.synced, k.first = i.HasSynced, &chunk{}
	if err := i.SetTransform(nil); err != nil {
		panic(err) // it has not been started
	}
	return i
}

// kind is what the objects of an informer have in common.
type kind struct {
	caches *Caches
	codec  codec

	// synced tells whether all objects have been read that there were at first.
	synced func() bool

	mu      sync.Mutex
	first   *chunk // of those, nil once they have been read
	indexes toolscache.Indexers
	named   schema.GroupVersionKind // what the objects say of their kind, which is nothing or always the same
}

// pack gives an object at rest, or the object itself where it can't be.
func (k *kind) pack(o any) any {
	of, ok := o.(client.Object)
	if !ok || len(of.GetResourceVersion()) > longestVersion || !k.names(of.GetObjectKind().GroupVersionKind()) {
		return o
	}
	room := scratch.Get().(*[]byte) //nolint:forcetypeassert // there is nothing else in it
	defer scratch.Put(room)
	version := of.GetResourceVersion()
	content, err := k.codec.encode(append(append((*room)[:0], byte(len(version))), version...), of)
	if err != nil {
		return o // it is as good as it is
	}
	*room = content
	key := of.GetName()
	if namespace := of.GetNamespace(); namespace != "" {
		key = namespace + "/" + key
	}
	s := k.keep(key, content)
	k.caches.last.put(s, of)
	return s
}

// keep makes an object at rest.
func (k *kind) keep(key string, content []byte) *stored {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.first != nil && !k.synced() {
		return k.first.keep(key, content)
	}
	k.first = nil
	return &stored{key: key, content: string(content)}
}

// chunk has room for objects that are read at first, one after the other. What they are decoded from goes at once, and would
// leave holes between them that are as large as they are. Those that come later have room of their own: an object keeps its chunk,
// and so the others of that which have changed since, which is at most as much again as all that there were at first.
type chunk struct {
	texts   strings.Builder
	objects []stored
}

const (
	// chunkBytes is the room of a chunk for texts, and chunkObjects that for objects.
	chunkBytes   = 8 << 10
	chunkObjects = 32
)

func (c *chunk) keep(key string, content []byte) *stored {
	if c.texts.Cap()-c.texts.Len() < len(key)+len(content) {
		c.texts = strings.Builder{}
		c.texts.Grow(max(chunkBytes, len(key)+len(content)))
	}
	if len(c.objects) == cap(c.objects) {
		c.objects = make([]stored, 0, chunkObjects)
	}
	from := c.texts.Len()
	c.texts.WriteString(key)
	c.texts.Write(content)
	text := c.texts.String()[from:]
	c.objects = append(c.objects, stored{key: text[:len(key)], content: text[len(key):]})
	return &c.objects[len(c.objects)-1]
}

// names tells whether objects of a kind's name are what this informer has.
func (k *kind) names(gvk schema.GroupVersionKind) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.named.Empty() {
		k.named = gvk
	}
	return k.named == gvk
}

// unpack gives an object as whoever reads it knows it.
func (k *kind) unpack(o any) (any, error) {
	s, ok := o.(*stored)
	if !ok {
		return o, nil
	}
	if known := k.caches.last.get(s); known != nil {
		return known, nil
	}
	room := scratch.Get().(*[]byte) //nolint:forcetypeassert // there is nothing else in it
	defer scratch.Put(room)
	*room = append((*room)[:0], s.encoded()...)
	of, err := k.codec.decode(*room)
	if err != nil {
		return nil, fmt.Errorf("decode %s, which was at rest: %w", s.key, err)
	}
	of.SetNamespace(s.namespace())
	of.SetName(s.key[strings.IndexByte(s.key, '/')+1:])
	of.SetResourceVersion(s.GetResourceVersion())
	k.mu.Lock()
	named := k.named
	k.mu.Unlock()
	if !named.Empty() {
		of.GetObjectKind().SetGroupVersionKind(named)
	}
	k.caches.last.put(s, of)
	return of, nil
}

// all unpacks objects. One that can't be is left out, and logged: nothing of the API server's is like that.
func (k *kind) all(objects []any) []any {
	out := objects[:0]
	for _, o := range objects {
		of, err := k.unpack(o)
		if err != nil {
			klog.Background().Error(err, "Reading the cache")
			continue
		}
		out = append(out, of)
	}
	return out
}

// recently is how many objects at least are remembered as what they were decoded to, and twice as many at most: those of
// as many Canaries as have turns at once.
const recently = 512

// recent remembers what objects at rest have been decoded to that were looked at lately. It is safe for concurrent use;
// the zero value knows nothing.
type recent struct {
	mu          sync.Mutex
	now, before map[*stored]client.Object
}

func (r *recent) get(of *stored) client.Object {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.now[of]; known != nil {
		return known
	}
	known := r.before[of]
	if known != nil {
		r.set(of, known)
	}
	return known
}

func (r *recent) put(of *stored, known client.Object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(of, known)
}

func (r *recent) set(of *stored, known client.Object) {
	if r.now == nil || len(r.now) >= recently {
		r.now, r.before = make(map[*stored]client.Object, recently), r.now
	}
	r.now[of] = known
}

var _ metav1.Object = (*stored)(nil)
