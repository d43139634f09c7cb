// Package encode has objects of Istio written as people, tools and the API server read them.
package encode

import (
	networking "istio.io/api/networking/v1"
)

// VirtualService writes what protobuf's JSON leaves out: people and tools read weight
// 0, and a delegate must lose the hosts and gateways it had.
func VirtualService(object map[string]any) {
	spec, _ := object["spec"].(map[string]any)
	for _, list := range []string{"hosts", "gateways"} {
		if _, ok := spec[list]; !ok {
			spec[list] = []any{}
		}
	}
	for _, protocol := range []string{"http", "tcp", "tls"} {
		routes, _ := spec[protocol].([]any)
		for _, r := range routes {
			spellOutWeights(r)
		}
	}
	numbers((&networking.VirtualService{}).ProtoReflect().Descriptor(), spec)
}

func spellOutWeights(route any) {
	r, _ := route.(map[string]any)
	destinations, _ := r["route"].([]any)
	for _, d := range destinations {
		if d, ok := d.(map[string]any); ok && d["weight"] == nil {
			d["weight"] = int64(0)
		}
	}
}

// DestinationRule writes how to encrypt also where that is not at all, which is the zero value.
func DestinationRule(object map[string]any) {
	spec, _ := object["spec"].(map[string]any)
	policy, _ := spec["trafficPolicy"].(map[string]any)
	policies := []any{policy}
	if ports, ok := policy["portLevelSettings"].([]any); ok {
		policies = append(policies, ports...)
	}
	for _, p := range policies {
		p, _ := p.(map[string]any)
		if tls, ok := p["tls"].(map[string]any); ok && tls["mode"] == nil {
			tls["mode"] = networking.ClientTLSSettings_DISABLE.String()
		}
	}
	numbers((&networking.DestinationRule{}).ProtoReflect().Descriptor(), spec)
}
