package rules

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/ptr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/affinity"
)

// routeName is what the route of a Canary is called in messages.
func routeName(c *v1beta1.Canary) string {
	apex, _, _ := c.ServiceNames()
	return c.Namespace + "/" + apex
}

// builder makes the rules of one route.
//
// A proxy takes the rule that matches a request most specifically, by path,
// method, number of headers and number of parameters, and of equals the first. A
// rule for some of another's requests, with the cookie of a session or by
// spec.analysis.match, has all of its conditions and more, and comes before it.
type builder struct {
	canary  *v1beta1.Canary
	traffic providers.Traffic
	users   *gatewayv1.HTTPRouteSpec // nil: there is none
	matched matches                  // spec.analysis.match
	cookies affinity.Cookies
}

// Written are the rules as they are in the route.
func Written(all []Planned) (out []gatewayv1.HTTPRouteRule) {
	for i := range all {
		out = append(out, all[i].HTTPRouteRule)
	}
	return out
}

// Plan returns the rules that share out the traffic. Rules of the user's that
// lead elsewhere stay; each of his to the apex Service is shared out, and what the
// spec does not set holds as he has it. None takes requests that were another's.
func Plan(c *v1beta1.Canary, traffic providers.Traffic, users *gatewayv1.HTTPRouteSpec) ([]Planned, error) {
	b := &builder{canary: c, traffic: traffic, users: users}
	var err error
	if traffic.Matched {
		if b.matched, err = analysisMatch(c); err != nil {
			return nil, err
		}
	}
	if b.cookies, err = affinity.New(c, traffic.Sessions); err != nil {
		return nil, err
	}
	spec, err := fromSpec(c)
	if err != nil {
		return nil, err
	}
	out, err := b.all(spec)
	switch {
	case err != nil:
		return nil, err
	case traffic.Matched && !slices.ContainsFunc(out, func(r Planned) bool { return readRule(r.HTTPRouteRule, c).ToCanary }):
		return nil, Invalid("spec.analysis.match", "", "it must match some of the requests that the route is for")
	case users == nil:
		return b.rewriting(out)
	}
	if out, err = guarded(out); err != nil {
		return nil, Invalid(b.narrower(), "", fmt.Sprintf("rules of HTTPRoute %s that lead elsewhere would lose requests: %v", routeName(c), err))
	}
	return b.rewriting(out)
}

// rewriting has parts of rules that rewrite paths do so like the whole.
func (b *builder) rewriting(all []Planned) (out []Planned, err error) {
	for _, p := range all {
		more, err := p.rewriting()
		if err != nil {
			return nil, Invalid(b.narrower(), "", err.Error())
		}
		out = append(out, more...)
	}
	return out, nil
}

// narrower is the field of the spec by which there are rules for parts of requests.
func (b *builder) narrower() string {
	if b.traffic.Matched {
		return "spec.analysis.match"
	}
	if b.traffic.Sessions != (providers.Sessions{}) {
		return "spec.analysis.sessionAffinity"
	}
	return "spec.service.match"
}

func analysisMatch(c *v1beta1.Canary) (matches, error) {
	out, err := matchesOf("spec.analysis.match", c.GetAnalysis().Match)
	if err == nil && len(out) == 0 {
		return nil, Invalid("spec.analysis.match", "", "A/B testing needs at least one match")
	}
	return out, err
}

func (b *builder) all(spec template) ([]Planned, error) {
	if b.users == nil {
		return b.expand(spec)
	}
	spec.source, spec.added = len(b.users.Rules), true
	templates, last, err := b.templates(b.users.Rules, spec)
	if err != nil {
		return nil, err
	}
	var out []Planned
	for i, rule := range b.users.Rules {
		t, ours := templates[i]
		switch {
		case ours:
			rules, err := b.expand(t)
			if err != nil {
				return nil, err
			}
			out = append(out, rules...)
		case !b.isOurs(rule):
			out = append(out, AsWritten(rule, i))
		}
	}
	if last >= 0 {
		return out, nil
	}
	rules, err := b.expand(spec)
	return append(out, rules...), err
}

