package checks

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

func TestCanariesOfATemplate(t *testing.T) {
	elsewhere := newCanary("elsewhere")
	elsewhere.Namespace = "other"
	elsewhere.Spec.Analysis.Metrics = []v1beta1.CanaryMetric{{TemplateRef: &v1beta1.CrossNamespaceObjectReference{Name: "errors", Namespace: "test"}}}
	here := newCanary("podinfo")
	here.Spec.Analysis.Metrics = []v1beta1.CanaryMetric{{TemplateRef: &v1beta1.CrossNamespaceObjectReference{Name: "errors"}}}
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	b := fake.NewClientBuilder().WithScheme(scheme).WithObjects(here.Canary, newCanary("without").Canary, elsewhere.Canary)
	for _, x := range Indexes() {
		b.WithIndex(x.Of, x.Name, x.Values)
	}
	needs := &Needs{Reader: b.Build()}
	var got []string
	for _, req := range needs.byTemplate(t.Context(), &v1beta1.MetricTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "errors"}}) {
		got = append(got, req.String())
	}
	slices.Sort(got)
	if d := cmp.Diff([]string{"other/elsewhere", "test/podinfo"}, got); d != "" {
		t.Error(d)
	}
}
