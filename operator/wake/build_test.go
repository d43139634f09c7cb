package wake

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// newServer is an API server with the indexes by which Canaries are found.
func newServer(t *testing.T, objects ...client.Object) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	b := fakeclient.NewClientBuilder().WithScheme(scheme).WithObjects(objects...)
	for _, x := range Indexes() {
		b.WithIndex(x.Of, x.Name, x.Values)
	}
	return b.Build()
}

func newEvents(api client.Client) *Events {
	return &Events{Canaries: NewCanaries(api), Turns: &Turns{}, Applier: ssa.New(api), Routes: ssa.New(api)}
}

// newCanary is a Canary of Deployment podinfo.
func newCanary(name string) *v1beta1.Canary {
	return &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "test", Name: name, UID: types.UID("uid-of-" + name), Generation: 1, CreationTimestamp: metav1.NewTime(start),
		},
		Spec: v1beta1.CanarySpec{TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"}},
	}
}
