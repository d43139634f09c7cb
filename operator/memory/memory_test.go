package memory

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

func canary(name, uid string) *v1beta1.Canary {
	return &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name, UID: types.UID(uid)}}
}

func TestMemory(t *testing.T) {
	var m Memory[int]
	a, b, again := canary("a", "1"), canary("b", "2"), canary("a", "3")
	if got, ok := m.Get(a); ok || got != 0 || m.Size() != 0 {
		t.Errorf("it begins with %d", got)
	}
	m.Set(a, 5)
	m.Update(a, func(n *int) { *n++ })
	m.Update(b, func(n *int) { *n-- })
	for _, tc := range []struct {
		of   *v1beta1.Canary
		want int
	}{{a, 6}, {b, -1}} {
		if got, ok := m.Get(tc.of); !ok || got != tc.want {
			t.Errorf("%s: %d, %t", tc.of.Name, got, ok)
		}
	}
	if got, ok := m.Get(again); ok || got != 0 {
		t.Errorf("another Canary of the name has %d of the first", got)
	}
	visited := 0
	m.Visit(client.ObjectKeyFromObject(again), func(n *int) { visited = *n })
	m.Visit(types.NamespacedName{Namespace: "test", Name: "c"}, func(*int) { t.Error("it knows what nobody said") })
	if visited != 6 {
		t.Errorf("by the name it knows %d", visited)
	}
	m.Update(again, func(n *int) { *n += 10 })
	if got, _ := m.Get(again); got != 10 || m.Size() != 2 {
		t.Errorf("another Canary of the name begins with %d; %d are known", got-10, m.Size())
	}
	if _, ok := m.Get(a); ok {
		t.Error("what is known of one that is gone is still there")
	}
	m.Forget(client.ObjectKeyFromObject(again))
	if _, ok := m.Get(again); ok || m.Size() != 1 {
		t.Errorf("%d are known when one is forgotten", m.Size())
	}
}
