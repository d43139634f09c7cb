package autoscaling

import (
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
)

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
