package surroundings

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/view"
)

// TestKnative shows the revisions of a Service of Knative, and not the Service of Kubernetes that Knative makes by its name.
func TestKnative(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme, v1alpha1.AddToScheme, knative.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	began := metav1.NewTime(time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC))
	of := func(name string, labels map[string]string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "test", Name: name, Labels: labels, CreationTimestamp: began}
	}
	revision := func(name string) client.Object {
		return &knative.Revision{ObjectMeta: of(name, map[string]string{knative.ServiceLabel: "podinfo"}), Spec: knative.RevisionSpec{Containers: []knative.Container{{Image: "ghcr.io/x/podinfo:" + name[len(name)-1:]}}}}
	}
	live := &knative.Service{ObjectMeta: of("podinfo", nil), Status: knative.Status{LatestCreatedRevisionName: "podinfo-00004"}}
	live.Annotations = map[string]string{knative.PrimaryAnnotation: "podinfo-00003", knative.PromotedAnnotation: "podinfo-00003,podinfo-00002,podinfo-00001"}
	r := fakeclient.NewClientBuilder().WithScheme(scheme).WithObjects(live, &corev1.Service{ObjectMeta: of("podinfo", nil)},
		revision("podinfo-00004"), revision("podinfo-00003"), revision("podinfo-00001"),
		&corev1.Pod{ObjectMeta: of("a", map[string]string{knative.RevisionLabel: "podinfo-00003"})},
	).WithIndex(&corev1.Event{}, "involvedObject.kind", nothing).WithIndex(&corev1.Event{}, "involvedObject.name", nothing).Build()
	canary := &v1beta1.Canary{ObjectMeta: of("podinfo", nil)}
	canary.Spec.TargetRef = v1beta1.TargetReference{APIVersion: "serving.knative.dev/v1", Kind: "Service", Name: "podinfo"}

	in, _, err := Read(t.Context(), r, canary)
	if err != nil {
		t.Fatal(err)
	}
	in.Now = began.Time
	shown := view.Of(in)
	if p, c := shown.Primary, shown.Canary; p.Name != "podinfo-00003" || p.Images != "podinfo:3" || p.Wanted != 1 || c.Name != "podinfo-00004" || c.Images != "podinfo:4" || c.Wanted != 0 || !c.Exists {
		t.Errorf("the primary is %+v, the canary %+v", p, c)
	}
	got, err := Promoted(t.Context(), r, canary)
	want := []view.Past{{Revision: "kn-podinfo-00003", Images: "podinfo:3", First: &began}, {Revision: "kn-podinfo-00001", Images: "podinfo:1", First: &began}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("error %v, promoted: -want +got\n%s", err, diff)
	}
	canary.Status.Phase, canary.Status.LastPromotedSpec, canary.Status.LastAppliedSpec = v1beta1.PhaseSucceeded, "kn-podinfo-00003", "kn-podinfo-00003"
	if earlier := view.Earlier(canary, view.History(&view.Release{Promoted: "kn-podinfo-00003", Revision: "kn-podinfo-00003"}, got)); cmp.Diff([]string{"kn-podinfo-00001"}, earlier) != "" {
		t.Errorf("to go back to there is %v", earlier)
	}
	canary.Spec.TargetRef.Name = "elsewhere"
	if in, _, err := Read(t.Context(), r, canary); err != nil || in.Primary.Exists || in.Target.Exists {
		t.Errorf("of none there is %+v, error %v", in, err)
	}
}

func nothing(client.Object) []string { return nil }
