package atrest

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
)

// What was deleted while no watch was there is told of by what it was last, and handlers have that as they know it.
func TestMissedDeletion(t *testing.T) {
	k := &kind{caches: &Caches{}}
	k.codec = k.caches.codecOf(&corev1.Service{})
	at := k.pack(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "one", ResourceVersion: "1"}})
	if _, ok := at.(*stored); !ok {
		t.Fatalf("it is not at rest: %T", at)
	}
	var got any
	h := handler{toolscache.ResourceEventHandlerFuncs{DeleteFunc: func(o any) { got = o }}, k}
	h.OnDelete(toolscache.DeletedFinalStateUnknown{Key: "a/one", Obj: at})
	gone, _ := got.(toolscache.DeletedFinalStateUnknown)
	if s, ok := gone.Obj.(*corev1.Service); !ok || s.Name != "one" || gone.Key != "a/one" {
		t.Errorf("it comes as %#v", got)
	}
}
