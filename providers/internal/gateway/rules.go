package gateway

import (
	"fmt"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/affinity"
)

// builder makes the rules of one route.
//
// A proxy takes the rule that matches a request most specifically, by path,
// method, number of headers and number of parameters, and of equals the first. A
// rule for some of another's requests, with the cookie of a session or by
// spec.analysis.match, has all of its conditions and more, and comes before it.
type builder struct {
	canary  *v1beta1.Canary
	traffic providers.Traffic
	users   *original // nil: there is none
	matched matches   // spec.analysis.match
	cookies affinity.Cookies
}

// rulesOf returns the rules that share out the traffic. Rules of the user's that
// lead elsewhere stay; each of his to the apex Service is shared out, and what the
// spec does not set holds as he has it.
func rulesOf(c *v1beta1.Canary, traffic providers.Traffic, users *original) ([]gatewayv1.HTTPRouteRule, error) {
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
	if err == nil && traffic.Matched && !slices.ContainsFunc(out, func(r gatewayv1.HTTPRouteRule) bool { return readRule(r, c).toCanary }) {
		return nil, invalid("spec.analysis.match", "", "it must match some of the requests that the route is for")
	}
	return out, err
}

func analysisMatch(c *v1beta1.Canary) (matches, error) {
	out, err := matchesOf("spec.analysis.match", c.GetAnalysis().Match)
	if err == nil && len(out) == 0 {
		return nil, invalid("spec.analysis.match", "", "A/B testing needs at least one match")
	}
	return out, err
}

func (b *builder) all(spec template) ([]gatewayv1.HTTPRouteRule, error) {
	if b.users == nil {
		return b.expand(spec)
	}
	templates, last, err := b.templates(b.users.spec.Rules, spec)
	if err != nil {
		return nil, err
	}
	var out []gatewayv1.HTTPRouteRule
	for i, rule := range b.users.spec.Rules {
		t, ours := templates[i]
		switch {
		case ours:
			rules, err := b.expand(t)
			if err != nil {
				return nil, err
			}
			out = append(out, rules...)
		case !b.isOurs(rule):
			out = append(out, rule)
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
			return nil, -1, invalid(fmt.Sprintf("HTTPRoute %s: spec.rules[%d].backendRefs", apexKey(b.canary), i),
				"shares traffic between "+apex+" and another service", "lead to "+apex+" alone in this rule")
		}
		out[i], last = b.merge(rule, spec), i
	}
	if last >= 0 && len(spec.Matches) > 0 {
		out = map[int]template{last: out[last]}
	}
	return out, last, nil
}

func (b *builder) isOurs(rule gatewayv1.HTTPRouteRule) bool {
	return slices.ContainsFunc(rule.BackendRefs, func(r gatewayv1.HTTPBackendRef) bool { return leadsToUs(b.canary, r.BackendObjectReference) })
}

// merge returns the user's rule with what the spec sets.
func (b *builder) merge(users gatewayv1.HTTPRouteRule, spec template) template {
	t := template{HTTPRouteRule: *users.DeepCopy(), port: spec.port, filters: users.BackendRefs[0].Filters}
	if port := users.BackendRefs[0].Port; port != nil && b.canary.Spec.Service.PortDiscovery {
		t.port = *port
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
	return t
}

// expand turns a template into rules.
func (b *builder) expand(t template) ([]gatewayv1.HTTPRouteRule, error) {
	if !b.traffic.Matched {
		return b.shared(t)
	}
	match, possible, err := both(t.Matches, b.matched)
	if err != nil {
		return nil, invalid("spec.analysis.match", "", "together with the route's own match: "+err.Error())
	}
	var out []gatewayv1.HTTPRouteRule
	if possible {
		narrowed := t
		narrowed.Matches, narrowed.Name = match, nil
		if out, err = b.shared(narrowed); err != nil {
			return nil, err
		}
	}
	return append(out, b.rule(t, t.Matches, share{service: toPrimary, weight: 100})), nil
}

// shared returns the rules by which requests are shared out.
func (b *builder) shared(t template) ([]gatewayv1.HTTPRouteRule, error) {
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
func (b *builder) withCookies(t template, all []share, rules ...cookieRule) ([]gatewayv1.HTTPRouteRule, error) {
	var out []gatewayv1.HTTPRouteRule
	for _, r := range rules {
		match, err := withHeader(t.Matches, affinity.CookieHeader, r.regex)
		if err != nil {
			return nil, invalid("spec.analysis.sessionAffinity", "", "the route's own match has a condition on the cookie header: "+err.Error())
		}
		unnamed := t
		unnamed.Name = nil // names are unique
		out = append(out, b.rule(unnamed, match, r.shares...))
	}
	return append(out, b.rule(t, t.Matches, all...)), nil
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

func (b *builder) rule(t template, match matches, shares ...share) gatewayv1.HTTPRouteRule {
	out := *t.DeepCopy()
	out.Matches = slices.Clone(match)
	if len(out.Matches) == 0 {
		out.Matches = matches{{Path: anyPath()}}
	}
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