// templates returns what to share out instead of the user's rules, by their
// place, and the last of them. A match in the spec takes the place of all of his.
func (b *builder) templates(users []gatewayv1.HTTPRouteRule, spec template) (out map[int]template, last int, err error) {
	out, last = map[int]template{}, -1
	for i, rule := range users {
		if !b.isOurs(rule) {
			continue
		}
		if slices.ContainsFunc(rule.BackendRefs, func(r gatewayv1.HTTPBackendRef) bool { return !leadsToUs(b.canary, r.BackendObjectReference) }) {
			apex, _, _ := b.canary.ServiceNames()
			return nil, -1, Invalid(fmt.Sprintf("HTTPRoute %s: spec.rules[%d].backendRefs", routeName(b.canary), i),
				"shares traffic between "+apex+" and another service", "lead to "+apex+" alone in this rule")
		}
		if out[i], err = b.merge(i, rule, spec); err != nil {
			return nil, -1, err
		}
		last = i
	}
	if last >= 0 && len(spec.Matches) > 0 {
		out = map[int]template{last: out[last]}
	}
	return out, last, nil
}

// isOurs tells whether a rule of the user's is to be shared out. One that leads to the primary or the canary by
// name stays what it is.
func (b *builder) isOurs(rule gatewayv1.HTTPRouteRule) bool {
	return slices.ContainsFunc(rule.BackendRefs, func(r gatewayv1.HTTPBackendRef) bool { return leadsToApex(b.canary, r.BackendObjectReference) })
}

// merge returns the user's rule, by its place, with what the spec sets.
func (b *builder) merge(place int, users gatewayv1.HTTPRouteRule, spec template) (template, error) {
	t := template{HTTPRouteRule: *users.DeepCopy(), port: spec.port, filters: users.BackendRefs[0].Filters, source: place}
	if port := users.BackendRefs[0].Port; port != nil {
		t.port = *port
	}
	for _, other := range users.BackendRefs[1:] {
		if ptr.Deref(other.Port, t.port) != t.port || !equality.Semantic.DeepEqual(other.Filters, t.filters) {
			return t, Invalid(fmt.Sprintf("HTTPRoute %s: spec.rules[%d].backendRefs", routeName(b.canary), place),
				"shares traffic between ports, or with several filters", "lead to one port in this rule, with the same filters")
		}
	}
	t.BackendRefs = nil
	if len(spec.Matches) > 0 {
		t.Matches = spec.Matches
	}
	if spec.Timeouts != nil {
		t.Timeouts = spec.Timeouts
	}
	for _, filter := range spec.Filters {
		t.Filters = slices.DeleteFunc(t.Filters, func(f gatewayv1.HTTPRouteFilter) bool { return f.Type == filter.Type })
	}
	t.Filters = append(t.Filters, spec.Filters...)
	return t, nil
}

// expand turns a template into rules.
func (b *builder) expand(t template) ([]Planned, error) {
	t.Matches = orAny(t.Matches)
	t.origins = t.Matches
	out, err := b.split(t)
	for i := range out {
		out[i].step = i
	}
	return out, err
}

func (b *builder) split(t template) ([]Planned, error) {
	if !b.traffic.Matched {
		return b.shared(t)
	}
	narrowed, possible, err := t.narrow(b.matched)
	if err != nil {
		return nil, Invalid("spec.analysis.match", "", "together with the route's own match: "+err.Error())
	}
	var out []Planned
	if possible {
		if out, err = b.shared(narrowed); err != nil {
			return nil, err
		}
	}
	return append(out, b.rule(t, share{service: toPrimary, weight: 100})), nil
}

