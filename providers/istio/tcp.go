package istio

import (
	"slices"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// needsRequests refuses what connections don't have. It is for a Canary of which all traffic
// is connections.
func needsRequests(c *v1beta1.Canary, traffic providers.Traffic) error {
	a := c.GetAnalysis()
	asked := (len(a.Match) > 0 || a.Mirror || a.SessionAffinity != nil) && !c.Spec.SkipAnalysis
	if asked || traffic.Matched || traffic.Mirror > 0 || traffic.Sessions != (providers.Sessions{}) {
		return &providers.InvalidError{
			Field: "spec.service.appProtocol", Value: c.Spec.Service.AppProtocol,
			Allowed: "connections have no headers and cookies: spec.analysis.match, mirror and sessionAffinity need HTTP",
		}
	}
	return nil
}

// sharesHTTP and the other two tell whether a route of the user's leads to the apex Service.
func (o *original) sharesHTTP(c *v1beta1.Canary) bool {
	return slices.ContainsFunc(o.http, func(r *networking.HTTPRoute) bool {
		return slices.ContainsFunc(r.GetRoute(), func(d *networking.HTTPRouteDestination) bool { return isApex(c, d.GetDestination()) })
	})
}

func (o *original) sharesTCP(c *v1beta1.Canary) bool {
	return slices.ContainsFunc(o.tcp, func(r *networking.TCPRoute) bool { return leadsToApex(c, r.GetRoute()) })
}

func (o *original) sharesTLS(c *v1beta1.Canary) bool {
	return slices.ContainsFunc(o.tls, func(r *networking.TLSRoute) bool { return leadsToApex(c, r.GetRoute()) })
}

func leadsToApex(c *v1beta1.Canary, route []*networking.RouteDestination) bool {
	return slices.ContainsFunc(route, func(d *networking.RouteDestination) bool { return isApex(c, d.GetDestination()) })
}

// tcpRoutes is httpRoutes for connections, which have weights and nothing else.
func (b *builder) tcpRoutes(add bool) ([]*networking.TCPRoute, error) {
	ours := tcpMatch(b.canary)
	if b.users == nil || !b.users.sharesTCP(b.canary) && !add {
		if !add {
			return nil, nil
		}
		return b.tcpRoute(ours, []*networking.RouteDestination{{}}, false), nil
	}
	var out []*networking.TCPRoute
	reached := false
	for i, route := range b.users.tcp {
		if !leadsToApex(b.canary, route.GetRoute()) {
			if !reached && len(route.GetMatch()) == 0 {
				return nil, b.unreachable("tcp", i)
			}
			out = append(out, route)
			continue
		}
		match := route.GetMatch()
		if len(ours) > 0 {
			match = ours
		}
		out, reached = append(out, b.tcpRoute(match, route.GetRoute(), true)...), true
	}
	if !reached {
		out = append(out, b.tcpRoute(ours, []*networking.RouteDestination{{}}, false)...)
	}
	return out, nil
}

// tcpRoute is one route, or two where gateways have to be told the port.
func (b *builder) tcpRoute(match []*networking.L4MatchAttributes, to []*networking.RouteDestination, users bool) []*networking.TCPRoute {
	unnamed := slices.ContainsFunc(to, func(d *networking.RouteDestination) bool { return d.GetDestination().GetPort() == nil })
	if !b.namesPort(users) || !unnamed {
		return []*networking.TCPRoute{{Match: cloned(match), Route: b.connections(to, nil)}}
	}
	outside, inside := layered(match, b.gatewaysOrAll())
	switch {
	case outside == nil:
		return []*networking.TCPRoute{{Match: cloned(match), Route: b.connections(to, nil)}}
	case inside == nil:
		return []*networking.TCPRoute{{Match: cloned(match), Route: b.connections(to, b.mainPort())}}
	}
	return []*networking.TCPRoute{
		{Match: outside, Route: b.connections(to, b.mainPort())}, {Match: inside, Route: b.connections(to, nil)},
	}
}

// layered is byPort for connections: of alternatives that name gateways the source counts too.
func layered(match []*networking.L4MatchAttributes, gateways []string) (outside, inside []*networking.L4MatchAttributes) {
	if len(match) == 0 {
		match = []*networking.L4MatchAttributes{{}}
	}
	for _, m := range match {
		names := m.Gateways
		if len(names) == 0 {
			names = gateways
		}
		via := slices.DeleteFunc(slices.Clone(names), func(g string) bool { return g == meshGateway })
		if len(via) > 0 {
			outside = append(outside, withGatewaysL4(m, via, len(via) == len(names)))
		}
		if len(via) < len(names) {
			inside = append(inside, withGatewaysL4(m, []string{meshGateway}, len(via) == 0))
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

// tlsRoutes shares out those of the user's that lead to the apex Service; none where none does.
func (b *builder) tlsRoutes() (out []*networking.TLSRoute) {
	if b.users == nil || !b.users.sharesTLS(b.canary) {
		return nil
	}
	for _, users := range b.users.tls {
		route := users
		if leadsToApex(b.canary, users.GetRoute()) {
			route = proto.CloneOf(users)
			var port *networking.PortSelector
			if b.namesPort(true) && !slices.Contains(b.gatewaysOrAll(), meshGateway) {
				port = b.mainPort()
			}
			route.Route = b.connections(users.GetRoute(), port)
		}
		out = append(out, route)
	}
	return out
}

// connections shares out destinations: what leads to the apex Service by weight, the others as
// they are. port is for those that name none.
func (b *builder) connections(users []*networking.RouteDestination, port *networking.PortSelector) (out []*networking.RouteDestination) {
	primary, canary := b.traffic.Primary, b.traffic.Canary
	if b.traffic.Matched { // connections match nothing
		primary, canary = 100, 0
	}
	merged := b.mergedConnections(users)
	for _, d := range merged {
		weight := d.Weight
		if len(merged) == 1 {
			weight = 1
		}
		if d.Destination != nil && !b.leadsToUs(d.Destination) {
			stays := proto.CloneOf(d)
			stays.Weight = weight * 100
			out = append(out, stays)
			continue
		}
		at := d.GetDestination().GetPort()
		if at == nil {
			at = port
		}
		out = append(out,
			&networking.RouteDestination{Destination: b.to(toPrimary, at), Weight: weight * primary},
			&networking.RouteDestination{Destination: b.to(toCanary, at), Weight: weight * canary})
	}
	return out
}

// mergedConnections has those to one port of the apex Service, of whatever subset, as one.
func (b *builder) mergedConnections(users []*networking.RouteDestination) (out []*networking.RouteDestination) {
	for _, d := range users {
		same := slices.IndexFunc(out, func(o *networking.RouteDestination) bool {
			return d.Destination != nil && b.leadsToUs(d.Destination) && b.leadsToUs(o.Destination) && proto.Equal(o.Destination.Port, d.Destination.Port)
		})
		if same < 0 {
			out = append(out, proto.CloneOf(d))
		} else {
			out[same].Weight += d.Weight
		}
	}
	return out
}

func cloned(match []*networking.L4MatchAttributes) (out []*networking.L4MatchAttributes) {
	for _, m := range match {
		out = append(out, proto.CloneOf(m))
	}
	return out
}

// tcpMatch is what of spec.service.match connections have.
func tcpMatch(c *v1beta1.Canary) (out []*networking.L4MatchAttributes) {
	for i := range c.Spec.Service.Match {
		match := &networking.HTTPMatchRequest{}
		if decode("", &c.Spec.Service.Match[i], match) != nil || match.Port == 0 {
			continue
		}
		out = append(out, &networking.L4MatchAttributes{
			Port: match.Port, SourceLabels: match.SourceLabels, SourceNamespace: match.SourceNamespace, Gateways: match.Gateways,
		})
	}
	return out
}
