package consul

import (
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/providers"
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
		raw, err := decode(body)
		if err != nil {
			return
		}
		raw["Kind"], raw["Name"], raw["ModifyIndex"] = kindsOfFuzz[int(kind)%len(kindsOfFuzz)], name, "7"
		decoded, err := decode([]byte(`{"ModifyIndex":7}`))
		if err != nil {
			t.Fatal(err)
		}
		raw["ModifyIndex"] = decoded["ModifyIndex"]
		e, err := read(raw)
		if err != nil {
			return
		}
		if known, err := api.MakeConfigEntry(e.kind, e.name); err != nil || e.into(known) != nil {
			return // no Consul has it
		}
		c := canary()
		have := entries{e.key: e}
		p, err := planOf(providers.Route{Canary: c, Traffic: weights(min(max(weight, 0), 100))}, namesOf(c, nil, scope{}), have)
		switch {
		case err != nil && !providers.IsInvalid(err) && !providers.IsUnsupported(err) && !providers.IsConflict(err):
			t.Errorf("%s %s is refused by %T: %v", e.kind, body, err, err)
		case err != nil || e.isOurs(c):
			return
		}
		for _, wanted := range p.wanted {
			if wanted.key != e.key {
				continue
			}
			wanted.index = 8
			back, theirs, err := wanted.users(c)
			if err != nil || !theirs || !same(e, back) {
				t.Errorf("%s %s comes back as %v, %t, %v", e.kind, body, back, theirs, err)
			}
		}
		_, _, _ = trafficOf(c, namesOf(c, nil, scope{}), have)
	})
}

var kindsOfFuzz = []string{api.ServiceDefaults, api.ServiceResolver, api.ServiceSplitter, api.ServiceRouter, api.ServiceIntentions}
