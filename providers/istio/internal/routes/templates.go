package routes

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1"
)

// template is a route, of which what leads to the apex Service is to be shared out.
type template struct {
	*networking.HTTPRoute // without destinations

	parts []part
	users bool // it is a user's
}

// part is a destination of a template.
type part struct {
	weight int32
	// elsewhere is one of the user's that leads to another service, and stays as it is; nil for
	// the apex Service. Then the others are the destination's.
	elsewhere *networking.HTTPRouteDestination
	headers   *networking.Headers
	port      *networking.PortSelector
}

func ownTemplate(spec *networking.HTTPRoute) template {
	return template{HTTPRoute: spec, parts: []part{{weight: 1}}}
}

func (p part) withoutPort() bool { return p.elsewhere == nil && p.port == nil }

// templates returns what to share out instead of the user's routes, by their
// place, and the last of them. A match in the spec takes the place of all of his.
func (s scope) templates(users []*networking.HTTPRoute, spec *networking.HTTPRoute) (out map[int]template, last int) {
	out, last = map[int]template{}, -1
	for i, route := range users {
		if s.isOurs(route) {
			last = i
			out[i] = s.merge(route, spec)
		}
	}
	if last >= 0 && len(spec.Match) > 0 {
		out = map[int]template{last: out[last]}
	}
	return out, last
}

func (s scope) isOurs(route *networking.HTTPRoute) bool {
	return slices.ContainsFunc(route.GetRoute(), func(d *networking.HTTPRouteDestination) bool { return s.leadsToUs(d.GetDestination()) })
}

// merge returns the user's route with what the spec sets.
func (s scope) merge(users, spec *networking.HTTPRoute) template {
	t := template{HTTPRoute: proto.CloneOf(users), users: true, parts: s.parts(users.Route)}
	t.Route = nil
	if len(spec.Match) > 0 {
		t.Match = spec.Match
	}
	t.Rewrite, t.Timeout = cmp.Or(spec.Rewrite, t.Rewrite), cmp.Or(spec.Timeout, t.Timeout)
	t.Retries, t.CorsPolicy = cmp.Or(spec.Retries, t.Retries), cmp.Or(spec.CorsPolicy, t.CorsPolicy)
	t.HTTPRoute.Headers = cmp.Or(spec.Headers, t.HTTPRoute.Headers)
	return t
}

// parts are the user's destinations. Those to the apex Service that differ in nothing but a
// subset, of which there are none any more, are one.
func (s scope) parts(users []*networking.HTTPRouteDestination) (out []part) {
	for _, d := range users {
		p := part{weight: d.Weight, headers: d.Headers, port: d.GetDestination().GetPort()}
		if !s.leadsToUs(d.GetDestination()) {
			p.elsewhere = d
		}
		same := slices.IndexFunc(out, func(q part) bool {
			return p.elsewhere == nil && q.elsewhere == nil && proto.Equal(p.port, q.port) && proto.Equal(p.headers, q.headers)
		})
		if same < 0 {
			out = append(out, p)
		} else {
			out[same].weight += p.weight
		}
	}
	if len(out) == 1 {
		out[0].weight = 1
	}
	return out
}
