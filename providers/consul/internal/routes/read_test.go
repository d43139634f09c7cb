package routes_test

import (
	"testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/consultest"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/plan"
	"github.com/sluice-delivery/sluice/providers/consul/internal/routes"
	"github.com/sluice-delivery/sluice/providers/consul/internal/services"
)

// TestTrafficIsReadBack: what a plan says is what is read from it, and what others
// make of it is read as it is.
func TestTrafficIsReadBack(t *testing.T) {
	ab := consultest.Canary(consultest.Matching(`{"queryParams":{"beta":{}}}`))
	for name, tc := range map[string]struct {
		canary  *v1beta1.Canary
		traffic providers.Traffic
	}{
		"0":               {consultest.Canary(), consultest.Weights(0)},
		"1":               {consultest.Canary(), consultest.Weights(1)},
		"100":             {consultest.Canary(), consultest.Weights(100)},
		"A/B":             {ab, providers.Traffic{Canary: 100, Matched: true}},
		"A/B with shares": {ab, providers.Traffic{Primary: 60, Canary: 40, Matched: true}},
		"A/B, unmatched":  {ab, consultest.Weights(40)},
		"sessions":        {consultest.Canary(consultest.Sticky), providers.Traffic{Primary: 80, Canary: 20, Sessions: consultest.Step}},
		"ended":           {consultest.Canary(consultest.Sticky), providers.Traffic{Primary: 100, Sessions: providers.Sessions{Ended: "a"}}},
	} {
		t.Run(name, func(t *testing.T) {
			n := services.Of(tc.canary, nil, entries.Scope{})
			p, err := plan.Of(providers.Route{Canary: tc.canary, Traffic: tc.traffic}, n, nil)
			if err != nil {
				t.Fatal(err)
			}
			have := entries.Set{}
			for i, e := range p.Wanted {
				e.Index = uint64(1 + i)
				have[e.Key] = e
			}
			want := tc.traffic
			want.Sessions = providers.Sessions{}
			got, exists, err := routes.TrafficOf(tc.canary, n, have)
			if err != nil || !exists {
				t.Fatal(exists, err)
			}
			consultest.Diff(t, want, got)
		})
	}
	t.Run("a user's", func(t *testing.T) {
		c := consultest.Canary()
		have := consultest.Having(t, `service-splitter podinfo {"Splits":[{"Service":"podinfo-canary","Weight":100}]}`)
		if got, exists, err := routes.TrafficOf(c, services.Of(c, nil, entries.Scope{}), have); exists || err != nil || got != (providers.Traffic{}) {
			t.Error(got, exists, err)
		}
	})
}
