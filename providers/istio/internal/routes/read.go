package routes

import (
	"slices"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/shares"
	"github.com/sluice-delivery/sluice/providers/istio/internal/hosts"
	"github.com/sluice-delivery/sluice/providers/istio/internal/original"
)

// ReadTraffic reads the shares of a spec, in which routes of the user's, to one of the two
// Services perhaps, say nothing of them. Sessions are not read: the cookies say nothing about
// shares. Requests count before connections.
func ReadTraffic(spec *networking.VirtualService, users *original.VirtualService, c *v1beta1.Canary) (providers.Traffic, bool) {
	var requests, connections []shares.Read
	if users == nil {
		users = &original.VirtualService{}
	}
	for _, http := range spec.Http {
		if has(users.HTTP, http) {
			continue
		}
		if r := readHTTP(http, c); r.ToPrimary || r.ToCanary {
			requests = append(requests, r)
		}
	}
	connect := func(route []*networking.RouteDestination) {
		r := shares.Read{}
		for _, d := range route {
			add(&r, d.GetDestination().GetHost(), d.GetWeight(), len(route) == 1, c)
		}
		if r.ToPrimary || r.ToCanary {
			connections = append(connections, r)
		}
	}
	for _, tcp := range spec.Tcp {
		if !has(users.TCP, tcp) {
			connect(tcp.GetRoute())
		}
	}
	for _, tls := range spec.Tls {
		if !has(users.TLS, tls) {
			connect(tls.GetRoute())
		}
	}
	if len(requests) > 0 {
		return shares.Of(requests)
	}
	return shares.Of(connections)
}

// has tells whether a route is one of those.
func has[T proto.Message](routes []T, route T) bool {
	return slices.ContainsFunc(routes, func(r T) bool { return proto.Equal(r, route) })
}

// reachesCanary tells whether one of the routes leads to the canary.
func reachesCanary(routes []*networking.HTTPRoute, c *v1beta1.Canary) bool {
	return slices.ContainsFunc(routes, func(route *networking.HTTPRoute) bool { return readHTTP(route, c).ToCanary })
}

// add notes a destination of a route.
func add(r *shares.Read, host string, weight int32, alone bool, c *v1beta1.Canary) {
	_, primary, canary := c.ServiceNames()
	w := int64(weight)
	if alone && w == 0 {
		w = 100 // the only destination of a route needs no weight
	}
	r.Total += w
	switch {
	case hosts.IsService(host, primary, c.Namespace):
		r.ToPrimary, r.Primary = true, r.Primary+w
	case hosts.IsService(host, canary, c.Namespace):
		r.ToCanary, r.Canary = true, r.Canary+w
	}
}

func readHTTP(http *networking.HTTPRoute, c *v1beta1.Canary) shares.Read {
	r := shares.Read{}
	for _, d := range http.GetRoute() {
		add(&r, d.GetDestination().GetHost(), d.GetWeight(), len(http.GetRoute()) == 1, c)
	}
	_, _, canary := c.ServiceNames()
	copies := append([]*networking.HTTPMirrorPolicy{{Destination: http.GetMirror(), Percentage: http.GetMirrorPercentage()}}, http.GetMirrors()...)
	for _, m := range copies {
		if hosts.IsService(m.GetDestination().GetHost(), canary, c.Namespace) {
			r.Mirror = 100
			if p := m.GetPercentage(); p != nil {
				r.Mirror = int32(p.GetValue() + 0.5)
			}
		}
	}
	return r
}
