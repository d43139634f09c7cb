package istio

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/affinity"
)

// builder makes the routes of one VirtualService.
type builder struct {
	canary   *v1beta1.Canary
	traffic  providers.Traffic
	users    *original // nil: there is none
	gateways []string  // that it is for; nil where a VirtualService that delegates to it says it
	several  bool      // ports that the Services have
	matched  matches   // spec.analysis.match
	cookies  affinity.Cookies
}

func newBuilder(route providers.Route, users *original, gateways []string) (*builder, error) {
	c := route.Canary
	b := &builder{canary: c, traffic: route.Traffic, users: users, gateways: gateways, several: several(route)}
	var err error
	// Also while no release runs: a mistake is told before one needs the match.
	if route.Traffic.Matched || c.GetAnalysis().Strategy() == v1beta1.StrategyABTesting {
		if b.matched, err = analysisMatch(c, gateways); err != nil {
			return nil, err
		}
	}
	b.cookies, err = affinity.New(c, route.Traffic.Sessions)
	return b, err
}

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

// httpRoutes returns the routes that share out the traffic. Routes of the
// user's that lead elsewhere stay where they are among them; each of his to
// the apex Service is shared out, and what the spec does not set holds as he has it. There are
// none where nothing is shared out: add says whether there has to be one.
func (b *builder) httpRoutes(add bool) ([]*networking.HTTPRoute, error) {
	spec, err := httpRoute(b.canary)
	switch {
	case err != nil:
		return nil, err
	case b.users == nil && !add:
		return nil, nil
	case b.users == nil:
		return b.expand(ownTemplate(spec))
	default:
		return b.among(b.users.http, spec, add)
	}
}

func (b *builder) reachesCanary(routes []*networking.HTTPRoute) bool {
	return slices.ContainsFunc(routes, func(route *networking.HTTPRoute) bool { return readHTTP(route, b.canary).toCanary })
}

func analysisMatch(c *v1beta1.Canary, gateways []string) (out matches, err error) {
	for i := range c.GetAnalysis().Match {
		match := &networking.HTTPMatchRequest{}
		if err := decode(fmt.Sprintf("spec.analysis.match[%d]", i), &c.GetAnalysis().Match[i], match); err != nil {
			return nil, err
		}
		if err := sourced(i, match, gateways); err != nil {
			return nil, err
		}
		out = append(out, match)
	}
	if len(out) == 0 {
		return nil, &providers.InvalidError{Field: "spec.analysis.match", Value: "", Allowed: "A/B testing needs at least one match"}
	}
	return out, nil
}

// among puts our routes in the places of those of the user's that lead to the
// apex Service, else after his.
func (b *builder) among(users []*networking.HTTPRoute, spec *networking.HTTPRoute, add bool) ([]*networking.HTTPRoute, error) {
	templates, last := b.templates(users, spec)
	if last < 0 && !add {
		return nil, nil
	}
	var out []*networking.HTTPRoute
	reached := false
	for i, route := range users {
		t, ours := templates[i]
		switch {
		case ours:
			routes, err := b.expand(t)
			if err != nil {
				return nil, err
			}
			out, reached = append(out, routes...), true
		case !b.isOurs(route):
			if !reached && unconditional(route.GetMatch()) {
				return nil, b.unreachable("http", i)
			}
			out = append(out, route)
		}
	}
	if last >= 0 {
		return out, nil
	}
	routes, err := b.expand(ownTemplate(spec))
	return append(out, routes...), err
}

func ownTemplate(spec *networking.HTTPRoute) template {
	return template{HTTPRoute: spec, parts: []part{{weight: 1}}}
}

// templates returns what to share out instead of the user's routes, by their
// place, and the last of them. A match in the spec takes the place of all of his.
func (b *builder) templates(users []*networking.HTTPRoute, spec *networking.HTTPRoute) (out map[int]template, last int) {
	out, last = map[int]template{}, -1
	for i, route := range users {
		if b.isOurs(route) {
			last = i
			out[i] = b.merge(route, spec)
		}
	}
	if last >= 0 && len(spec.Match) > 0 {
		out = map[int]template{last: out[last]}
	}
	return out, last
}

func (b *builder) unreachable(protocol string, i int) error {
	apex, _, _ := b.canary.ServiceNames()
	return b.conflict(fmt.Sprintf("%s[%d]", protocol, i), "takes everything before any of it reaches "+apex, "give it a match, or make it lead to "+apex)
}

func (b *builder) conflict(field, value, allowed string) error {
	return &providers.InvalidError{Field: "VirtualService " + apexKey(b.canary).String() + ": " + field, Value: value, Allowed: allowed}
}

func (b *builder) isOurs(route *networking.HTTPRoute) bool {
	return slices.ContainsFunc(route.GetRoute(), func(d *networking.HTTPRouteDestination) bool { return b.leadsToUs(d.GetDestination()) })
}

// leadsToUs tells whether a user's destination is the apex Service. One that names the
// primary's or the canary's Service means just that one.
func (b *builder) leadsToUs(d *networking.Destination) bool { return isApex(b.canary, d) }

