package routes

import (
	"fmt"

	networking "istio.io/api/networking/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/istio/internal/settings"
)

// scope is what all routes of one VirtualService go by.
type scope struct {
	canary   *v1beta1.Canary
	traffic  providers.Traffic
	gateways []string // that it is for; nil where a VirtualService that delegates to it says it
	several  bool     // ports that the Services have
}

func newScope(route providers.Route, gateways []string) scope {
	return scope{canary: route.Canary, traffic: route.Traffic, gateways: gateways, several: settings.Several(route)}
}

// side is one of the two Services.
type side int

const (
	toPrimary side = iota
	toCanary
)

func (s scope) to(service side, port *networking.PortSelector) *networking.Destination {
	_, primaryName, canaryName := s.canary.ServiceNames()
	if service == toCanary {
		return &networking.Destination{Host: canaryName, Port: port}
	}
	return &networking.Destination{Host: primaryName, Port: port}
}

func (s scope) mainPort() *networking.PortSelector {
	return &networking.PortSelector{Number: uint32(s.canary.Spec.Service.Port)} //nolint:gosec // 1 to 65535 by the schema
}

// namesPort tells whether a destination without a port needs one for a gateway's requests.
func (s scope) namesPort(users bool) bool {
	return s.several && (!users || s.canary.Spec.Service.PortDiscovery)
}

// gatewaysOrAll are the gateways of the VirtualService. One that is delegated to does not know
// them, and goes by gateways, whose requests need a port.
func (s scope) gatewaysOrAll() []string {
	if len(s.gateways) == 0 {
		return []string{"any"}
	}
	return s.gateways
}

// leadsToUs tells whether a user's destination is the apex Service.
func (s scope) leadsToUs(d *networking.Destination) bool { return settings.IsApex(s.canary, d) }

// unreachable says that a route of the user's takes all before it reaches one of ours.
func (s scope) unreachable(protocol string, i int) error {
	apex := settings.Apex(s.canary)
	return &providers.InvalidError{
		Field: fmt.Sprintf("VirtualService %s: %s[%d]", apex, protocol, i), Value: "takes everything before any of it reaches " + apex.Name,
		Allowed: "give it a match, or make it lead to " + apex.Name,
	}
}
