package encode

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"
	networking "istio.io/api/networking/v1"
)

// TestNumbers has each 64-bit field that Istio's kinds have be a number.
func TestNumbers(t *testing.T) {
	found := 0
	for _, message := range []protoreflect.ProtoMessage{&networking.DestinationRule{}, &networking.VirtualService{}} {
		var walk func(protoreflect.MessageDescriptor, func(map[string]any) map[string]any, []protoreflect.FullName)
		walk = func(of protoreflect.MessageDescriptor, within func(map[string]any) map[string]any, seen []protoreflect.FullName) {
			if slices.Contains(seen, of.FullName()) {
				return
			}
			for i := range of.Fields().Len() {
				f := of.Fields().Get(i)
				name := f.JSONName()
				holds := func(v any) map[string]any {
					if f.IsList() {
						v = []any{v}
					}
					return within(map[string]any{name: v})
				}
				switch {
				case f.IsMap():
				case f.Kind() == protoreflect.Int64Kind, f.Kind() == protoreflect.Uint64Kind:
					found++
					got := holds("9007199254740993")
					numbers(message.ProtoReflect().Descriptor(), got)
					if d := cmp.Diff(holds(int64(9007199254740993)), got); d != "" {
						t.Errorf("%s: %s", f.FullName(), d)
					}
				case f.Kind() == protoreflect.MessageKind && f.Message().ParentFile().Package() != "google.protobuf":
					walk(f.Message(), func(m map[string]any) map[string]any { return holds(m) }, append(slices.Clone(seen), of.FullName()))
				}
			}
		}
		walk(message.ProtoReflect().Descriptor(), func(m map[string]any) map[string]any { return m }, nil)
	}
	if found < 6 {
		t.Errorf("%d fields were tried", found)
	}
}
