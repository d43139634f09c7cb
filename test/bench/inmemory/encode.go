package inmemory

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"mime"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

const (
	jsonType  = "application/json"
	protoType = "application/vnd.kubernetes.protobuf"
)

// format is how a client wants objects.
type format struct{ proto, metadata bool }

// formatOf is the first of those that a client accepts in which a kind is served.
func formatOf(accept string, k Kind) format {
	for part := range strings.SplitSeq(accept, ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil || params["as"] != "" && params["as"] != "PartialObjectMetadata" && params["as"] != "PartialObjectMetadataList" {
			continue
		}
		f := format{proto: media == protoType, metadata: params["as"] != ""}
		if f.proto && k.Custom && !f.metadata || !f.proto && media != jsonType && media != "*/*" {
			continue
		}
		return f
	}
	return format{}
}

func (f format) contentType() string {
	if f.proto {
		return protoType
	}
	return jsonType
}

// typed is an object as one of its Go type, or its metadata.
func (s *Server) typed(k Kind, raw []byte, f format) (runtime.Object, error) {
	if f.metadata {
		o := &metav1.PartialObjectMetadata{}
		err := json.Unmarshal(raw, o)
		o.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("PartialObjectMetadata"))
		return o, err
	}
	o, err := s.scheme.New(k.GroupVersionKind)
	if err != nil {
		return nil, err
	}
	return o, json.Unmarshal(raw, o)
}

// encode is an object in a format.
func (s *Server) encode(k Kind, raw []byte, f format) ([]byte, error) {
	if !f.proto && !f.metadata {
		return raw, nil
	}
	o, err := s.typed(k, raw, f)
	if err != nil {
		return nil, err
	}
	return s.bytes(o, f)
}

func (s *Server) bytes(o runtime.Object, f format) ([]byte, error) {
	if !f.proto {
		return json.Marshal(o)
	}
	var out bytes.Buffer
	err := protobuf.NewSerializer(s.scheme, s.scheme).Encode(o, &out)
	return out.Bytes(), err
}

// encodeList is a list of objects in a format.
func (s *Server) encodeList(k Kind, objects []*object, version int64, f format) ([]byte, error) {
	at := strconv.FormatInt(version, 10)
	if !f.proto && !f.metadata {
		var out bytes.Buffer
		out.WriteString(`{"apiVersion":"` + k.GroupVersion().String() + `","kind":"` + k.Kind + `List","metadata":{"resourceVersion":"` + at + `"},"items":[`)
		for i, o := range objects {
			if i > 0 {
				out.WriteByte(',')
			}
			out.Write(o.raw)
		}
		out.WriteString("]}")
		return out.Bytes(), nil
	}
	var list runtime.Object = &metav1.PartialObjectMetadataList{}
	gvk := metav1.SchemeGroupVersion.WithKind("PartialObjectMetadataList")
	if !f.metadata {
		gvk = k.GroupVersionKind
		gvk.Kind += "List"
		var err error
		if list, err = s.scheme.New(gvk); err != nil {
			return nil, err
		}
	}
	items := make([]runtime.Object, len(objects))
	for i, o := range objects {
		var err error
		if items[i], err = s.typed(k, o.raw, f); err != nil {
			return nil, err
		}
	}
	if err := meta.SetList(list, items); err != nil {
		return nil, err
	}
	list.GetObjectKind().SetGroupVersionKind(gvk)
	if l, ok := list.(metav1.ListInterface); ok {
		l.SetResourceVersion(at)
	}
	return s.bytes(list, f)
}

// event is one of a watch. What it is in each format is made once.
type event struct {
	kind   string
	object *object
	before *object // nil for none

	mu     sync.Mutex
	frames map[frameKey][]byte
}

type frameKey struct {
	kind string
	format
}

// frame is an event in the stream of a watch, as one of a kind.
func (s *Server) frame(k Kind, e *event, kind string, f format) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := frameKey{kind, f}
	if known, ok := e.frames[key]; ok {
		return known, nil
	}
	raw, err := s.encode(k, e.object.raw, f)
	if err != nil {
		return nil, err
	}
	out, err := framed(kind, raw, f)
	if err != nil {
		return nil, err
	}
	if e.before != nil || e.kind != "ADDED" { // what a watch begins with is nobody else's
		if e.frames == nil {
			e.frames = map[frameKey][]byte{}
		}
		e.frames[key] = out
	}
	return out, nil
}

func framed(kind string, raw []byte, f format) ([]byte, error) {
	if !f.proto {
		out := make([]byte, 0, len(raw)+40)
		out = append(out, `{"type":"`+kind+`","object":`...)
		out = append(out, raw...)
		return append(out, "}\n"...), nil
	}
	of, err := (&metav1.WatchEvent{Type: kind, Object: runtime.RawExtension{Raw: raw}}).Marshal()
	if err != nil {
		return nil, err
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(of))), of...), nil
}

// bookmark tells a watch which version it has come to, and that what there was at its beginning ends.
func (s *Server) bookmark(k Kind, version int64, ends bool, f format) ([]byte, error) {
	meta := fields{"resourceVersion": strconv.FormatInt(version, 10)}
	if ends {
		meta["annotations"] = fields{metav1.InitialEventsAnnotationKey: "true"}
	}
	raw, err := json.Marshal(fields{"apiVersion": k.GroupVersion().String(), "kind": k.Kind, "metadata": meta})
	if err != nil {
		return nil, err
	}
	if raw, err = s.encode(k, raw, f); err != nil {
		return nil, err
	}
	return framed("BOOKMARK", raw, f)
}
