package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

func TestEventDecoder(t *testing.T) {
	long := strings.Repeat("x", 40_000) // longer than the buffer
	for name, tc := range map[string]struct {
		stream string
		want   []string
		fails  bool // else the end is io.EOF
	}{
		"as the server writes it": {
			stream: `{"type":"ADDED","object":{"apiVersion":"flagger.app/v1beta1","kind":"Canary","metadata":{"name":"a"}}}` + "\n" +
				`{"type":"MODIFIED","object":{"metadata":{"name":"b"},"status":{"canaryWeight":20}}}` + "\n",
			want: []string{"ADDED a 0", "MODIFIED b 20"},
		},
		"another order and space": {stream: ` { "object": {"metadata":{"name":"a"}}, "type": "DELETED" }` + "\n\n", want: []string{"DELETED a 0"}},
		"bookmark":                {stream: `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}` + "\n", want: []string{"BOOKMARK  0"}},
		"longer than the buffer":  {stream: `{"type":"ADDED","object":{"metadata":{"name":"` + long + `"}}}` + "\n", want: []string{"ADDED " + long + " 0"}},
		"error":                   {stream: `{"type":"ERROR","object":{"kind":"Status","message":"too old","code":410}}` + "\n", want: []string{"ERROR too old 410"}},
		"field name in other case": {
			stream: `{"type":"ADDED","object":{"metadata":{"name":"a"},"status":{"CanaryWeight":20}}}` + "\n", want: []string{"ADDED a 0"},
		},
		"cut off":    {stream: `{"type":"ADDED","object":{"metadata":`, fails: true},
		"not JSON":   {stream: "what\n", fails: true},
		"bad object": {stream: `{"type":"ADDED","object":[1]}` + "\n", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newEventDecoder(io.NopCloser(strings.NewReader(tc.stream)), func() (runtime.Object, error) { return &v1beta1.Canary{}, nil })
			var got []string
			kind, o, err := d.Decode()
			for ; err == nil; kind, o, err = d.Decode() {
				got = append(got, told(kind, o))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("events (-want +got)\n%s", diff)
			}
			if errors.Is(err, io.EOF) == tc.fails {
				t.Errorf("the end: %v", err)
			}
		})
	}
}

func told(kind watch.EventType, o runtime.Object) string {
	switch o := o.(type) {
	case *v1beta1.Canary:
		if !o.GroupVersionKind().Empty() {
			return "typed objects carry no kind"
		}
		return string(kind) + " " + o.Name + " " + fmt.Sprint(o.Status.CanaryWeight)
	case *metav1.Status:
		return string(kind) + " " + o.Message + " " + fmt.Sprint(o.Code)
	default:
		return "something else"
	}
}

func TestWithoutManagedFields(t *testing.T) {
	for name, tc := range map[string]struct{ object, want string }{
		"none":      {object: `{"metadata":{"name":"a"}}`, want: `{"metadata":{"name":"a"}}`},
		"empty":     {object: `{"metadata":{"managedFields":[],"name":"a"}}`, want: `{"metadata":{"managedFields":[],"name":"a"}}`},
		"some":      {object: `{"metadata":{"managedFields":[{"fieldsV1":{"f:spec":{}}},{"a":[1,[2]]}],"name":"a"}}`, want: `{"metadata":{"managedFields":[],"name":"a"}}`},
		"brackets":  {object: `{"metadata":{"managedFields":[{"k:{\"a\":\"]\"}":{}},"\\"]},"spec":[1]}`, want: `{"metadata":{"managedFields":[]},"spec":[1]}`},
		"in a text": {object: `{"metadata":{"annotations":{"a":"{\"managedFields\":[1]}"},"managedFields":[1]}}`, want: `{"metadata":{"annotations":{"a":"{\"managedFields\":[1]}"},"managedFields":[]}}`},
		"cut off":   {object: `{"metadata":{"managedFields":[{"a":"]`, want: `{"metadata":{"managedFields":[{"a":"]`},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, string(withoutManagedFields([]byte(tc.object)))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
