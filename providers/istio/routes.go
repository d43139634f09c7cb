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
	canary  *v1beta1.Canary
	traffic providers.Traffic
	users   *original // nil: there is none
	matched matches   // spec.analysis.match
	cookies affinity.Cookies
}

// template is a route to the apex Service, to be shared out.
type template struct {
	*networking.HTTPRoute // without destinations

	headers *networking.Headers      // of the destination
	port    *networking.PortSelector // of the destination
}

// httpRoutes returns the routes that share out the traffic. Routes of the
// user's that lead elsewhere stay where they are among them; each of his to
// the apex Service is shared out, and what the spec does not set holds as he has it.
func httpRoutes(c *v1beta1.Canary, traffic providers.Traffic, users *original) ([]*networking.HTTPRoute, error) {
	b := &builder{canary: c, traffic: traffic, users: users}
	var err error
	// Also while no release runs: a mistake is told before one needs the match.
	if traffic.Matched || c.GetAnalysis().Strategy() == v1beta1.StrategyABTesting {
		if b.matched, err = analysisMatch(c, routeGateways(c, users)); err != nil {
			return nil, err
		}
	}
	if b.cookies, err = affinity.New(c, traffic.Sessions); err != nil {
		return nil, err
	}
	spec, err := httpRoute(c)
	if err != nil {
		return nil, err
	}
	out, err := b.all(spec)
	if err == nil && traffic.Matched && !b.reachesCanary(out) {
		return nil, &providers.InvalidError{Field: "spec.analysis.match", Value: "", Allowed: "it must match some of the requests that the route is for"}
	}
	return out, err
}

