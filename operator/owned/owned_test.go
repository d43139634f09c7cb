package owned_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/owned"
)

// TestList: all marks count by which an object is a Canary's, and those of Canaries that are gone.
func TestList(t *testing.T) {
	b := fake.NewClientBuilder()
	x := owned.Index(&corev1.Service{})
	b.WithIndex(x.Of, x.Name, func(o client.Object) []string { // an index may have more of an object
		return append(x.Values(o), o.GetAnnotations()["paused-by"])
	})
	mark := func(name string) map[string]string { return map[string]string{ownership.Annotation: name} }
	reference := func(name string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{APIVersion: v1beta1.GroupVersion.String(), Kind: v1beta1.CanaryKind, Name: name, UID: "1", Controller: new(true)}}
	}
	for name, meta := range map[string]metav1.ObjectMeta{
		"annotated":       {Annotations: mark("web")},
		"labelled":        {Labels: map[string]string{ownership.Label: "web"}},
		"referred":        {OwnerReferences: reference("web")},
		"of one gone":     {Annotations: map[string]string{ownership.Annotation: "former", "paused-by": "web"}},
		"controlled":      {Annotations: mark("web"), OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "x", UID: "2", Controller: new(true)}}},
		"of another":      {Annotations: mark("api")},
		"nobody's":        {},
		"label of ours":   {Annotations: mark("api"), Labels: map[string]string{ownership.Label: "web"}},
		"in another land": {Namespace: "other", Annotations: mark("web")},
	} {
		if meta.Namespace == "" {
			meta.Namespace = "test"
		}
		meta.Name = name
		b.WithObjects(&corev1.Service{ObjectMeta: meta})
	}
	api := b.Build()
	c := &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "web", UID: "1"}}
	for _, tc := range []struct {
		gone []string
		want map[string]int
	}{
		{nil, map[string]int{"annotated": 1, "labelled": 1, "referred": 1}},
		{[]string{"former"}, map[string]int{"annotated": 1, "labelled": 1, "referred": 1, "of one gone": 1}},
	} {
		found, err := owned.List(t.Context(), api, "test", ownership.For(c, tc.gone...), &corev1.ServiceList{})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for _, o := range found {
			got[o.GetName()]++
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("with %v gone: -want +got\n%s", tc.gone, diff)
		}
	}
}
