package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/watch"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// newCache makes the cache of the operator. It is that of controller-runtime,
// but an event of a custom resource, which comes as JSON, is taken apart once and
// not three times. Only a cache of several namespaces is left as it is.
func newCache(config *rest.Config, o cache.Options) (cache.Cache, error) {
	if o.NewInformer == nil && len(o.DefaultNamespaces) <= 1 {
		q := &quickInformers{config: config, options: o, codecs: serializer.NewCodecFactory(o.Scheme)}
		for namespace := range o.DefaultNamespaces {
			q.namespace = namespace
		}
		o.NewInformer = q.make
	}
	return cache.New(config, o)
}

type quickInformers struct {
	config    *rest.Config
	options   cache.Options
	codecs    serializer.CodecFactory
	namespace string // "" for all
}

func (q *quickInformers) make(
	lw toolscache.ListerWatcher, example runtime.Object, resync time.Duration, indexers toolscache.Indexers,
) toolscache.SharedIndexInformer {
	gvk, err := apiutil.GVKForObject(example, q.options.Scheme)
	_, metadata := example.(*metav1.PartialObjectMetadata)
	_, untyped := example.(runtime.Unstructured)
	if err == nil && !metadata && !untyped && !clientgoscheme.Scheme.Recognizes(gvk) {
		lw = &quickWatch{ListerWatcher: lw, informers: q, gvk: gvk}
	}
	return toolscache.NewSharedIndexInformer(lw, example, resync, indexers)
}

// quickWatch lists as any other informer and watches quickly.
type quickWatch struct {
	toolscache.ListerWatcher
	informers *quickInformers
	gvk       schema.GroupVersionKind
}

// ListWithContext implements toolscache.ListerWithContext.
func (w *quickWatch) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	return toolscache.ToListerWithContext(w.ListerWatcher).ListWithContext(ctx, o)
}

// WatchWithContext implements toolscache.WatcherWithContext.
func (w *quickWatch) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	q := w.informers
	mapping, err := q.options.Mapper.RESTMapping(w.gvk.GroupKind(), w.gvk.Version)
	if err != nil {
		return nil, err
	}
	c, err := apiutil.RESTClientForGVK(w.gvk, false, false, q.config, q.codecs, q.options.HTTPClient)
	if err != nil {
		return nil, fmt.Errorf("client of watches: %w", err)
	}
	o.Watch, o.AllowWatchBookmarks = true, true
	body, err := c.Get().NamespaceIfScoped(q.namespace, q.namespace != "").Resource(mapping.Resource.Resource).
		VersionedParams(&o, metav1.ParameterCodec).Stream(ctx)
	if err != nil {
		return nil, err
	}
	events := newEventDecoder(body, func() (runtime.Object, error) { return q.options.Scheme.New(w.gvk) })
	return watch.NewStreamWatcher(events, apierrors.NewClientErrorReporter(http.StatusInternalServerError, "GET", "ClientWatchDecoding")), nil
}

// eventDecoder reads the events of a watch, which are lines of JSON. It
// implements watch.Decoder.
type eventDecoder struct {
	body  io.ReadCloser
	lines *bufio.Reader
	empty func() (runtime.Object, error)
}

func newEventDecoder(body io.ReadCloser, empty func() (runtime.Object, error)) *eventDecoder {
	return &eventDecoder{body: body, lines: bufio.NewReaderSize(body, 16<<10), empty: empty}
}

// Close implements watch.Decoder.
func (d *eventDecoder) Close() { d.body.Close() }

// Decode implements watch.Decoder. The end of the stream between two events is io.EOF.
func (d *eventDecoder) Decode() (watch.EventType, runtime.Object, error) {
	line, err := d.line()
	if err != nil {
		return "", nil, err
	}
	kind, raw, ok := splitEvent(line)
	if !ok {
		var e metav1.WatchEvent
		if err := utiljson.Unmarshal(line, &e); err != nil {
			return "", nil, fmt.Errorf("decode watch event: %w", err)
		}
		kind, raw = watch.EventType(e.Type), e.Object.Raw
	}
	if kind == watch.Error {
		status := &metav1.Status{}
		if err := utiljson.Unmarshal(raw, status); err != nil {
			return "", nil, fmt.Errorf("decode the error of a watch: %w", err)
		}
		return kind, status, nil
	}
	o, err := d.empty()
	if err != nil {
		return "", nil, err
	}
	if err := utiljson.Unmarshal(withoutManagedFields(raw), o); err != nil {
		return "", nil, fmt.Errorf("decode the object of a watch event: %w", err)
	}
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{}) // as typed objects have it
	return kind, o, nil
}

// line is the next line, valid until the one after it is asked for.
func (d *eventDecoder) line() ([]byte, error) {
	for {
		line, err := d.lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			head := bytes.Clone(line)
			line, err = d.lines.ReadBytes('\n')
			line = append(head, line...)
		}
		line = bytes.TrimSpace(line)
		switch {
		case err == nil && len(line) == 0: // between two events
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, io.ErrUnexpectedEOF
		default:
			return line, err
		}
	}
}

// splitEvent takes apart an event as the API server writes it. It does not know
// any other form.
func splitEvent(line []byte) (watch.EventType, []byte, bool) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"type":"`))
	if !ok {
		return "", nil, false
	}
	kind, rest, ok := bytes.Cut(rest, []byte(`","object":`))
	if !ok || len(rest) < 2 || rest[len(rest)-1] != '}' {
		return "", nil, false
	}
	switch t := watch.EventType(kind); t {
	case watch.Added, watch.Modified, watch.Deleted, watch.Bookmark, watch.Error:
		return t, rest[:len(rest)-1], true
	default:
		return "", nil, false
	}
}

// withoutManagedFields empties metadata.managedFields of an object, in place: they are
// a third of what there is to decode, and the cache drops them. In JSON a quote
// within a string is escaped, so that this is found as a key only, and the first is that of the
// metadata. JSON that is not whole is left to who decodes it.
func withoutManagedFields(raw []byte) []byte {
	const key = `"managedFields":[`
	begin := bytes.Index(raw, []byte(key))
	if begin < 0 {
		return raw
	}
	begin += len(key)
	quoted, depth := false, 1
	for i := begin; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[':
			depth++
		case c == ']':
			if depth--; depth == 0 {
				return append(raw[:begin], raw[i:]...)
			}
		}
	}
	return raw
}
