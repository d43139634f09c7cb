package routes

import (
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/affinity"
	"github.com/sluice-delivery/sluice/providers/istio/internal/match"
	"github.com/sluice-delivery/sluice/providers/istio/internal/original"
	"github.com/sluice-delivery/sluice/providers/istio/internal/settings"
)

// requests makes the routes of one VirtualService for requests.
type requests struct {
	scope

	users   *original.VirtualService // nil: there is none
	matched match.Alternatives       // spec.analysis.match
	cookies affinity.Cookies
}

func newRequests(s scope, users *original.VirtualService) (*requests, error) {
	r := &requests{scope: s, users: users}
	var err error
	// Also while no release runs: a mistake is told before one needs the match.
	if s.traffic.Matched || s.canary.GetAnalysis().Strategy() == v1beta1.StrategyABTesting {
		if r.matched, err = settings.AnalysisMatch(s.canary, s.gateways); err != nil {
			return nil, err
		}
	}
	r.cookies, err = affinity.New(s.canary, s.traffic.Sessions)
	return r, err
}

// routes returns the routes that share out the traffic. Routes of the
// user's that lead elsewhere stay where they are among them; each of his to
// the apex Service is shared out, and what the spec does not set holds as he has it. There are
// none where nothing is shared out: add says whether there has to be one.
func (r *requests) routes(add bool) ([]*networking.HTTPRoute, error) {
	spec, err := settings.HTTPRoute(r.canary)
	switch {
	case err != nil:
		return nil, err
	case r.users == nil && !add:
		return nil, nil
	case r.users == nil:
		return r.expand(ownTemplate(spec))
	default:
		return r.among(r.users.HTTP, spec, add)
	}
}

// among puts our routes in the places of those of the user's that lead to the
// apex Service, else after his.
func (r *requests) among(users []*networking.HTTPRoute, spec *networking.HTTPRoute, add bool) ([]*networking.HTTPRoute, error) {
	templates, last := r.templates(users, spec)
	if last < 0 && !add {
		return nil, nil
	}
	var out []*networking.HTTPRoute
	reached := false
	for i, route := range users {
		t, ours := templates[i]
		switch {
		case ours:
			routes, err := r.expand(t)
			if err != nil {
				return nil, err
			}
			out, reached = append(out, routes...), true
		case !r.isOurs(route):
			if !reached && match.Unconditional(route.GetMatch()) {
				return nil, r.unreachable("http", i)
			}
			out = append(out, route)
		}
	}
	if last >= 0 {
		return out, nil
	}
	routes, err := r.expand(ownTemplate(spec))
	return append(out, routes...), err
}

