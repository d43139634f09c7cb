// Package routes has what a service-router and the service-splitters of a Canary hold, made from its
// route, and reads from them what Consul does with requests. It knows no Consul.
package routes

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/services"
	"github.com/sluice-delivery/sluice/providers/internal/affinity"
	"github.com/sluice-delivery/sluice/providers/internal/consulspec"
)

const (
	cookieHeader    = affinity.CookieHeader
	setCookieHeader = affinity.SetCookieHeader
)

// Builder makes what a router and its splitters hold.
type Builder struct {
	canary  *v1beta1.Canary
	names   services.Names
	traffic providers.Traffic
	cookies affinity.Cookies
	matched []*api.ServiceRouteHTTPMatch // spec.analysis.match
}

// template is a route whose requests are shared out.
type template struct {
	match       *api.ServiceRouteHTTPMatch
	destination *api.ServiceRouteDestination // without the service
	// implied routes are those that Consul has without being told: of the requests
	// that no route is for.
	implied bool
}

// New returns what makes the entries of a Canary for its traffic. It is an error for a match that
// Consul has no word for.
func New(c *v1beta1.Canary, n services.Names, traffic providers.Traffic) (*Builder, error) {
	b := &Builder{canary: c, names: n, traffic: traffic}
	var err error
	if b.cookies, err = affinity.New(c, traffic.Sessions); err != nil {
		return nil, err
	}
	const field = "spec.analysis.match"
	if b.matched, err = consulspec.Matches(field, c.GetAnalysis().Match); err != nil {
		return nil, err
	}
	if traffic.Matched && len(b.matched) == 0 {
		return nil, consulspec.Invalid(field, "", "A/B testing needs at least one match")
	}
	return b, nil
}

// Routes are those of the router: the user's, with those that lead to the
// service as the traffic asks. None where Consul needs no router.
func (b *Builder) Routes(users []api.ServiceRoute) ([]api.ServiceRoute, error) {
	set, err := consulspec.Settings(b.canary)
	if err != nil {
		return nil, err
	}
	limits, err := consulspec.Matches("spec.service.match", b.canary.Spec.Service.Match)
	if err != nil {
		return nil, err
	}
	var out []api.ServiceRoute
	everything := false
	for i, route := range users {
		if !leadsToApex(b.names, route.Destination) {
			out = append(out, route)
			everything = everything || consulspec.IsEverything(matchIn(route))
			continue
		}
		if len(limits) > 0 {
			return nil, consulspec.Invalid("spec.service.match", "", fmt.Sprintf(
				"Consul's service-router %s has routes to it already (Routes[%d]): say in one place which requests are shared out", b.names.Apex, i))
		}
		routes, err := b.expand(template{match: matchIn(route), destination: consulspec.Merge(withoutService(route.Destination), set)})
		if err != nil {
			return nil, err
		}
		out = append(out, routes...)
		everything = everything || consulspec.IsEverything(matchIn(route))
	}
	if everything {
		return out, nil
	}
	remaining, err := b.remaining(set, limits)
	return append(out, remaining...), err
}

// remaining are the routes for what no route of the user's is for.
func (b *Builder) remaining(set *api.ServiceRouteDestination, limits []*api.ServiceRouteHTTPMatch) ([]api.ServiceRoute, error) {
	if len(limits) == 0 {
		return b.expand(template{destination: set, implied: set == nil})
	}
	var out []api.ServiceRoute
	for _, match := range limits {
		routes, err := b.expand(template{match: match, destination: set})
		if err != nil {
			return nil, err
		}
		out = append(out, routes...)
	}
	return append(out, b.route(nil, nil, b.names.Primary, "")), nil // what is not for the canary
}

func matchIn(r api.ServiceRoute) *api.ServiceRouteHTTPMatch {
	if r.Match == nil {
		return nil
	}
	return r.Match.HTTP
}

func withoutService(d *api.ServiceRouteDestination) *api.ServiceRouteDestination {
	if d == nil {
		return nil
	}
	out := *d
	out.Service, out.ServiceSubset, out.Namespace, out.Partition = "", "", "", ""
	return &out
}

// leadsToApex tells whether a route of the user's is to be shared out. One that leads to the primary or the canary by
// name stays what it is.
func leadsToApex(n services.Names, d *api.ServiceRouteDestination) bool {
	return d == nil || n.IsApex(d.Service, d.Namespace, d.Partition)
}

