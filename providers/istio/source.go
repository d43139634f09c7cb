package istio

import (
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1"

	"github.com/sluice-delivery/sluice/providers"
)

// Where a request comes from is known to the proxy of its sender: sourceLabels and
// sourceNamespace are those of the sidecar's pod. Istio does not look at
// them in a match that names gateways, so that a match with both fits every request
// of these gateways, also where mesh, which stands for all sidecars, is one of them.

func fromSource(m *networking.HTTPMatchRequest) bool {
	return len(m.SourceLabels) > 0 || m.SourceNamespace != ""
}

// sourceCounts tells whether Istio looks at where the request comes from.
func sourceCounts(m *networking.HTTPMatchRequest) bool { return fromSource(m) && len(m.Gateways) == 0 }

// sourced makes the source of a match count where the match names gateways, which would
// send all requests of the mesh to the canary. gateways are the route's, nil
// where they are another's. It is an error when the match would fit no request.
func sourced(i int, m *networking.HTTPMatchRequest, gateways []string) error {
	field, names := fmt.Sprintf("spec.analysis.match[%d].gateways", i), m.Gateways
	if len(names) == 0 {
		field, names = "spec.service.gateways", gateways
	}
	if !fromSource(m) || len(names) == 0 {
		return nil
	}
	if !slices.Contains(names, meshGateway) {
		return &providers.InvalidError{
			Field: field, Value: fmt.Sprint(names),
			Allowed: fmt.Sprintf("spec.analysis.match[%d] has sourceLabels or sourceNamespace, which only sidecars know: %s must be among the gateways", i, meshGateway),
		}
	}
	m.Gateways = nil
	return nil
}

// intersectSource narrows what m, a copy of a, says about where a request comes
// from to what b says, and tells whether anything is left.
func intersectSource(m, a, b *networking.HTTPMatchRequest) bool {
	if m.Port != 0 && b.Port != 0 && m.Port != b.Port {
		return false
	}
	m.Port = either(m.Port, b.Port)
	if !intersectGateways(m, b) {
		return false
	}
	if !sourceCounts(a) && !sourceCounts(b) {
		m.SourceLabels, m.SourceNamespace = union(b.SourceLabels, a.SourceLabels), either(a.SourceNamespace, b.SourceNamespace)
		return true
	}
	// With gateways that are left, the source would not count any more.
	if len(m.Gateways) > 0 && !slices.Contains(m.Gateways, meshGateway) {
		return false
	}
	m.Gateways, m.SourceLabels, m.SourceNamespace = nil, nil, ""
	for _, side := range []*networking.HTTPMatchRequest{a, b} {
		if sourceCounts(side) && !narrowSource(m, side) {
			return false
		}
	}
	return true
}

func narrowSource(m, by *networking.HTTPMatchRequest) bool {
	for k, v := range by.SourceLabels {
		if had, ok := m.SourceLabels[k]; ok && had != v {
			return false
		}
	}
	if m.SourceNamespace != "" && by.SourceNamespace != "" && m.SourceNamespace != by.SourceNamespace {
		return false
	}
	m.SourceLabels, m.SourceNamespace = union(m.SourceLabels, by.SourceLabels), either(m.SourceNamespace, by.SourceNamespace)
	return true
}

func intersectGateways(m, b *networking.HTTPMatchRequest) bool {
	switch {
	case len(b.Gateways) == 0:
		return true
	case len(m.Gateways) == 0:
		m.Gateways = slices.Clone(b.Gateways)
		return true
	default:
		m.Gateways = slices.DeleteFunc(m.Gateways, func(g string) bool { return !slices.Contains(b.Gateways, g) })
		return len(m.Gateways) > 0
	}
}
