package istio

import (
	"encoding/json"
	"slices"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// trafficOf reads what the mesh does with the requests of this Canary. It is false
// when the object is not for it: another's, or a user's that is not adopted yet or was given
// back, whatever routes it has to the primary or the canary.
func (r *Router) trafficOf(route providers.Route, vs *networkingv1.VirtualService) (providers.Traffic, bool) {
	c := route.Canary
	var users *original
	switch r.owner(route).Of(vs) {
	case ownership.Others:
		return providers.Traffic{}, false
	case ownership.Users:
		if vs.Annotations[ssa.AppliedAnnotation] == "" && !takenOverBefore(vs, c) {
			return providers.Traffic{}, false
		}
		if o, err := parse(vs.Annotations[originalAnnotation], c); err == nil {
			users = o.base()
		}
	case ownership.Ours:
	}
	return readTraffic(&vs.Spec, users, c)
}

// takenOverBefore tells whether another operator leads the traffic by a user's object.
func takenOverBefore(vs *networkingv1.VirtualService, c *v1beta1.Canary) bool {
	o := map[string]any{}
	raw, err := json.Marshal(&vs.Spec)
	return err == nil && json.Unmarshal(raw, &o) == nil && overwritten(o, c)
}

// readTraffic reads the shares of a spec, in which routes of the user's, to one of the two
// Services perhaps, say nothing of them. Sessions are not read: the cookies say nothing about
// shares. Requests count before connections.
func readTraffic(spec *networking.VirtualService, users *original, c *v1beta1.Canary) (providers.Traffic, bool) {
	var requests, connections []read
	for _, http := range spec.Http {
		if users != nil && slices.ContainsFunc(users.http, func(u *networking.HTTPRoute) bool { return proto.Equal(u, http) }) {
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
	case isService(host, primary, c.Namespace):
		r.toPrimary, r.primary = true, r.primary+w
	case isService(host, canary, c.Namespace):
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
		if isService(m.GetDestination().GetHost(), canary, c.Namespace) {
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
