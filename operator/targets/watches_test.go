package targets

import (
	"errors"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/operator/workload"
)

// The kinds that no Canary has cost no cache.
func TestKindWatches(t *testing.T) {
	var begun []string
	fail := errors.New("not yet")
	k := &kindWatches{watched: map[string]bool{"Deployment": true}, begin: func(o client.Object) error {
		begun = append(begun, workload.Kind(o))
		return fail
	}}
	if err := k.watch(&appsv1.Deployment{}); err != nil || len(begun) != 0 {
		t.Errorf("begun %v, error %v", begun, err)
	}
	if err := k.watch(&appsv1.DaemonSet{}); !errors.Is(err, fail) {
		t.Errorf("error %v", err)
	}
	fail = nil
	for range 3 {
		if err := k.watch(&appsv1.DaemonSet{}); err != nil {
			t.Error(err)
		}
	}
	if len(begun) != 2 {
		t.Errorf("begun %v, want it tried again once", begun)
	}
}
