package routes

import (
	"slices"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1"

	"github.com/sluice-delivery/sluice/providers/istio/internal/hosts"
	"github.com/sluice-delivery/sluice/providers/istio/internal/match"
	"github.com/sluice-delivery/sluice/providers/istio/internal/original"
	"github.com/sluice-delivery/sluice/providers/istio/internal/settings"
)

// connections makes the routes of one VirtualService for connections.
type connections struct {
	scope

	users *original.VirtualService // nil: there is none
}

// tcp is requests.routes for connections, which have weights and nothing else.
func (c connections) tcp(add bool) ([]*networking.TCPRoute, error) {
	ours := settings.ConnectionMatch(c.canary)
	if c.users == nil || !c.users.SharesTCP(c.canary) && !add {
		if !add {
			return nil, nil
		}
		return c.withPort(ours, []*networking.RouteDestination{{}}, false), nil
	}
	var out []*networking.TCPRoute
	reached := false
	for i, route := range c.users.TCP {
		if !settings.LeadToApex(c.canary, route.GetRoute()) {
			if !reached && len(route.GetMatch()) == 0 {
				return nil, c.unreachable("tcp", i)
			}
			out = append(out, route)
			continue
		}
		match := route.GetMatch()
		if len(ours) > 0 {
			match = ours
		}
		out, reached = append(out, c.withPort(match, route.GetRoute(), true)...), true
	}
	if !reached {
		out = append(out, c.withPort(ours, []*networking.RouteDestination{{}}, false)...)
	}
	return out, nil
}

// withPort is one route, or two where gateways have to be told the port.
func (c connections) withPort(matches []*networking.L4MatchAttributes, to []*networking.RouteDestination, users bool) []*networking.TCPRoute {
	unnamed := slices.ContainsFunc(to, func(d *networking.RouteDestination) bool { return d.GetDestination().GetPort() == nil })
	if !c.namesPort(users) || !unnamed {
		return []*networking.TCPRoute{{Match: cloned(matches), Route: c.shared(to, nil)}}
	}
	outside, inside := match.ConnectionsByPort(matches, c.gatewaysOrAll())
	switch {
	case outside == nil:
		return []*networking.TCPRoute{{Match: cloned(matches), Route: c.shared(to, nil)}}
	case inside == nil:
		return []*networking.TCPRoute{{Match: cloned(matches), Route: c.shared(to, c.mainPort())}}
	}
	return []*networking.TCPRoute{
		{Match: outside, Route: c.shared(to, c.mainPort())}, {Match: inside, Route: c.shared(to, nil)},
	}
}

// tls shares out those of the user's that lead to the apex Service; none where none does.
func (c connections) tls() (out []*networking.TLSRoute) {
	if c.users == nil || !c.users.SharesTLS(c.canary) {
		return nil
	}
	for _, users := range c.users.TLS {
		route := users
		if settings.LeadToApex(c.canary, users.GetRoute()) {
			route = proto.CloneOf(users)
			var port *networking.PortSelector
			if c.namesPort(true) && !slices.Contains(c.gatewaysOrAll(), hosts.Mesh) {
				port = c.mainPort()
			}
			route.Route = c.shared(users.GetRoute(), port)
		}
		out = append(out, route)
	}
	return out
}

// shared shares out destinations: what leads to the apex Service by weight, the others as
// they are. port is for those that name none.
func (c connections) shared(users []*networking.RouteDestination, port *networking.PortSelector) (out []*networking.RouteDestination) {
	primary, canary := c.traffic.Primary, c.traffic.Canary
	if c.traffic.Matched { // connections match nothing
		primary, canary = 100, 0
	}
	merged := c.merged(users)
	for _, d := range merged {
		weight := d.Weight
		if len(merged) == 1 {
			weight = 1
		}
		if d.Destination != nil && !c.leadsToUs(d.Destination) {
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
			&networking.RouteDestination{Destination: c.to(toPrimary, at), Weight: weight * primary},
			&networking.RouteDestination{Destination: c.to(toCanary, at), Weight: weight * canary})
	}
	return out
}

// merged has those to one port of the apex Service, of whatever subset, as one.
func (c connections) merged(users []*networking.RouteDestination) (out []*networking.RouteDestination) {
	for _, d := range users {
		same := slices.IndexFunc(out, func(o *networking.RouteDestination) bool {
			return d.Destination != nil && c.leadsToUs(d.Destination) && c.leadsToUs(o.Destination) && proto.Equal(o.Destination.Port, d.Destination.Port)
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