// shared returns the rules by which requests are shared out.
func (b *builder) shared(t template) ([]Planned, error) {
	k, tr := b.cookies, b.traffic
	all := []share{{service: toPrimary, weight: tr.Primary}, {service: toCanary, weight: tr.Canary}}
	if k.Sessions.Canary == "" && k.Sessions.Ended != "" {
		ended := slices.Clone(all)
		for i := range ended {
			ended[i].cookie = k.Drop()
		}
		return b.withCookies(t, all, cookieRule{k.IsEnded(), ended})
	}
	// At 0 nobody goes to the canary, whatever his cookie says: its pods may be gone.
	if k.Sessions.Canary == "" || tr.Canary == 0 {
		return b.withCookies(t, all)
	}
	rules := []cookieRule{{k.IsCanary(), []share{{service: toCanary, weight: 100}}}}
	if tr.Primary > 0 {
		rules = append(rules,
			cookieRule{k.IsPrimary(), []share{{service: toPrimary, weight: 100}}},
			cookieRule{k.WasPrimary(), []share{{toPrimary, tr.Primary, k.MarkPrimary()}, {toCanary, tr.Sessions.Raised, k.MarkCanary()}}})
	}
	all[0].cookie, all[1].cookie = k.MarkPrimary(), k.MarkCanary()
	return b.withCookies(t, all, rules...)
}

// cookieRule is for requests whose Cookie header fits.
type cookieRule struct {
	regex  string
	shares []share
}

// withCookies returns the rules for requests with cookies, and then that for all.
func (b *builder) withCookies(t template, all []share, rules ...cookieRule) ([]Planned, error) {
	var out []Planned
	for _, r := range rules {
		some, _, err := t.narrow(matches{{Path: anyPath(), Headers: []gatewayv1.HTTPHeaderMatch{header(affinity.CookieHeader, true, r.regex)}}})
		if err != nil {
			return nil, Invalid("spec.analysis.sessionAffinity", "", "the route's own match has a condition on the cookie header: "+err.Error())
		}
		out = append(out, b.rule(some, r.shares...))
	}
	return append(out, b.rule(t, all...)), nil
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

func (b *builder) rule(t template, shares ...share) Planned {
	out := Planned{HTTPRouteRule: *t.DeepCopy(), Origins: t.origins, Source: t.source, added: t.added}
	for _, s := range shares {
		out.BackendRefs = append(out.BackendRefs, b.backend(t, s))
		if s.service == toPrimary && s.weight > 0 {
			out.Filters = append(out.Filters, b.mirror(t)...)
		}
	}
	return out
}

func (b *builder) backend(t template, s share) gatewayv1.HTTPBackendRef {
	out := gatewayv1.HTTPBackendRef{Filters: withCookie(t.filters, s.cookie)}
	out.BackendObjectReference, out.Weight = b.to(s.service, t.port), new(s.weight)
	return out
}

func (b *builder) to(service side, port gatewayv1.PortNumber) gatewayv1.BackendObjectReference {
	_, primary, canary := b.canary.ServiceNames()
	name := primary
	if service == toCanary {
		name = canary
	}
	return spelledOut(gatewayv1.BackendObjectReference{Name: gatewayv1.ObjectName(name), Port: &port})
}

// mirror has the canary get copies of the rule's requests.
func (b *builder) mirror(t template) []gatewayv1.HTTPRouteFilter {
	if b.traffic.Mirror == 0 {
		return nil
	}
	filter := &gatewayv1.HTTPRequestMirrorFilter{BackendRef: b.to(toCanary, t.port)}
	if b.traffic.Mirror < 100 { // older versions of the API copy all and know no percentage
		filter.Percent = new(b.traffic.Mirror)
	}
	return []gatewayv1.HTTPRouteFilter{{Type: gatewayv1.HTTPRouteFilterRequestMirror, RequestMirror: filter}}
}

// withCookie adds the Set-Cookie header to what the user does with a backend's answers.
func withCookie(users []gatewayv1.HTTPRouteFilter, cookie string) []gatewayv1.HTTPRouteFilter {
	if cookie == "" {
		return users
	}
	set := gatewayv1.HTTPHeader{Name: affinity.SetCookieHeader, Value: cookie}
	var out []gatewayv1.HTTPRouteFilter
	for _, f := range users {
		out = append(out, *f.DeepCopy())
	}
	for i := range out {
		if m := out[i].ResponseHeaderModifier; m != nil {
			m.Add = append(m.Add, set) // a filter of a kind can be there once
			return out
		}
	}
	return append(out, gatewayv1.HTTPRouteFilter{
		Type:                   gatewayv1.HTTPRouteFilterResponseHeaderModifier,
		ResponseHeaderModifier: &gatewayv1.HTTPHeaderFilter{Add: []gatewayv1.HTTPHeader{set}},
	})
}
