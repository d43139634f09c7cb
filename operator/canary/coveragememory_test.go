package canary

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-delivery/sluice/operator/workload"
)

// What covers the pods is found once for each state of what it depends on.
func TestCoverageIsAssessedAgain(t *testing.T) {
	object := func(o any, gvk schema.GroupVersionKind) *unstructured.Unstructured {
		m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			t.Fatal(err)
		}
		u := &unstructured.Unstructured{Object: m}
		u.SetGroupVersionKind(gvk)
		return u
	}
	nothing := func(*scene, *world) {}
	budget := object(newBudget("web", "podinfo"), budgets)
	elsewhere := budget.DeepCopy()
	elsewhere.SetNamespace("other")
	everywhere := object(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "all"}},
		schema.GroupVersionKind{Group: "security.istio.io", Version: "v1", Kind: "AuthorizationPolicy"})
	for name, tc := range map[string]struct {
		change func(s *scene, w *world)
		want   bool
	}{
		"nothing":                  {change: nothing},
		"status of the target":     {change: func(_ *scene, w *world) { w.target.SetResourceVersion("99") }},
		"an object that selects":   {change: func(s *scene, _ *world) { s.reconciler.Coverage.changed(budget) }, want: true},
		"one of another namespace": {change: func(s *scene, _ *world) { s.reconciler.Coverage.changed(elsewhere) }},
		"one for all namespaces":   {change: func(s *scene, _ *world) { s.reconciler.Coverage.changed(everywhere) }, want: true},
		"another kind was read": {change: func(s *scene, _ *world) {
			s.reconciler.Coverage.add(watched{GroupVersionKind: budgets, hasSynced: func() bool { return true }})
		}, want: true},
		"the Canary's spec":  {change: func(_ *scene, w *world) { w.Canary.Generation++ }, want: true},
		"the target's image": {change: func(_ *scene, w *world) { w.target.SetGeneration(9) }},
		"its labels": {change: func(_ *scene, w *world) {
			workload.Template(w.target).Labels = map[string]string{"app": "podinfo", "a": "b"}
		}, want: true},
		"the primary came": {change: func(_ *scene, w *world) {
			w.primary = &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{UID: "p", Generation: 1}}
		}, want: true},
		"the apex Service": {change: func(s *scene, _ *world) {
			edit(s, s.service("podinfo"), func(o *corev1.Service) { o.Labels = map[string]string{"a": "b"} })
		}, want: true},
		"another Canary of its name": {change: func(_ *scene, w *world) { w.Canary.UID = "other" }, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			apex := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"}}
			target := newTarget()
			target.Generation = 1
			s := newScene(t, newCanary("podinfo").Canary, target, newBudget("web", "podinfo"), apex).covering(false)
			s.reconciler.Coverage.tell()
			w := &world{target: target}
			w.Canary = s.now()
			value := "podinfo"
			gaps := func() int {
				t.Helper()
				found, err := s.reconciler.assess(t.Context(), w, "app", value)
				if err != nil {
					t.Fatal(err)
				}
				return len(found.Gaps)
			}
			if gaps() != 1 {
				t.Fatal("the gap is not found")
			}
			// Nobody tells of this, so what comes of it shows whether it was looked at.
			if err := s.api.Delete(t.Context(), s.budget("web")); err != nil {
				t.Fatal(err)
			}
			tc.change(s, w)
			if again := gaps() == 0; again != tc.want {
				t.Errorf("assessed again: %t", again)
			}
		})
	}
}
