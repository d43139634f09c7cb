package atrest

import (
	"encoding/binary"
	"errors"
	"reflect"

	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// codec encodes objects of one type, but for their names, resource versions and what they say of their kind.
type codec interface {
	// encode appends an object to what there is.
	encode(to []byte, o client.Object) ([]byte, error)
	// decode makes the object anew, and keeps nothing of what it is made from.
	decode(from []byte) (client.Object, error)
}

// codecOf is the codec for objects of an example's type, nil where there is none that loses nothing.
func (c *Caches) codecOf(example runtime.Object) codec {
	o, ok := example.(client.Object)
	if !ok {
		return nil
	}
	of := reflect.TypeOf(o)
	if of.Kind() != reflect.Pointer || of.Elem().Kind() != reflect.Struct {
		return nil
	}
	for _, like := range c.Plain {
		if reflect.TypeOf(like) == of {
			return plain{of.Elem()}
		}
	}
	if _, ok := o.(message); ok {
		return protobuf{of.Elem()}
	}
	if m := (meshed{of.Elem()}); m.fits() {
		return m
	}
	return nil
}

// without runs encode while an object lacks what is kept beside its content.
func without(o client.Object, encode func() ([]byte, error)) ([]byte, error) {
	name, namespace, version := o.GetName(), o.GetNamespace(), o.GetResourceVersion()
	o.SetName("")
	o.SetNamespace("")
	o.SetResourceVersion("")
	content, err := encode()
	o.SetName(name)
	o.SetNamespace(namespace)
	o.SetResourceVersion(version)
	return content, err
}

// sized is what protobuf's messages of the older kind have in common.
type sized interface {
	Size() int
	MarshalToSizedBuffer(into []byte) (int, error)
}

// appended appends a message.
func appended(to []byte, m sized) ([]byte, error) {
	size, had := m.Size(), len(to)
	to = append(to, make([]byte, size)...)
	_, err := m.MarshalToSizedBuffer(to[had:])
	return to, err
}

// message is an object of one of Kubernetes' own types, or the metadata of any, which the API server sends as protobuf, too.
type message interface {
	client.Object
	sized

	Unmarshal([]byte) error
}

// protobuf encodes messages.
type protobuf struct{ of reflect.Type }

func (protobuf) encode(to []byte, o client.Object) ([]byte, error) {
	return without(o, func() ([]byte, error) {
		return appended(to, o.(message)) //nolint:forcetypeassert // an informer has objects of one type
	})
}

func (c protobuf) decode(from []byte) (client.Object, error) {
	out := reflect.New(c.of).Interface().(message) //nolint:forcetypeassert // the example was one
	return out, out.Unmarshal(from)
}

// meshed encodes objects whose spec and status are messages of the newer kind, as those of Istio are.
type meshed struct{ of reflect.Type }

// parts are the fields that an object has beside what it says of its kind.
func (c meshed) parts(o reflect.Value) (meta *metav1.ObjectMeta, messages []proto.Message, ok bool) {
	for i := range c.of.NumField() {
		if !c.of.Field(i).IsExported() {
			return nil, nil, false
		}
		switch field := o.Field(i).Addr().Interface().(type) {
		case *metav1.TypeMeta:
		case *metav1.ObjectMeta:
			meta = field
		case proto.Message:
			messages = append(messages, field)
		default:
			return nil, nil, false
		}
	}
	return meta, messages, meta != nil && len(messages) > 0
}

func (c meshed) fits() bool {
	_, _, ok := c.parts(reflect.New(c.of).Elem())
	return ok
}

func (c meshed) encode(to []byte, o client.Object) ([]byte, error) {
	meta, messages, ok := c.parts(reflect.ValueOf(o).Elem())
	if !ok {
		return nil, errors.New("it is an object of another type")
	}
	to, err := without(o, func() ([]byte, error) {
		return appended(binary.AppendUvarint(to, uint64(meta.Size())), meta) //nolint:gosec // no size is negative
	})
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		to = binary.AppendUvarint(to, uint64(proto.Size(m))) //nolint:gosec // likewise
		if to, err = (proto.MarshalOptions{}).MarshalAppend(to, m); err != nil {
			return nil, err
		}
	}
	return to, nil
}

func (c meshed) decode(from []byte) (client.Object, error) {
	next := func() []byte {
		n, size := binary.Uvarint(from)
		if size <= 0 || n > uint64(len(from)-size) { //nolint:gosec // it is no more than its length
			return nil
		}
		part := from[size : size+int(n)] //nolint:gosec // it is no more than there is
		from = from[size+int(n):]        //nolint:gosec // likewise
		return part
	}
	out := reflect.New(c.of)
	meta, messages, _ := c.parts(out.Elem())
	if err := meta.Unmarshal(next()); err != nil {
		return nil, err
	}
	for _, m := range messages {
		if err := proto.Unmarshal(next(), m); err != nil {
			return nil, err
		}
	}
	return out.Interface().(client.Object), nil //nolint:forcetypeassert // the example was one
}
