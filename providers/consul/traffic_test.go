package consul

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// TestTrafficIsReadBack: what a plan says is what is read from it, and what others
// make of it is read as it is.
func TestTrafficIsReadBack(t *testing.T) {
	ab := canary(matching(`{"queryParams":{"beta":{}}}`))
	for name, tc := range map[string]struct {
		canary  *v1beta1.Canary
		traffic providers.Traffic
	}{
		"0":               {canary(), weights(0)},
		"1":               {canary(), weights(1)},
		"100":             {canary(), weights(100)},
		"A/B":             {ab, providers.Traffic{Canary: 100, Matched: true}},
		"A/B with shares": {ab, providers.Traffic{Primary: 60, Canary: 40, Matched: true}},
		"A/B, unmatched":  {ab, weights(40)},
		"sessions":        {canary(sticky), providers.Traffic{Primary: 80, Canary: 20, Sessions: step}},
		"ended":           {canary(sticky), providers.Traffic{Primary: 100, Sessions: providers.Sessions{Ended: "a"}}},
	} {
		t.Run(name, func(t *testing.T) {
			n := namesOf(tc.canary, nil, scope{})
			p, err := planOf(providers.Route{Canary: tc.canary, Traffic: tc.traffic}, n, nil)
			if err != nil {
				t.Fatal(err)
			}
			have := entries{}
			for i, e := range p.wanted {
				e.index = uint64(1 + i)
				have[e.key] = e
			}
			want := tc.traffic
			want.Sessions = providers.Sessions{}
			got, exists, err := trafficOf(tc.canary, n, have)
			if err != nil || !exists {
				t.Fatal(exists, err)
			}
			diff(t, want, got)
		})
	}
	t.Run("a user's", func(t *testing.T) {
		c := canary()
		have := having(t, `service-splitter podinfo {"Splits":[{"Service":"podinfo-canary","Weight":100}]}`)
		if got, exists, err := trafficOf(c, namesOf(c, nil, scope{}), have); exists || err != nil || got != (providers.Traffic{}) {
			t.Error(got, exists, err)
		}
	})
}

func TestChainHas(t *testing.T) {
	ab := canary(matching(`{"queryParams":{"beta":{}}}`))
	const (
		two = `{"StartNode":"splitter:podinfo.default.default","Nodes":{
			"splitter:podinfo.default.default":{"Type":"splitter","Name":"podinfo.default.default","Splits":[
				{"Weight":70,"NextNode":"resolver:podinfo-primary"},{"Weight":30,"NextNode":"resolver:OTHER"}]},
			"resolver:podinfo-primary":{"Type":"resolver","Resolver":{"Target":"podinfo-primary.default.default.dc1"}},
			"resolver:OTHER":{"Type":"resolver","Resolver":{"Target":"OTHER.default.default.dc1"}}},
			"Targets":{"podinfo-primary.default.default.dc1":{"Service":"podinfo-primary"},"OTHER.default.default.dc1":{"Service":"OTHER"}}}`
		routed = `{"StartNode":"router:podinfo","Nodes":{
			"router:podinfo":{"Type":"router","Routes":[
				{"Definition":{"Match":{"HTTP":{"QueryParam":[{"Name":"PARAM","Present":true}]}},"Destination":{"Service":"podinfo-canary","Namespace":"default"}}},{"Definition":{}}]},
			"splitter:podinfo.default.default":{"Type":"splitter","Name":"podinfo.default.default","Splits":[
				{"Weight":100,"NextNode":"resolver:podinfo-primary"},{"Weight":0,"NextNode":"resolver:podinfo-canary"}]},
			"resolver:podinfo-primary":{"Type":"resolver","Resolver":{"Target":"podinfo-primary.default.default.dc1"}},
			"resolver:podinfo-canary":{"Type":"resolver","Resolver":{"Target":"podinfo-canary.default.default.dc1"}}},
			"Targets":{"podinfo-primary.default.default.dc1":{"Service":"podinfo-primary"},"podinfo-canary.default.default.dc1":{"Service":"podinfo-canary"}}}`
	)
	matched := providers.Traffic{Canary: 100, Matched: true}
	for name, tc := range map[string]struct {
		canary  *v1beta1.Canary
		traffic providers.Traffic
		pods    map[string]string
		chain   string
		want    string
	}{
		"in sync":               {canary(), weights(30), nil, strings.ReplaceAll(two, "OTHER", "podinfo-canary"), ""},
		"alias":                 {canary(), weights(30), aliased, strings.ReplaceAll(two, "OTHER", "podinfo"), ""},
		"alias that is not":     {canary(), weights(30), nil, strings.ReplaceAll(two, "OTHER", "podinfo"), "its splitter podinfo has podinfo at 30"},
		"another weight":        {canary(), weights(31), nil, strings.ReplaceAll(two, "OTHER", "podinfo-canary"), "its splitter podinfo has podinfo-primary at 70"},
		"empty":                 {canary(), weights(30), nil, `{}`, "it is empty"},
		"no splitter":           {canary(), weights(30), nil, `{"StartNode":"a","Nodes":{"a":{"Type":"resolver"}}}`, "it has no splitter podinfo"},
		"routed":                {ab, matched, nil, strings.ReplaceAll(routed, "PARAM", "beta"), ""},
		"routed in another way": {ab, matched, nil, strings.ReplaceAll(routed, "PARAM", "gamma"), "its route 0 is another one"},
		"routed no longer":      {ab, weights(0), nil, strings.ReplaceAll(routed, "PARAM", "beta"), "it still has a router"},
		"not routed":            {ab, matched, nil, strings.NewReplacer("70", "100", "30", "0", "OTHER", "podinfo-canary").Replace(two), "its router has not the 1 routes"},
	} {
		t.Run(name, func(t *testing.T) {
			n := namesOf(tc.canary, tc.pods, scope{})
			p, err := planOf(providers.Route{Canary: tc.canary, Traffic: tc.traffic}, n, nil)
			if err != nil {
				t.Fatal(err)
			}
			chain := &api.CompiledDiscoveryChain{}
			if err := json.Unmarshal([]byte(tc.chain), chain); err != nil {
				t.Fatal(err)
			}
			got, err := chainHas(chain, n, p)
			if err != nil {
				t.Fatal(err)
			}
			diff(t, tc.want, got)
		})
	}
}
