package atrest

import (
	"reflect"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// DecodePlain decodes an object.
func DecodePlain(b *testing.B, o client.Object) {
	b.Helper()
	codec := plain{reflect.TypeOf(o).Elem()}
	content, err := codec.encode(nil, o)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(content)), "bytes")
	for b.Loop() {
		if _, err := codec.decode(content); err != nil {
			b.Fatal(err)
		}
	}
}
