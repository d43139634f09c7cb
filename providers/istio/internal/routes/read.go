package routes

import (
	"slices"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/istio/internal/hosts"
	"github.com/sluice-delivery/sluice/providers/istio/internal/original"
)

// ReadTraffic reads the shares of a spec, in which routes of the user's, to one of the two
// Services perhaps, say nothing of them. Sessions are not read: the cookies say nothing about
// shares. Requests count before connections.
func ReadTraffic(spec *networking.VirtualService, users *original.VirtualService, c *v1beta1.Canary) (providers.Traffic, bool) {
	var requests, connections []read
	for _, http := range spec.Http {
		if users != nil && slices.ContainsFunc(users.HTTP, func(u *networking.HTTPRoute) bool { return proto.Equal(u, http) }) {
			continue
		}
		if r := readHTTP(http, c); r.toPrimary || r.toCanary {
			requests = append(requests, r)
		}
	}
	connect := func(route []*networking.RouteDestination) {
		r := read{}
		for _, d := range route {
			r.add(d.GetDestination().GetHost(), d.GetWeight(), len(route) == 1, c)
		}
		if r.toPrimary || r.toCanary {
			connections = append(connections, r)
		}
	}
	for _, tcp := range spec.Tcp {
		connect(tcp.GetRoute())
	}
	for _, tls := range spec.Tls {
		connect(tls.GetRoute())
	}
	if len(requests) > 0 {
		return summarize(requests)
	}
	return summarize(connections)
}

// reachesCanary tells whether one of the routes leads to the canary.
func reachesCanary(routes []*networking.HTTPRoute, c *v1beta1.Canary) bool {
	return slices.ContainsFunc(routes, func(route *networking.HTTPRoute) bool { return readHTTP(route, c).toCanary })
}

// summarize returns what the last route that leads to the canary does, because
// those of users with cookies come before it. With another after it the shares are only
// of the requests that it matches.
func summarize(routes []read) (providers.Traffic, bool) {
	if len(routes) == 0 {
		return providers.Traffic{}, false
	}
	last := len(routes) - 1
	for i := last; i >= 0; i-- {
		if routes[i].toCanary {
			t := routes[i].traffic()
			t.Matched = i < last
			return t, true
		}
	}
	return routes[last].traffic(), true
}

// read is what one route does.
type read struct {
	toPrimary, toCanary    bool
	primary, canary, total int64
	mirror                 int32
}

func (r *read) add(host string, weight int32, alone bool, c *v1beta1.Canary) {
	_, primary, canary := c.ServiceNames()
	w := int64(weight)
	if alone && w == 0 {
		w = 100 // the only destination of a route needs no weight
	}
	r.total += w
	switch {
	case hosts.IsService(host, primary, c.Namespace):
		r.toPrimary, r.primary = true, r.primary+w
	case hosts.IsService(host, canary, c.Namespace):
		r.toCanary, r.canary = true, r.canary+w
	}
}

func (r *read) traffic() providers.Traffic {
	t := shares(r.primary, r.canary, r.total)
	t.Mirror = r.mirror
	return t
}

func readHTTP(http *networking.HTTPRoute, c *v1beta1.Canary) read {
	r := read{}
	for _, d := range http.GetRoute() {
		r.add(d.GetDestination().GetHost(), d.GetWeight(), len(http.GetRoute()) == 1, c)
	}
	_, _, canary := c.ServiceNames()
	copies := append([]*networking.HTTPMirrorPolicy{{Destination: http.GetMirror(), Percentage: http.GetMirrorPercentage()}}, http.GetMirrors()...)
	for _, m := range copies {
		if hosts.IsService(m.GetDestination().GetHost(), canary, c.Namespace) {
			r.mirror = 100
			if p := m.GetPercentage(); p != nil {
				r.mirror = int32(p.GetValue() + 0.5)
			}
		}
	}
	return r
}

// shares turns weights, which Istio takes in relation to their sum, into
// percent. Whatever does not go to the canary counts as the primary's.
func shares(primary, canary, total int64) providers.Traffic {
	if total <= 0 {
		// The only destination of a route needs no weight.
		if primary == 0 && canary == 0 {
			return providers.Traffic{Primary: 100}
		}
		total = primary + canary
	}
	percent := int32((canary*100 + total/2) / total) //nolint:gosec // 0 to 100
	return providers.Traffic{Primary: 100 - percent, Canary: percent}
}
