package atrest

import (
	"encoding"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// plain encodes objects of any type by its fields: what they have of each, in the order of the type, and nothing of those
// that have nothing. It is decoded by the process that has encoded it. JSON takes four times as long to decode.
type plain struct{ of reflect.Type }

func (plain) encode(to []byte, o client.Object) ([]byte, error) {
	return without(o, func() ([]byte, error) { return add(to, reflect.ValueOf(o).Elem()) })
}

func (c plain) decode(from []byte) (client.Object, error) {
	out := reflect.New(c.of)
	r := reader{from}
	if err := r.read(out.Elem()); err != nil {
		return nil, err
	}
	return out.Interface().(client.Object), nil //nolint:forcetypeassert // the example was one
}

// opaque has of types whether they have fields that only they themselves can tell.
var opaque sync.Map

func isOpaque(of reflect.Type) bool {
	if known, ok := opaque.Load(of); ok {
		return known.(bool) //nolint:forcetypeassert // there is nothing else in it
	}
	is := false
	for i := range of.NumField() {
		is = is || !of.Field(i).IsExported()
	}
	opaque.Store(of, is)
	return is
}

// add appends a value, which is of a type that encoding/json takes, too. Lists and maps have their length and one more, so
// that one that is empty is none that is not there.
func add(to []byte, v reflect.Value) ([]byte, error) {
	switch v.Kind() { //nolint:exhaustive // no object has others
	case reflect.Bool:
		if v.Bool() {
			return append(to, 1), nil
		}
		return append(to, 0), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return binary.AppendVarint(to, v.Int()), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return binary.AppendUvarint(to, v.Uint()), nil
	case reflect.Float32, reflect.Float64:
		return binary.BigEndian.AppendUint64(to, math.Float64bits(v.Float())), nil
	case reflect.String:
		return append(binary.AppendUvarint(to, uint64(v.Len())), v.String()...), nil //nolint:gosec // no length is negative
	case reflect.Pointer:
		if v.IsNil() {
			return append(to, 0), nil
		}
		return add(append(to, 1), v.Elem())
	case reflect.Slice, reflect.Map:
		if v.IsNil() {
			return append(to, 0), nil
		}
		return addAll(binary.AppendUvarint(to, uint64(v.Len())+1), v) //nolint:gosec // likewise
	case reflect.Struct:
		return addFields(to, v)
	default:
		return nil, fmt.Errorf("a value of type %s can't be encoded", v.Type())
	}
}

// addAll appends what is in a list or a map.
func addAll(to []byte, v reflect.Value) (_ []byte, err error) {
	if v.Kind() == reflect.Slice {
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return append(to, v.Bytes()...), nil
		}
		for i := range v.Len() {
			if to, err = add(to, v.Index(i)); err != nil {
				return nil, err
			}
		}
		return to, nil
	}
	for entries := v.MapRange(); entries.Next(); {
		if to, err = add(to, entries.Key()); err != nil {
			return nil, err
		}
		if to, err = add(to, entries.Value()); err != nil {
			return nil, err
		}
	}
	return to, nil
}

// addFields appends a structure: which fields are not zero, and those.
func addFields(to []byte, v reflect.Value) ([]byte, error) {
	if isOpaque(v.Type()) {
		raw, err := marshal(v)
		return append(binary.AppendUvarint(to, uint64(len(raw))), raw...), err
	}
	first, n := len(to), v.NumField()
	to = append(to, make([]byte, (n+7)/8)...)
	for i := range n {
		field := v.Field(i)
		if field.IsZero() {
			continue
		}
		to[first+i/8] |= 1 << (i % 8)
		var err error
		if to, err = add(to, field); err != nil {
			return nil, err
		}
	}
	return to, nil
}

// marshal encodes what has fields of its own, such as a time.
func marshal(v reflect.Value) ([]byte, error) {
	if m, ok := v.Interface().(encoding.BinaryMarshaler); ok {
		return m.MarshalBinary()
	}
	return json.Marshal(v.Interface())
}

