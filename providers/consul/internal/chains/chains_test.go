package chains

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/consultest"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/plan"
	"github.com/sluice-delivery/sluice/providers/consul/internal/services"
)

// TestLacking compares plans with what Consul has compiled.
func TestLacking(t *testing.T) {
	ab := consultest.Canary(consultest.Matching(`{"queryParams":{"beta":{}}}`))
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
		"in sync":               {consultest.Canary(), consultest.Weights(30), nil, strings.ReplaceAll(two, "OTHER", "podinfo-canary"), ""},
		"alias":                 {consultest.Canary(), consultest.Weights(30), consultest.Aliased(), strings.ReplaceAll(two, "OTHER", "podinfo"), ""},
		"alias that is not":     {consultest.Canary(), consultest.Weights(30), nil, strings.ReplaceAll(two, "OTHER", "podinfo"), "its splitter podinfo has podinfo at 30"},
		"another weight":        {consultest.Canary(), consultest.Weights(31), nil, strings.ReplaceAll(two, "OTHER", "podinfo-canary"), "its splitter podinfo has podinfo-primary at 70"},
		"empty":                 {consultest.Canary(), consultest.Weights(30), nil, `{}`, "it is empty"},
		"no splitter":           {consultest.Canary(), consultest.Weights(30), nil, `{"StartNode":"a","Nodes":{"a":{"Type":"resolver"}}}`, "it has no splitter podinfo"},
		"routed":                {ab, matched, nil, strings.ReplaceAll(routed, "PARAM", "beta"), ""},
		"routed in another way": {ab, matched, nil, strings.ReplaceAll(routed, "PARAM", "gamma"), "its route 0 is another one"},
		"routed no longer":      {ab, consultest.Weights(0), nil, strings.ReplaceAll(routed, "PARAM", "beta"), "it still has a router"},
		"not routed":            {ab, matched, nil, strings.NewReplacer("70", "100", "30", "0", "OTHER", "podinfo-canary").Replace(two), "its router has not the 1 routes"},
	} {
		t.Run(name, func(t *testing.T) {
			n := services.Of(tc.canary, tc.pods, entries.Scope{})
			p, err := plan.Of(providers.Route{Canary: tc.canary, Traffic: tc.traffic}, n, nil)
			if err != nil {
				t.Fatal(err)
			}
			chain := &api.CompiledDiscoveryChain{}
			if err := json.Unmarshal([]byte(tc.chain), chain); err != nil {
				t.Fatal(err)
			}
			got, err := lacking(chain, n, p)
			if err != nil {
				t.Fatal(err)
			}
			consultest.Diff(t, tc.want, got)
		})
	}
}
