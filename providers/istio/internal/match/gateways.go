package match

import (
	"slices"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1"

	"github.com/sluice-delivery/sluice/providers/istio/internal/hosts"
)

// ByPort tells Istio the port where it can't know it: the Services have several, and the
// request comes through a gateway. It gives the alternatives of a match for gateways, which
// are to be led to the Canary's port, and those for sidecars, whose requests name one
// themselves; each is false where none is left.
func ByPort(ms Alternatives, gateways []string) (outside Alternatives, isOutside bool, inside Alternatives, isInside bool) {
	via := slices.DeleteFunc(slices.Clone(gateways), func(g string) bool { return g == hosts.Mesh })
	switch {
	case len(via) == 0:
		return nil, false, ms, true
	case len(via) == len(gateways):
		return ms, true, nil, false
	}
	if len(ms) == 0 {
		ms = Alternatives{{}}
	}
	for _, m := range ms {
		named := slices.DeleteFunc(slices.Clone(m.Gateways), func(g string) bool { return g == hosts.Mesh })
		switch {
		case SourceCounts(m): // which is known to sidecars alone, and not where gateways are named
			inside = append(inside, m)
		case len(m.Gateways) == 0:
			outside, inside = append(outside, withGateways(m, via)), append(inside, withGateways(m, []string{hosts.Mesh}))
		default:
			if len(named) > 0 {
				outside = append(outside, withGateways(m, named))
			}
			if len(named) < len(m.Gateways) {
				inside = append(inside, withGateways(m, []string{hosts.Mesh}))
			}
		}
	}
	return outside, len(outside) > 0, inside, len(inside) > 0
}

func withGateways(m *networking.HTTPMatchRequest, gateways []string) *networking.HTTPMatchRequest {
	m = m.DeepCopy()
	m.Gateways = gateways
	return m
}

// ConnectionsByPort is ByPort for connections: of alternatives that name gateways the source counts too.
func ConnectionsByPort(match []*networking.L4MatchAttributes, gateways []string) (outside, inside []*networking.L4MatchAttributes) {
	if len(match) == 0 {
		match = []*networking.L4MatchAttributes{{}}
	}
	for _, m := range match {
		names := m.Gateways
		if len(names) == 0 {
			names = gateways
		}
		via := slices.DeleteFunc(slices.Clone(names), func(g string) bool { return g == hosts.Mesh })
		if len(via) > 0 {
			outside = append(outside, withGatewaysL4(m, via, len(via) == len(names)))
		}
		if len(via) < len(names) {
			inside = append(inside, withGatewaysL4(m, []string{hosts.Mesh}, len(via) == 0))
		}
	}
	return outside, inside
}

func withGatewaysL4(m *networking.L4MatchAttributes, gateways []string, all bool) *networking.L4MatchAttributes {
	m = proto.CloneOf(m)
	if !all {
		m.Gateways = gateways
	}
	return m
}
