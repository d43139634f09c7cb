package istio

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

func isTCP(c *v1beta1.Canary) bool { return strings.EqualFold(c.Spec.Service.AppProtocol, "tcp") }

// tcpRoutes is httpRoutes for connections, which have weights and nothing else.
func tcpRoutes(c *v1beta1.Canary, traffic providers.Traffic, users *original) ([]*networking.TCPRoute, error) {
	if traffic.Matched || traffic.Mirror > 0 || traffic.Sessions != (providers.Sessions{}) {
		return nil, &providers.InvalidError{
			Field: "spec.service.appProtocol", Value: c.Spec.Service.AppProtocol,
			Allowed: "connections have no headers and cookies: spec.analysis.match, mirror and sessionAffinity need HTTP",
		}
	}
	b := &builder{canary: c, traffic: traffic, users: users}
	if users == nil {
		return []*networking.TCPRoute{b.tcpRoute(tcpMatch(c), nil)}, nil
	}
	var out []*networking.TCPRoute
	reached := false
	for i, route := range users.tcp {
		if !slices.ContainsFunc(route.GetRoute(), func(d *networking.RouteDestination) bool { return b.leadsToUs(d.GetDestination()) }) {
			if !reached && len(route.GetMatch()) == 0 {
				return nil, b.unreachable("tcp", i)
			}
			out = append(out, route)
			continue
		}
		if slices.ContainsFunc(route.GetRoute(), func(d *networking.RouteDestination) bool { return !b.leadsToUs(d.GetDestination()) }) {
			return nil, b.mixed("tcp", i)
		}
		match, port := route.GetMatch(), b.portOf(route.GetRoute()[0].GetDestination())
		if ours := tcpMatch(c); len(ours) > 0 {
			match = ours
		}
		out, reached = append(out, b.tcpRoute(match, port)), true
	}
	if !reached {
		out = append(out, b.tcpRoute(tcpMatch(c), nil))
	}
	return out, nil
}

func (b *builder) tcpRoute(match []*networking.L4MatchAttributes, port *networking.PortSelector) *networking.TCPRoute {
	out := &networking.TCPRoute{Route: []*networking.RouteDestination{
		{Destination: b.to(toPrimary, port), Weight: b.traffic.Primary},
		{Destination: b.to(toCanary, port), Weight: b.traffic.Canary},
	}}
	for _, m := range match {
		out.Match = append(out.Match, proto.CloneOf(m))
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