// expand returns the routes by which the requests of a template are shared out.
func (b *Builder) expand(t template) ([]api.ServiceRoute, error) {
	var out []api.ServiceRoute
	for _, e := range b.exceptions() {
		match, possible, err := consulspec.Both(e.match, t.match)
		if err != nil {
			return nil, consulspec.Invalid("spec.analysis.match", "", "together with what the route itself matches: "+err.Error())
		}
		if possible {
			out = append(out, b.route(match, t.destination, e.to, e.mark))
		}
	}
	if !t.implied {
		out = append(out, b.route(t.match, t.destination, b.names.Apex, ""))
	}
	for i := range out {
		if err := b.rewritable(&out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// exception are requests that are not led to the splitter of the service as all others
// are; mark is a cookie for their answers, if any.
type exception struct {
	match    *api.ServiceRouteHTTPMatch
	to, mark string
}

// exceptions are in the order in which requests are compared with them.
func (b *Builder) exceptions() (out []exception) {
	k, tr := b.cookies, b.traffic
	switch {
	case tr.Matched && tr.Canary > 0:
		to := b.names.Split
		if tr.Canary == 100 {
			to = b.names.Canary
		}
		for _, match := range b.matched {
			out = append(out, exception{match: match, to: to})
		}
	case k.Sessions.Canary == "" && k.Sessions.Ended != "":
		out = append(out, exception{match: consulspec.Cookie(k.IsEnded()), to: b.names.Apex, mark: k.Drop()})
	// At 0 nobody goes to the canary, whatever his cookie says: its pods may be gone.
	case k.Sessions.Canary != "" && tr.Canary > 0:
		out = append(out, exception{match: consulspec.Cookie(k.IsCanary()), to: b.names.Canary})
		if tr.Primary > 0 {
			out = append(out,
				exception{match: consulspec.Cookie(k.IsPrimary()), to: b.names.Primary},
				exception{match: consulspec.Cookie(k.WasPrimary()), to: b.names.Split})
		}
	}
	return out
}

func (b *Builder) route(match *api.ServiceRouteHTTPMatch, base *api.ServiceRouteDestination, to, mark string) api.ServiceRoute {
	d := api.ServiceRouteDestination{}
	if base != nil {
		d = *base
	}
	d.Service = to
	if mark != "" {
		d.ResponseHeaders = withCookie(d.ResponseHeaders, mark)
	}
	route := api.ServiceRoute{Destination: &d}
	if !consulspec.IsEverything(match) {
		route.Match = &api.ServiceRouteMatch{HTTP: match}
	}
	return route
}

// rewritable makes sure that a route that rewrites the path says which part of it.
func (b *Builder) rewritable(r *api.ServiceRoute) error {
	if r.Destination.PrefixRewrite == "" {
		return nil
	}
	match := api.ServiceRouteHTTPMatch{}
	if m := matchIn(*r); m != nil {
		match = *m
	}
	switch {
	case match.PathRegex != "":
		return consulspec.Invalid("spec.service.rewrite.uri", r.Destination.PrefixRewrite, "a route that matches paths by a regex cannot rewrite them; use exact or prefix")
	case match.PathExact == "" && match.PathPrefix == "":
		match.PathPrefix = "/"
	}
	r.Match = &api.ServiceRouteMatch{HTTP: &match}
	return nil
}

// withCookie adds a Set-Cookie header; the name in another case keeps one that is
// there already.
func withCookie(h *api.HTTPHeaderModifiers, value string) *api.HTTPHeaderModifiers {
	out := api.HTTPHeaderModifiers{}
	if h != nil {
		out = *h
	}
	out.Add = maps.Clone(out.Add)
	if out.Add == nil {
		out.Add = map[string]string{}
	}
	name := setCookieHeader
	if _, taken := out.Add[name]; taken {
		name = "Set-Cookie"
	}
	out.Add[name] = strings.ReplaceAll(value, "%", "%%") // Envoy expands what stands between percent signs
	return &out
}

// Splits are those of the service: what requests get that no route is for.
func (b *Builder) Splits() []api.ServiceSplit {
	tr := b.traffic
	primary, canary := float32(tr.Primary), float32(tr.Canary)
	if tr.Matched {
		primary, canary = 100, 0
	}
	return b.share(primary, canary, tr.Sessions.Canary != "" && tr.Canary > 0)
}

// Shares are the splits for those requests that routes lead to a share of their
// own; none where there are no such requests.
func (b *Builder) Shares() []api.ServiceSplit {
	tr := b.traffic
	switch {
	case tr.Matched && tr.Canary > 0 && tr.Canary < 100:
		return b.share(float32(tr.Primary), float32(tr.Canary), false)
	case !tr.Matched && tr.Sessions.Canary != "" && tr.Canary > 0 && tr.Primary > 0:
		// Consul's weights have two decimals.
		moved := math.Round(float64(tr.Sessions.Raised)*10000/float64(tr.Primary+tr.Sessions.Raised)) / 100
		return b.share(float32(100-moved), float32(moved), true)
	default:
		return nil
	}
}

func (b *Builder) share(primary, canary float32, mark bool) []api.ServiceSplit {
	out := []api.ServiceSplit{
		{Weight: primary, Service: b.names.Primary},
		{Weight: canary, Service: b.names.Canary},
	}
	if mark {
		out[0].ResponseHeaders = withCookie(nil, b.cookies.MarkPrimary())
		out[1].ResponseHeaders = withCookie(nil, b.cookies.MarkCanary())
	}
	return out
}

// Alone returns an error for splits of the user's that lead elsewhere.
func (b *Builder) Alone(users []api.ServiceSplit) error {
	i := slices.IndexFunc(users, func(s api.ServiceSplit) bool { return !b.names.Has(s.Service, s.Namespace, s.Partition) })
	if i < 0 {
		return nil
	}
	return &providers.InvalidError{
		Field: fmt.Sprintf("Consul's service-splitter %s: Splits[%d].Service", b.names.Apex, i), Value: users[i].Service,
		Allowed: "the traffic of the service cannot be shared with another one; let it lead to " + b.names.Apex + " alone",
	}
}
