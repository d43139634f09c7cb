package istio

import (
	"encoding/json"
	"strconv"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// numbers makes numbers of the 64-bit fields of a message in its JSON form, in place.
// Protobuf writes them as strings, which the API server takes for a mistake.
func numbers(of protoreflect.MessageDescriptor, message map[string]any) {
	fields := of.Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		v, ok := message[f.JSONName()]
		if !ok {
			continue
		}
		switch {
		case f.IsMap():
			entries, _ := v.(map[string]any)
			for k := range entries {
				entries[k] = numbered(f.MapValue(), entries[k])
			}
		case f.IsList():
			list, _ := v.([]any)
			for i := range list {
				list[i] = numbered(f, list[i])
			}
		default:
			message[f.JSONName()] = numbered(f, v)
		}
	}
}

func numbered(f protoreflect.FieldDescriptor, v any) any {
	is64 := false
	switch f.Kind() { //nolint:exhaustive // the others are no numbers of 64 bits
	case protoreflect.Int64Kind, protoreflect.Uint64Kind, protoreflect.Sint64Kind,
		protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		is64 = true
	case protoreflect.MessageKind:
		switch f.Message().FullName() {
		case "google.protobuf.Int64Value", "google.protobuf.UInt64Value":
			is64 = true
		}
		if m, ok := v.(map[string]any); ok {
			numbers(f.Message(), m)
		}
	}
	if s, ok := v.(string); ok && is64 {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return n
		}
		return json.Number(s)
	}
	return v
}