// errShort says that there is less than there is to be.
var errShort = errors.New("it ends too early")

// reader reads what add has appended.
type reader struct{ from []byte }

// uint is the next number.
func (r *reader) uint() (uint64, error) {
	n, size := binary.Uvarint(r.from)
	if size <= 0 {
		return 0, errShort
	}
	r.from = r.from[size:]
	return n, nil
}

// bytes are the next of so many.
func (r *reader) bytes(n uint64) ([]byte, error) {
	if n > uint64(len(r.from)) {
		return nil, errShort
	}
	out := r.from[:n]
	r.from = r.from[n:]
	return out, nil
}

func (r *reader) read(into reflect.Value) error {
	switch into.Kind() { //nolint:exhaustive // no object has others
	case reflect.Bool:
		is, err := r.bytes(1)
		if err == nil {
			into.SetBool(is[0] == 1)
		}
		return err
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, size := binary.Varint(r.from)
		if size <= 0 {
			return errShort
		}
		r.from = r.from[size:]
		into.SetInt(n)
		return nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := r.uint()
		into.SetUint(n)
		return err
	case reflect.Float32, reflect.Float64:
		raw, err := r.bytes(8)
		if err == nil {
			into.SetFloat(math.Float64frombits(binary.BigEndian.Uint64(raw)))
		}
		return err
	case reflect.String:
		raw, err := r.sized()
		into.SetString(string(raw))
		return err
	case reflect.Pointer:
		is, err := r.bytes(1)
		if err != nil || is[0] == 0 {
			return err
		}
		into.Set(reflect.New(into.Type().Elem()))
		return r.read(into.Elem())
	case reflect.Slice, reflect.Map:
		return r.readAll(into)
	case reflect.Struct:
		return r.readFields(into)
	default:
		return fmt.Errorf("a value of type %s can't be decoded", into.Type())
	}
}

// sized are the next bytes, as many as the number before them says.
func (r *reader) sized() ([]byte, error) {
	n, err := r.uint()
	if err != nil {
		return nil, err
	}
	return r.bytes(n)
}

func (r *reader) readAll(into reflect.Value) error {
	n, err := r.uint()
	if err != nil || n == 0 {
		return err
	}
	if n--; n > uint64(len(r.from)) && into.Kind() == reflect.Slice && into.Type().Elem().Size() > 0 {
		return errShort
	}
	size := int(n) //nolint:gosec // it is no more than there is
	if into.Kind() == reflect.Map {
		return r.readMap(into, size)
	}
	into.Set(reflect.MakeSlice(into.Type(), size, size))
	if into.Type().Elem().Kind() == reflect.Uint8 {
		raw, err := r.bytes(n)
		copy(into.Bytes(), raw)
		return err
	}
	for i := range size {
		if err := r.read(into.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) readMap(into reflect.Value, size int) error {
	of := into.Type()
	into.Set(reflect.MakeMapWithSize(of, size))
	for range size {
		key, value := reflect.New(of.Key()).Elem(), reflect.New(of.Elem()).Elem()
		if err := errors.Join(r.read(key), r.read(value)); err != nil {
			return err
		}
		into.SetMapIndex(key, value)
	}
	return nil
}

func (r *reader) readFields(into reflect.Value) error {
	if isOpaque(into.Type()) {
		raw, err := r.sized()
		if err != nil {
			return err
		}
		if m, ok := into.Addr().Interface().(encoding.BinaryUnmarshaler); ok {
			return m.UnmarshalBinary(raw)
		}
		return json.Unmarshal(raw, into.Addr().Interface())
	}
	n := into.NumField()
	there, err := r.bytes(uint64(n+7) / 8) //nolint:gosec // no number of fields is negative
	if err != nil {
		return err
	}
	for i := range n {
		if there[i/8]&(1<<(i%8)) == 0 {
			continue
		}
		if err := r.read(into.Field(i)); err != nil {
			return fmt.Errorf("%s: %w", into.Type().Field(i).Name, err)
		}
	}
	return nil
}
