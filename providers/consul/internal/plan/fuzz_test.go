package plan

import (
	"encoding/json"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/consultest"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/routes"
	"github.com/sluice-delivery/sluice/providers/consul/internal/services"
)

// FuzzEntries plans over entries of anybody: they come back as they were, or are refused as what somebody can mend.
func FuzzEntries(f *testing.F) {
	for _, body := range []string{
		`{}`, `{"Splits":[{"Weight":100,"ServiceSubset":"v1"}],"Meta":{"team":"a"}}`, `{"Protocol":"http"}`, `{"Routes":[{"Match":{"HTTP":{"PathPrefix":"/"}}}]}`, `{"Sources":[{"Name":"*","Action":"allow"}]}`,
		`{"Subsets":{"v1":{"Filter":"x"}},"DefaultSubset":"v1"}`, `{"Redirect":{"Service":"b"}}`, `{"Failover":{"*":{"Service":"b"}}}`, `{"Meta":{"sluice.dev/canary":"test/podinfo","sluice.dev/original.0":"{"}}`,
		`{"Splits":null,"Meta":null}`, `{"Splits":{}}`, `{"Meta":{"sluice.dev/canary":"test/podinfo","sluice.dev/warming":"x"}}`, `{"Splits":[{"Weight":1e400}]}`, `{"Meta":[1]}`,
	} {
		for kind := range kindsOfFuzz {
			f.Add(uint8(kind), "podinfo", []byte(body), int32(50))
		}
		f.Add(uint8(1), "podinfo-canary", []byte(body), int32(0))
	}
	f.Fuzz(func(t *testing.T, kind uint8, name string, body []byte, weight int32) {
		raw := map[string]any{}
		if json.Unmarshal(body, &raw) != nil || raw == nil {
			return
		}
		raw["Kind"], raw["Name"], raw["ModifyIndex"] = kindsOfFuzz[int(kind)%len(kindsOfFuzz)], name, 7
		encoded, err := json.Marshal(raw)
		if err != nil {
			return
		}
		e, err := entries.Parse(encoded)
		if err != nil {
			return
		}
		if known, err := api.MakeConfigEntry(e.Kind, e.Name); err != nil || e.Into(known) != nil {
			return // no Consul has it
		}
		c := consultest.Canary()
		have := entries.Set{e.Key: e}
		p, err := Of(providers.Route{Canary: c, Traffic: consultest.Weights(min(max(weight, 0), 100))}, services.Of(c, nil, entries.Scope{}), have)
		switch {
		case err != nil && !providers.IsInvalid(err) && !providers.IsUnsupported(err) && !providers.IsConflict(err):
			t.Errorf("%s %s is refused by %T: %v", e.Kind, body, err, err)
		case err != nil || e.IsOurs(c):
			return
		}
		for _, wanted := range p.Wanted {
			if wanted.Key != e.Key {
				continue
			}
			wanted.Index = 8
			back, theirs, err := wanted.Users(c)
			if err != nil || !theirs || !entries.Same(e, back) {
				t.Errorf("%s %s comes back as %v, %t, %v", e.Kind, body, back, theirs, err)
			}
		}
		_, _, _ = routes.TrafficOf(c, services.Of(c, nil, entries.Scope{}), have)
	})
}

var kindsOfFuzz = []string{api.ServiceDefaults, api.ServiceResolver, api.ServiceSplitter, api.ServiceRouter, api.ServiceIntentions}