// expand turns a template into routes.
func (r *requests) expand(t template) (out []*networking.HTTPRoute, err error) {
	for _, t := range r.withPorts(t) {
		routes, err := r.divided(t)
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
func (r *requests) withPorts(t template) []template {
	if !r.namesPort(t.users) || !slices.ContainsFunc(t.parts, part.withoutPort) {
		return []template{t}
	}
	outside, isOutside, inside, isInside := match.ByPort(t.Match, r.gatewaysOrAll())
	var out []template
	if isOutside {
		named := slices.Clone(t.parts)
		for i := range named {
			if named[i].withoutPort() {
				named[i].port = r.mainPort()
			}
		}
		out = append(out, template{HTTPRoute: withMatch(t.HTTPRoute, outside), parts: named, users: t.users})
	}
	if isInside {
		out = append(out, template{HTTPRoute: withMatch(t.HTTPRoute, inside), parts: t.parts, users: t.users})
	}
	return out
}

func withMatch(route *networking.HTTPRoute, match match.Alternatives) *networking.HTTPRoute {
	out := proto.CloneOf(route)
	out.Match = match
	return out
}

// divided is one template, shared out.
func (r *requests) divided(t template) ([]*networking.HTTPRoute, error) {
	if !r.traffic.Matched {
		return r.shared(t)
	}
	match, possible, err := match.Both(r.matched, t.Match)
	if err != nil {
		return nil, &providers.InvalidError{Field: "spec.analysis.match", Value: "", Allowed: "together with the route's own match: " + err.Error()}
	}
	var out []*networking.HTTPRoute
	if possible {
		narrowed := t
		narrowed.HTTPRoute = withMatch(t.HTTPRoute, match)
		if out, err = r.shared(narrowed); err != nil {
			return nil, err
		}
	}
	return append(out, r.route(t, nil, share{service: toPrimary, weight: 100})), nil
}

// shared returns the routes by which requests are shared out.
func (r *requests) shared(t template) ([]*networking.HTTPRoute, error) {
	k, tr := r.cookies, r.traffic
	all := []share{{service: toPrimary, weight: tr.Primary}, {service: toCanary, weight: tr.Canary}}
	if k.Sessions.Canary == "" && k.Sessions.Ended != "" {
		ended := slices.Clone(all)
		for i := range ended {
			ended[i].cookie = k.Drop()
		}
		return []*networking.HTTPRoute{r.route(t, fitsHeader(k.IsEnded()), ended...), r.route(t, nil, all...)}, nil
	}
	// At 0 nobody goes to the canary, whatever his cookie says: its pods may be gone.
	if k.Sessions.Canary == "" || tr.Canary == 0 {
		return []*networking.HTTPRoute{r.route(t, nil, all...)}, nil
	}
	out := []*networking.HTTPRoute{r.route(t, fitsHeader(k.IsCanary()), share{service: toCanary, weight: 100})}
	if tr.Primary > 0 {
		moved := []share{{toPrimary, tr.Primary, k.MarkPrimary()}, {toCanary, tr.Sessions.Raised, k.MarkCanary()}}
		out = append(out,
			r.route(t, fitsHeader(k.IsPrimary()), share{service: toPrimary, weight: 100}),
			r.route(t, fitsHeader(k.WasPrimary()), moved...))
	}
	all[0].cookie, all[1].cookie = k.MarkPrimary(), k.MarkCanary()
	return append(out, r.route(t, nil, all...)), nil
}

// share is what one of the two gets.
type share struct {
	service side
	weight  int32
	cookie  string // set in every answer, if any
}

// route is the template with destinations, for requests with the cookie if one is given.
func (r *requests) route(t template, cookie *networking.StringMatch, shares ...share) *networking.HTTPRoute {
	out := proto.CloneOf(t.HTTPRoute)
	if cookie != nil {
		out.Match = match.WithHeader(out.Match, cookieHeader, cookie)
	}
	for _, p := range t.parts {
		out.Route = append(out.Route, r.destinations(p, shares)...)
	}
	if slices.ContainsFunc(shares, func(s share) bool { return s.service == toPrimary && s.weight > 0 }) {
		r.mirror(out, t)
	}
	return out
}

// destinations shares out a part of a route. What leads elsewhere keeps its weight in relation.
func (r *requests) destinations(p part, shares []share) (out []*networking.HTTPRouteDestination) {
	all := int32(0)
	for _, s := range shares {
		all += s.weight
		out = append(out, &networking.HTTPRouteDestination{
			Destination: r.to(s.service, p.port), Weight: p.weight * s.weight, Headers: withCookie(p.headers, s.cookie),
		})
	}
	if p.elsewhere == nil {
		return out
	}
	stays := proto.CloneOf(p.elsewhere)
	stays.Weight = p.weight * all
	return []*networking.HTTPRouteDestination{stays}
}

// mirror has the canary get copies of the route's requests. Copies that the user
// has sent elsewhere still go there.
func (r *requests) mirror(route *networking.HTTPRoute, t template) {
	if r.traffic.Mirror == 0 {
		return
	}
	first := t.parts[slices.IndexFunc(t.parts, func(p part) bool { return p.elsewhere == nil })]
	to, percentage := r.to(toCanary, first.port), &networking.Percent{Value: float64(r.traffic.Mirror)}
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
	add[match.Unused(add, setCookieHeader)] = literal(cookie)
	out.Response.Add = add
	return out
}

const (
	cookieHeader    = affinity.CookieHeader
	setCookieHeader = affinity.SetCookieHeader
)

// fitsHeader matches headers of which the regular expression fits the whole.
func fitsHeader(regex string) *networking.StringMatch {
	return &networking.StringMatch{MatchType: &networking.StringMatch_Regex{Regex: regex}}
}

// literal is a header's value as Envoy has to be told it: it expands what stands
// between percent signs.
func literal(value string) string { return strings.ReplaceAll(value, "%", "%%") }