func isApex(c *v1beta1.Canary, d *networking.Destination) bool {
	apex, _, _ := c.ServiceNames()
	return isService(d.GetHost(), apex, c.Namespace)
}

// merge returns the user's route with what the spec sets.
func (b *builder) merge(users, spec *networking.HTTPRoute) template {
	t := template{HTTPRoute: proto.CloneOf(users), users: true, parts: b.parts(users.Route)}
	t.Route = nil
	if len(spec.Match) > 0 {
		t.Match = spec.Match
	}
	t.Rewrite, t.Timeout = set(spec.Rewrite, t.Rewrite), set(spec.Timeout, t.Timeout)
	t.Retries, t.CorsPolicy = set(spec.Retries, t.Retries), set(spec.CorsPolicy, t.CorsPolicy)
	t.HTTPRoute.Headers = set(spec.Headers, t.HTTPRoute.Headers)
	return t
}

// parts are the user's destinations. Those to the apex Service that differ in nothing but a
// subset, of which there are none any more, are one.
func (b *builder) parts(users []*networking.HTTPRouteDestination) (out []part) {
	for _, d := range users {
		p := part{weight: d.Weight, headers: d.Headers, port: d.GetDestination().GetPort()}
		if !b.leadsToUs(d.GetDestination()) {
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

func set[T any](spec, users *T) *T {
	if spec != nil {
		return spec
	}
	return users
}

// expand turns a template into routes.
func (b *builder) expand(t template) (out []*networking.HTTPRoute, err error) {
	for _, t := range b.withPorts(t) {
		routes, err := b.divided(t)
		if err != nil {
			return nil, err
		}
		out = append(out, routes...)
	}
	return out, nil
}

// withPorts has the template for gateways lead to the Canary's port, where Istio can't know it,
// and that for sidecars to the port that a request is for. A route of the user's has the
// ports of the apex Service to choose from, as it had before.
func (b *builder) withPorts(t template) []template {
	if !b.namesPort(t.users) || !slices.ContainsFunc(t.parts, part.withoutPort) {
		return []template{t}
	}
	outside, isOutside, inside, isInside := byPort(t.Match, b.gatewaysOrAll())
	var out []template
	if isOutside {
		named := slices.Clone(t.parts)
		for i := range named {
			if named[i].withoutPort() {
				named[i].port = b.mainPort()
			}
		}
		out = append(out, template{HTTPRoute: withMatch(t.HTTPRoute, outside), parts: named, users: t.users})
	}
	if isInside {
		out = append(out, template{HTTPRoute: withMatch(t.HTTPRoute, inside), parts: t.parts, users: t.users})
	}
	return out
}

func (p part) withoutPort() bool { return p.elsewhere == nil && p.port == nil }

// namesPort tells whether a destination without a port needs one for a gateway's requests.
func (b *builder) namesPort(users bool) bool {
	return b.several && (!users || b.canary.Spec.Service.PortDiscovery)
}

// gatewaysOrAll are the gateways of the VirtualService. One that is delegated to does not know
// them, and goes by gateways, whose requests need a port.
func (b *builder) gatewaysOrAll() []string {
	if len(b.gateways) == 0 {
		return []string{"any"}
	}
	return b.gateways
}

func (b *builder) mainPort() *networking.PortSelector {
	return &networking.PortSelector{Number: uint32(b.canary.Spec.Service.Port)} //nolint:gosec // 1 to 65535 by the schema
}

func withMatch(route *networking.HTTPRoute, match matches) *networking.HTTPRoute {
	out := proto.CloneOf(route)
	out.Match = match
	return out
}

// divided is one template, shared out.
func (b *builder) divided(t template) ([]*networking.HTTPRoute, error) {
	if !b.traffic.Matched {
		return b.shared(t)
	}
	match, possible, err := both(b.matched, t.Match)
	if err != nil {
		return nil, &providers.InvalidError{Field: "spec.analysis.match", Value: "", Allowed: "together with the route's own match: " + err.Error()}
	}
	var out []*networking.HTTPRoute
	if possible {
		narrowed := t
		narrowed.HTTPRoute = withMatch(t.HTTPRoute, match)
		if out, err = b.shared(narrowed); err != nil {
			return nil, err
		}
	}
	return append(out, b.route(t, nil, share{service: toPrimary, weight: 100})), nil
}

// shared returns the routes by which requests are shared out.
func (b *builder) shared(t template) ([]*networking.HTTPRoute, error) {
	k, tr := b.cookies, b.traffic
	all := []share{{service: toPrimary, weight: tr.Primary}, {service: toCanary, weight: tr.Canary}}
	if k.Sessions.Canary == "" && k.Sessions.Ended != "" {
		ended := slices.Clone(all)
		for i := range ended {
			ended[i].cookie = k.Drop()
		}
		return []*networking.HTTPRoute{b.route(t, fitsHeader(k.IsEnded()), ended...), b.route(t, nil, all...)}, nil
	}
	// At 0 nobody goes to the canary, whatever his cookie says: its pods may be gone.
	if k.Sessions.Canary == "" || tr.Canary == 0 {
		return []*networking.HTTPRoute{b.route(t, nil, all...)}, nil
	}
	out := []*networking.HTTPRoute{b.route(t, fitsHeader(k.IsCanary()), share{service: toCanary, weight: 100})}
	if tr.Primary > 0 {
		moved := []share{{toPrimary, tr.Primary, k.MarkPrimary()}, {toCanary, tr.Sessions.Raised, k.MarkCanary()}}
		out = append(out,
			b.route(t, fitsHeader(k.IsPrimary()), share{service: toPrimary, weight: 100}),
			b.route(t, fitsHeader(k.WasPrimary()), moved...))
	}
	all[0].cookie, all[1].cookie = k.MarkPrimary(), k.MarkCanary()
	return append(out, b.route(t, nil, all...)), nil
}

// side is one of the two Services.
type side int

const (
	toPrimary side = iota
	toCanary
)

// share is what one of the two gets.
type share struct {
	service side
	weight  int32
	cookie  string // set in every answer, if any
}

// route is the template with destinations, for requests with the cookie if one is given.
func (b *builder) route(t template, cookie *networking.StringMatch, shares ...share) *networking.HTTPRoute {
	out := proto.CloneOf(t.HTTPRoute)
	if cookie != nil {
		out.Match = withHeader(out.Match, cookieHeader, cookie)
	}
	for _, p := range t.parts {
		out.Route = append(out.Route, b.destinations(p, shares)...)
	}
	if slices.ContainsFunc(shares, func(s share) bool { return s.service == toPrimary && s.weight > 0 }) {
		b.mirror(out, t)
	}
	return out
}

// destinations shares out a part of a route. What leads elsewhere keeps its weight in relation.
func (b *builder) destinations(p part, shares []share) (out []*networking.HTTPRouteDestination) {
	all := int32(0)
	for _, s := range shares {
		all += s.weight
		out = append(out, &networking.HTTPRouteDestination{
			Destination: b.to(s.service, p.port), Weight: p.weight * s.weight, Headers: withCookie(p.headers, s.cookie),
		})
	}
	if p.elsewhere == nil {
		return out
	}
	stays := proto.CloneOf(p.elsewhere)
	stays.Weight = p.weight * all
	return []*networking.HTTPRouteDestination{stays}
}

func (b *builder) to(service side, port *networking.PortSelector) *networking.Destination {
	_, primaryName, canaryName := b.canary.ServiceNames()
	if service == toCanary {
		return &networking.Destination{Host: canaryName, Port: port}
	}
	return &networking.Destination{Host: primaryName, Port: port}
}

// mirror has the canary get copies of the route's requests. Copies that the user
// has sent elsewhere still go there.
func (b *builder) mirror(route *networking.HTTPRoute, t template) {
	if b.traffic.Mirror == 0 {
		return
	}
	first := t.parts[slices.IndexFunc(t.parts, func(p part) bool { return p.elsewhere == nil })]
	to, percentage := b.to(toCanary, first.port), &networking.Percent{Value: float64(b.traffic.Mirror)}
	if route.Mirror == nil && len(route.Mirrors) == 0 {
		route.Mirror, route.MirrorPercentage = to, percentage
		return
	}
	if users := route.Mirror; users != nil {
		route.Mirrors = append(route.Mirrors, &networking.HTTPMirrorPolicy{Destination: users, Percentage: mirrored(route)})
		route.Mirror, route.MirrorPercentage, route.MirrorPercent = nil, nil, nil //nolint:staticcheck // the deprecated field is the user's
	}
	route.Mirrors = append(route.Mirrors, &networking.HTTPMirrorPolicy{Destination: to, Percentage: percentage})
}

// mirrored is the share of the requests that the user's mirror gets; nil for all.
func mirrored(route *networking.HTTPRoute) *networking.Percent {
	if p := route.MirrorPercent; p != nil && route.MirrorPercentage == nil { //nolint:staticcheck // the deprecated field is in effect
		return &networking.Percent{Value: float64(p.GetValue())}
	}
	return route.MirrorPercentage
}

// withHeader narrows ms to requests with the header.
func withHeader(ms matches, name string, value *networking.StringMatch) matches {
	if len(ms) == 0 {
		ms = matches{{}}
	}
	out := make(matches, 0, len(ms))
	for _, m := range ms {
		m = proto.CloneOf(m)
		headers := map[string]*networking.StringMatch{}
		maps.Copy(headers, m.Headers)
		headers[unused(headers, name)] = value
		m.Headers = headers
		out = append(out, m)
	}
	return out
}

// withCookie adds the Set-Cookie header to what the user does with headers.
func withCookie(users *networking.Headers, cookie string) *networking.Headers {
	if cookie == "" {
		return users
	}
	out := &networking.Headers{}
	if users != nil {
		out = proto.CloneOf(users)
	}
	if out.Response == nil {
		out.Response = &networking.Headers_HeaderOperations{}
	}
	add := maps.Clone(out.Response.Add)
	if add == nil {
		add = map[string]string{}
	}
	add[unused(add, setCookieHeader)] = literal(cookie)
	out.Response.Add = add
	return out
}
