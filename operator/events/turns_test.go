package events

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// seen keeps the events in order.
type seen struct{ all chan string }

func (r seen) Eventf(about, _ runtime.Object, _, reason, _, _ string, _ ...any) {
	r.all <- about.(*corev1.ObjectReference).Namespace + " " + reason
}

// TestEventsTakeTurns has a namespace with more events than may wait lose some of its own, and another be told its two
// among the first.
func TestEventsTakeTurns(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	to := seen{make(chan string, 100)}
	e := newTurns(to, scheme, 10)
	of := func(namespace string) *v1beta1.Canary {
		return &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"}}
	}
	for i := range 20 {
		e.Eventf(of("hostile"), nil, "Normal", fmt.Sprint(i), "", "")
	}
	for i := range 2 {
		e.Eventf(of("shop"), nil, "Normal", fmt.Sprint(i), "", "")
	}
	var got []string
	go e.run(t.Context(), flowcontrol.NewFakeAlwaysRateLimiter())
	for range 10 {
		got = append(got, <-to.all)
	}
	want := []string{
		"hostile 12", "shop 0", "hostile 13", "shop 1", "hostile 14", "hostile 15", "hostile 16", "hostile 17", "hostile 18", "hostile 19",
	}
	if !slices.Equal(got, want) {
		t.Errorf("told\n%q\nwant\n%q", got, want)
	}
}
