package actions

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Only an action that waits brings its Canary.
func TestComes(t *testing.T) {
	p := comes()
	waiting := &v1alpha1.CanaryAction{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "x"}, Spec: v1alpha1.CanaryActionSpec{Canary: "podinfo", Action: v1beta1.ActionPause},
	}
	done := waiting.DeepCopy()
	done.Status.Phase = v1alpha1.ActionDone
	if !p.Create(event.CreateEvent{Object: waiting}) {
		t.Error("a new action does not")
	}
	if p.Create(event.CreateEvent{Object: done}) || p.Update(event.UpdateEvent{ObjectOld: waiting, ObjectNew: done}) || p.Delete(event.DeleteEvent{Object: done}) {
		t.Error("another event does")
	}
	requests := canaryOfAction(t.Context(), waiting)
	if len(requests) != 1 || requests[0].NamespacedName != (client.ObjectKey{Namespace: "test", Name: "podinfo"}) {
		t.Errorf("it brings %v", requests)
	}
}
