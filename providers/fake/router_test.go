package fake_test

import (
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/fake"
	"github.com/sluice-delivery/sluice/providers/routertest"
)

func TestConformance(t *testing.T) {
	all := providers.Capabilities{Weighted: true, HeaderMatch: true, WeightedMatch: true, Mirror: true, SessionAffinity: true, TCP: true}
	for name, tc := range map[string]struct {
		lag int
		can providers.Capabilities
	}{
		"at once": {}, "lagging": {lag: 3}, "everything": {can: all}, "everything, lagging": {lag: 3, can: all},
	} {
		t.Run(name, func(t *testing.T) {
			routertest.Run(t, func(*testing.T) routertest.World {
				r := &fake.Router{Can: tc.can}
				r.SetLag(tc.lag)
				c := canary()
				return routertest.World{
					Router: r, Canary: c, Writes: r.Writes,
					Drift: func(_ *testing.T, traffic providers.Traffic) { r.Drift(client.ObjectKeyFromObject(c), traffic) },
				}
			})
		})
	}
}

func TestLagAndFailure(t *testing.T) {
	r := &fake.Router{}
	apply := func(canaryWeight int32) providers.Route {
		route := providers.Route{Canary: canary(), Traffic: providers.Traffic{Primary: 100 - canaryWeight, Canary: canaryWeight}}
		if err := r.Apply(t.Context(), route); err != nil {
			t.Fatal(err)
		}
		return route
	}
	observe := func(route providers.Route, want providers.State) {
		t.Helper()
		if got, err := r.Observe(t.Context(), route); err != nil || got != want {
			t.Errorf("observed %+v, %v; want %+v", got, err, want)
		}
	}
	first := apply(0)
	observe(first, providers.State{Exists: true, Traffic: first.Traffic, InSync: true})
	r.SetLag(1)
	second := apply(10)
	observe(second, providers.State{Exists: true, Traffic: first.Traffic})
	observe(second, providers.State{Exists: true, Traffic: second.Traffic, InSync: true})

	broken := errors.New("broken")
	r.Fail(broken)
	if _, err := r.Observe(t.Context(), second); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if got := r.Applied(); len(got) != 2 || got[1].Canary != 10 {
		t.Errorf("applied %v", got)
	}
}

func canary() *v1beta1.Canary {
	return &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Name: "podinfo", Namespace: "test", UID: "c1"},
		Spec:       v1beta1.CanarySpec{TargetRef: v1beta1.TargetReference{Kind: "Deployment", Name: "podinfo"}},
	}
}
