package autoscaling

import (
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/world"
)

// How many pods the primary may have is its copy's maximum, not that of the user's autoscaler.
func TestMaximumOfThePrimary(t *testing.T) {
	for name, tc := range map[string]struct {
		own  *v1beta1.ScalerReplicas
		want int32
	}{
		"the user's":    {want: 10},
		"its own":       {own: &v1beta1.ScalerReplicas{MaxReplicas: new(int32(20))}, want: 20},
		"a minimum too": {own: &v1beta1.ScalerReplicas{MinReplicas: new(int32(3))}, want: 10},
	} {
		t.Run(name, func(t *testing.T) {
			users := &autoscalingv2.HorizontalPodAutoscaler{
				ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "web"},
				Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
					ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"}, MaxReplicas: 10,
				},
			}
			w := world.New(release.Observation{Canary: &v1beta1.Canary{
				ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"},
				Spec: v1beta1.CanarySpec{
					TargetRef:     v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"},
					AutoscalerRef: &v1beta1.AutoscalerReference{Kind: KindHPA, Name: "web", PrimaryScalerReplicas: tc.own},
				},
			}})
			s := &Share{part: &Autoscalers{Client: fakeclient.NewClientBuilder().Build()}, world: w, scaled: Scaled{Kind: "Deployment", Name: "podinfo"}}
			if err := s.take(t.Context(), users); err != nil || w.Primary.MaxReplicas != tc.want {
				t.Errorf("%d pods, want %d; %v", w.Primary.MaxReplicas, tc.want, err)
			}
		})
	}
}

// HorizontalPodAutoscalers and ScaledObjects change their status all the time.
func TestEdited(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(client.Object)
		want   bool
	}{
		"status": {change: func(o client.Object) {
			switch a := o.(type) {
			case *autoscalingv2.HorizontalPodAutoscaler:
				a.Status.CurrentReplicas = 7
			case *unstructured.Unstructured:
				a.Object["status"] = map[string]any{"health": "good"}
			}
			o.SetResourceVersion("2")
		}},
		"spec": {change: func(o client.Object) {
			switch a := o.(type) {
			case *autoscalingv2.HorizontalPodAutoscaler:
				a.Spec.MaxReplicas = 7
			case *unstructured.Unstructured:
				if err := unstructured.SetNestedField(a.Object, int64(7), "spec", "maxReplicaCount"); err != nil {
					panic(err)
				}
			}
		}, want: true},
		"label":      {change: func(o client.Object) { o.SetLabels(map[string]string{"a": "b"}) }, want: true},
		"annotation": {change: func(o client.Object) { o.SetAnnotations(map[string]string{"a": "b"}) }, want: true},
		"owner":      {change: func(o client.Object) { o.SetOwnerReferences([]metav1.OwnerReference{{Name: "x"}}) }, want: true},
		"deletion":   {change: func(o client.Object) { o.SetDeletionTimestamp(&metav1.Time{Time: time.Unix(1e9, 0)}) }, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, before := range []client.Object{&autoscalingv2.HorizontalPodAutoscaler{}, newScaledObject()} {
				after := before.DeepCopyObject().(client.Object)
				tc.change(after)
				if got := edited().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}); got != tc.want {
					t.Errorf("%T: %t, want %t", before, got, tc.want)
				}
			}
		})
	}
}