func (b *builder) all(spec *networking.HTTPRoute) ([]*networking.HTTPRoute, error) {
	if b.users == nil {
		return b.expand(template{HTTPRoute: spec})
	}
	return b.among(b.users.http, spec)
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
func (b *builder) among(users []*networking.HTTPRoute, spec *networking.HTTPRoute) ([]*networking.HTTPRoute, error) {
	templates, last, err := b.templates(users, spec)
	if err != nil {
		return nil, err
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
	routes, err := b.expand(template{HTTPRoute: spec})
	return append(out, routes...), err
}

// templates returns what to share out instead of the user's routes, by their
// place, and the last of them. A match in the spec takes the place of all of his.
func (b *builder) templates(users []*networking.HTTPRoute, spec *networking.HTTPRoute) (out map[int]template, last int, err error) {
	out, last = map[int]template{}, -1
	for i, route := range users {
		if !b.isOurs(route) {
			continue
		}
		if slices.ContainsFunc(route.GetRoute(), func(d *networking.HTTPRouteDestination) bool { return !b.leadsToUs(d.GetDestination()) }) {
			return nil, -1, b.mixed("http", i)
		}
		last = i
		out[i] = b.merge(route, spec)
	}
	if last >= 0 && len(spec.Match) > 0 {
		out = map[int]template{last: out[last]}
	}
	return out, last, nil
}

func (b *builder) unreachable(protocol string, i int) error {
	apex, _, _ := b.canary.ServiceNames()
	return b.conflict(fmt.Sprintf("%s[%d]", protocol, i), "takes everything before any of it reaches "+apex, "give it a match, or make it lead to "+apex)
}

func (b *builder) mixed(protocol string, i int) error {
	apex, _, _ := b.canary.ServiceNames()
	return b.conflict(fmt.Sprintf("%s[%d].route", protocol, i), "shares traffic between "+apex+" and another service", "lead to "+apex+" alone in this route")
}

func (b *builder) conflict(field, value, allowed string) error {
	return &providers.InvalidError{Field: "VirtualService " + apexKey(b.canary).String() + ": " + field, Value: value, Allowed: allowed}
}

func (b *builder) isOurs(route *networking.HTTPRoute) bool {
	return slices.ContainsFunc(route.GetRoute(), func(d *networking.HTTPRouteDestination) bool { return b.leadsToUs(d.GetDestination()) })
}

func (b *builder) leadsToUs(d *networking.Destination) bool { return leadsTo(b.canary, d.GetHost()) }

func leadsTo(c *v1beta1.Canary, host string) bool {
	apex, primary, canary := c.ServiceNames()
	return slices.ContainsFunc([]string{apex, primary, canary}, func(s string) bool { return isService(host, s, c.Namespace) })
}

// merge returns the user's route with what the spec sets.
func (b *builder) merge(users, spec *networking.HTTPRoute) template {
	t := template{HTTPRoute: proto.CloneOf(users)}
	first := t.Route[0]
	t.headers, t.Route = first.Headers, nil
	t.port = b.portOf(first.GetDestination())
	if len(spec.Match) > 0 {
		t.Match = spec.Match
	}
	t.Rewrite, t.Timeout = set(spec.Rewrite, t.Rewrite), set(spec.Timeout, t.Timeout)
	t.Retries, t.CorsPolicy = set(spec.Retries, t.Retries), set(spec.CorsPolicy, t.CorsPolicy)
	t.HTTPRoute.Headers = set(spec.Headers, t.HTTPRoute.Headers)
	return t
}

func set[T any](spec, users *T) *T {
	if spec != nil {
		return spec
	}
	return users
}

// portOf is the user's port, if the primary's and the canary's Services have it.
func (b *builder) portOf(d *networking.Destination) *networking.PortSelector {
	s, p := b.canary.Spec.Service, d.GetPort()
	if p != nil && (s.PortDiscovery || int64(p.GetNumber()) == int64(s.Port)) {
		return p
	}
	return nil
}

// expand turns a template into routes.
func (b *builder) expand(t template) ([]*networking.HTTPRoute, error) {
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
		narrowed.HTTPRoute = proto.CloneOf(t.HTTPRoute)
		narrowed.Match = match
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
	for _, s := range shares {
		out.Route = append(out.Route, b.destination(t, s))
		if s.service == toPrimary && s.weight > 0 {
			b.mirror(out, t)
		}
	}
	return out
}

func (b *builder) destination(t template, s share) *networking.HTTPRouteDestination {
	return &networking.HTTPRouteDestination{
		Destination: b.to(s.service, t.port), Weight: s.weight, Headers: withCookie(t.headers, s.cookie),
	}
}

// to names the port where the user did, else only where Istio cannot know it:
// the Service has several, and the request comes through a gateway.
func (b *builder) to(service side, port *networking.PortSelector) *networking.Destination {
	_, primaryName, canaryName := b.canary.ServiceNames()
	d := &networking.Destination{Host: primaryName, Port: port}
	if service == toCanary {
		d.Host = canaryName
	}
	s := b.canary.Spec.Service
	gateways := gatewaysOf(b.canary, b.users)
	viaGateway := s.Delegation || gateways[0] != meshGateway
	if port == nil && s.PortDiscovery && viaGateway {
		d.Port = &networking.PortSelector{Number: uint32(s.Port)} //nolint:gosec // 1 to 65535 by the schema
	}
	return d
}

// mirror has the canary get copies of the route's requests. Copies that the user
// has sent elsewhere still go there.
func (b *builder) mirror(route *networking.HTTPRoute, t template) {
	if b.traffic.Mirror == 0 {
		return
	}
	to, percentage := b.to(toCanary, t.port), &networking.Percent{Value: float64(b.traffic.Mirror)}
	if route.Mirror == nil && len(route.Mirrors) == 0 {
		route.Mirror, route.MirrorPercentage = to, percentage
		return
	}
	if users := route.Mirror; users != nil {
		route.Mirrors = append(route.Mirrors, &networking.HTTPMirrorPolicy{Destination: users, Percentage: route.MirrorPercentage})
		route.Mirror, route.MirrorPercentage, route.MirrorPercent = nil, nil, nil //nolint:staticcheck // the deprecated field is the user's
	}
	route.Mirrors = append(route.Mirrors, &networking.HTTPMirrorPolicy{Destination: to, Percentage: percentage})
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
