package istio

import (
	"context"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/providers/ssa"
)

// What was found to be in sync is so no longer when anything that it depends on
// has changed.
func TestSettledRouteIsLookedAtAgain(t *testing.T) {
	w := newWorld(t)
	var frozen *networkingv1.VirtualService // what the cache shows, if it is behind
	behind := interceptor.NewClient(w.Client.(client.WithWatch), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if vs, ok := o.(*networkingv1.VirtualService); ok && frozen != nil && key == client.ObjectKeyFromObject(frozen) {
				frozen.DeepCopyInto(vs)
				return nil
			}
			return c.Get(ctx, key, o, opts...)
		},
	})
	router := New(Config{Client: behind, Applier: ssa.New(behind)})
	c := canary(withPolicy)
	apply := func(weight int32) {
		t.Helper()
		if err := router.Apply(t.Context(), route(c, weight)); err != nil {
			t.Fatal(err)
		}
	}
	inSync := func(what string, weight int32, want bool) {
		t.Helper()
		for range 2 { // the second time it is remembered
			state, err := router.Observe(t.Context(), route(c, weight))
			if err != nil {
				t.Fatal(err)
			}
			if state.InSync != want {
				t.Fatalf("%s: in sync %t at weight %d", what, state.InSync, weight)
			}
		}
	}
	apply(10)
	inSync("applied", 10, true)
	inSync("another weight", 20, false)
	inSync("the first again", 10, true)

	frozen = w.virtualService(t)
	apply(20)
	inSync("the cache is behind", 20, false)
	inSync("the cache still shows what was there before", 10, false)
	frozen = nil
	inSync("the cache has caught up", 20, true)

	c.Generation++
	c.Spec.Service.Timeout = "5s"
	inSync("the spec was changed", 20, false)
	apply(20)
	inSync("and applied", 20, true)

	rule := &networkingv1.DestinationRule{}
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: "podinfo-canary"}, rule); err != nil {
		t.Fatal(err)
	}
	rule.Spec.Host = "theirs"
	if err := w.Update(t.Context(), rule); err != nil {
		t.Fatal(err)
	}
	inSync("somebody changed a rule", 20, false)
	apply(20)
	inSync("and it was healed", 20, true)

	other := canary()
	other.UID = "c2"
	if state, err := router.Observe(t.Context(), route(other, 20)); err == nil && state.InSync {
		t.Error("another Canary of this name has the route of the first")
	}
}
