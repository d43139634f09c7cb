package routertest

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"pgregory.net/rapid"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Request is what a proxy routes.
type Request struct {
	// Path and Method are those of its first line.
	Path, Method string
	// Headers by their names in lower case, and Params of the query.
	Headers, Params map[string]string
}

// Proxy routes requests as the Gateway API says: an exact path before a prefix, a longer
// prefix before a shorter one, then a method, more headers, more parameters, and the first rule.
type Proxy struct {
	// RegexLast has paths by regular expression come after prefixes, and not before them: the
	// Gateway API leaves it to the implementation.
	RegexLast bool
}

// Serve returns the rule, and which of its matches, that a request is for; nil for none.
func (p Proxy) Serve(rules []gatewayv1.HTTPRouteRule, r Request) (*gatewayv1.HTTPRouteRule, *gatewayv1.HTTPRouteMatch) {
	var best []int
	var rule *gatewayv1.HTTPRouteRule
	var match *gatewayv1.HTTPRouteMatch
	for i := range rules {
		all := rules[i].Matches
		if len(all) == 0 {
			all = []gatewayv1.HTTPRouteMatch{{}}
		}
		for j := range all {
			if !r.Fits(all[j]) {
				continue
			}
			if rank := p.rank(all[j]); rule == nil || slices.Compare(rank, best) > 0 {
				best, rule, match = rank, &rules[i], &all[j]
			}
		}
	}
	return rule, match
}

// rank is greater for what is preferred.
func (p Proxy) rank(m gatewayv1.HTTPRouteMatch) []int {
	kind, length := 2, 1
	if m.Path != nil {
		length = len(*m.Path.Value)
		switch *m.Path.Type {
		case gatewayv1.PathMatchExact:
			kind, length = 4, 0
		case gatewayv1.PathMatchRegularExpression:
			kind, length = 3, 0
			if p.RegexLast {
				kind = 1
			}
		case gatewayv1.PathMatchPathPrefix:
		}
	}
	method := 0
	if m.Method != nil {
		method = 1
	}
	return []int{kind, length, method, len(m.Headers), len(m.QueryParams)}
}

// Fits tells whether all conditions of a match hold for the request.
func (r Request) Fits(m gatewayv1.HTTPRouteMatch) bool {
	if m.Path != nil && !fitsPath(*m.Path.Type, *m.Path.Value, r.Path) {
		return false
	}
	if m.Method != nil && string(*m.Method) != r.Method {
		return false
	}
	for _, h := range m.Headers {
		regex := h.Type != nil && *h.Type == gatewayv1.HeaderMatchRegularExpression
		if got, ok := r.Headers[strings.ToLower(string(h.Name))]; !ok || !fits(regex, h.Value, got) {
			return false
		}
	}
	for _, q := range m.QueryParams {
		regex := q.Type != nil && *q.Type == gatewayv1.QueryParamMatchRegularExpression
		if got, ok := r.Params[string(q.Name)]; !ok || !fits(regex, q.Value, got) {
			return false
		}
	}
	return true
}

func fits(regex bool, want, got string) bool {
	return regex && FitsExpression(want, got) || !regex && want == got
}

// FitsExpression tells whether a regular expression fits the whole of a string.
func FitsExpression(expression, s string) bool { return compiled(expression).MatchString(s) }

var expressions sync.Map

// compiled is a regular expression that fits whole strings.
func compiled(expression string) *regexp.Regexp {
	if known, ok := expressions.Load(expression); ok {
		return known.(*regexp.Regexp) //nolint:forcetypeassert // nothing else is stored
	}
	out := regexp.MustCompile("^(?:" + expression + ")$")
	expressions.Store(expression, out)
	return out
}

func fitsPath(kind gatewayv1.PathMatchType, want, got string) bool {
	switch kind { //nolint:exhaustive // a prefix is what an API server defaults to
	case gatewayv1.PathMatchExact:
		return got == want
	case gatewayv1.PathMatchRegularExpression:
		return fits(true, want, got)
	default:
		want = strings.TrimSuffix(want, "/")
		return got == want || strings.HasPrefix(got, want+"/") || want == ""
	}
}

// Outcomes are what becomes of requests by rules: for every kind of proxy, and with every one of the requests.
func Outcomes(rules []gatewayv1.HTTPRouteRule, requests []Request) (out []Outcome) {
	for _, r := range requests {
		for _, proxy := range []Proxy{{}, {RegexLast: true}} {
			o := Outcome{Request: r, Matches: r.Headers[InsidersHeader] == "yes", Cookie: r.Headers["cookie"]}
			if rule, match := proxy.Serve(rules, r); rule != nil {
				o.Treatment = Treatment(rule, match, r.Path)
				o.Shares, o.Copies = percent(Backends(rule)), copies(rule)
			}
			out = append(out, o)
		}
	}
	return out
}

func percent(weights map[string]int32) map[string]float64 {
	total, out := float64(0), map[string]float64{}
	for _, weight := range weights {
		total += float64(weight)
	}
	for to, weight := range weights {
		out[to] = 100 * float64(weight) / total
	}
	return out
}

func copies(rule *gatewayv1.HTTPRouteRule) map[string]float64 {
	out := map[string]float64{}
	for _, f := range rule.Filters {
		if f.RequestMirror != nil {
			out[string(f.RequestMirror.BackendRef.Name)] = float64(cmp.Or(deref(f.RequestMirror.Percent), 100))
		}
	}
	return out
}

// DrawRequests draws requests of which some are named by [Insiders], and some have a cookie of a session.
func DrawRequests(t *rapid.T) []Request {
	out := make([]Request, 12)
	for i := range out {
		out[i] = DrawRequest(t, CanaryCookie, "a=b")
		if rapid.IntRange(0, 2).Draw(t, "an insider's") == 0 {
			out[i].Headers[InsidersHeader] = "yes"
		}
	}
	return out
}

// ByAnother tells whether rules can't be a user's own: they look like those by which another operator shares out what is for apex.
func ByAnother(rules []gatewayv1.HTTPRouteRule, apex string) bool {
	toPrimary := false
	for _, rule := range rules {
		for _, b := range rule.BackendRefs {
			if string(b.Name) != apex+"-primary" && string(b.Name) != apex+"-canary" {
				return false
			}
			toPrimary = toPrimary || string(b.Name) == apex+"-primary"
		}
	}
	return toPrimary
}

// LeadTo tells whether a rule leads to a Service.
func LeadTo(rules []gatewayv1.HTTPRouteRule, service string) bool {
	return slices.ContainsFunc(rules, func(rule gatewayv1.HTTPRouteRule) bool {
		return slices.ContainsFunc(rule.BackendRefs, func(b gatewayv1.HTTPBackendRef) bool { return string(b.Name) == service })
	})
}

// Treatment says all that a rule does with a request that fits one of its matches, but for
// the Services that it leads to: what becomes of the path, the filters and the rest.
func Treatment(rule *gatewayv1.HTTPRouteRule, match *gatewayv1.HTTPRouteMatch, path string) string {
	remaining := rule.DeepCopy()
	remaining.Matches, remaining.Name = nil, nil
	prefix := "/"
	if match.Path != nil {
		prefix = *match.Path.Value
	}
	path = becomes(remaining.Filters, prefix, path)
	filters := map[string]bool{}
	for i := range remaining.BackendRefs {
		filters[printed(remaining.BackendRefs[i].Filters)] = true
	}
	out := []string{path, printed(remaining.Filters), strings.Join(slices.Sorted(maps.Keys(filters)), "|")}
	if remaining.Timeouts != nil {
		out = append(out, fmt.Sprint(deref(remaining.Timeouts.Request), deref(remaining.Timeouts.BackendRequest)))
	}
	return strings.Join(out, " ; ")
}

// becomes rewrites a path, and takes what does so away from the filters.
func becomes(filters []gatewayv1.HTTPRouteFilter, prefix, path string) string {
	for _, f := range filters {
		if f.URLRewrite == nil || f.URLRewrite.Path == nil {
			continue
		}
		switch p := f.URLRewrite.Path; {
		case p.ReplaceFullPath != nil:
			path = *p.ReplaceFullPath
		case p.ReplacePrefixMatch != nil:
			path = strings.TrimSuffix(*p.ReplacePrefixMatch, "/") + strings.TrimPrefix(path, strings.TrimSuffix(prefix, "/"))
			if path == "" {
				path = "/"
			}
		}
		f.URLRewrite.Path = nil
	}
	return path
}

// printed says what filters do, leaving out those that set cookies of sessions and mirror to
// a canary.
func printed(filters []gatewayv1.HTTPRouteFilter) string {
	var out []string
	for _, f := range filters {
		switch {
		case f.RequestHeaderModifier != nil:
			out = append(out, fmt.Sprintf("request %+v", *f.RequestHeaderModifier))
		case f.ResponseHeaderModifier != nil:
			m := f.ResponseHeaderModifier.DeepCopy()
			m.Add = slices.DeleteFunc(m.Add, func(h gatewayv1.HTTPHeader) bool { return h.Name == "set-cookie" })
			if len(m.Add)+len(m.Set)+len(m.Remove) > 0 {
				out = append(out, fmt.Sprintf("response %v %v %v", m.Add, m.Set, m.Remove))
			}
		case f.URLRewrite != nil:
			if f.URLRewrite.Hostname != nil {
				out = append(out, "host "+string(*f.URLRewrite.Hostname))
			}
		case f.RequestMirror != nil && strings.HasSuffix(string(f.RequestMirror.BackendRef.Name), "-canary"):
		default:
			out = append(out, string(f.Type))
		}
	}
	return strings.Join(out, ", ")
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// Backends are the Services that a rule leads to, each with its port and its weight, those
// without weight left out.
func Backends(rule *gatewayv1.HTTPRouteRule) map[string]int32 {
	out := map[string]int32{}
	for _, b := range rule.BackendRefs {
		weight := int32(1)
		if b.Weight != nil {
			weight = *b.Weight
		}
		if weight > 0 {
			out[fmt.Sprintf("%s:%d", b.Name, deref(b.Port))] += weight
		}
	}
	return out
}

var (
	paths      = []string{"/", "/a", "/a/b", "/a/b/c", "/b", "/ab"}
	headerVals = []string{"yes", "no"}
	headers    = []string{"x-a", "x-b", "x-c"}
)

// DrawRules draws rules that a user could have for several services, of which apex is one, and its halves are others:
// paths, headers, methods and parameters, ports, filters and timeouts of his own.
func DrawRules(t *rapid.T, apex string) []gatewayv1.HTTPRouteRule {
	n := rapid.IntRange(1, 5).Draw(t, "rules")
	out := make([]gatewayv1.HTTPRouteRule, n)
	for i := range out {
		out[i] = drawRule(t, apex)
		if rapid.Bool().Draw(t, "named") {
			out[i].Name = new(gatewayv1.SectionName(fmt.Sprintf("rule-%d", i)))
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "a rule to the apex") > 0 {
		out[0].BackendRefs[0].Name = gatewayv1.ObjectName(apex)
	}
	return out
}

func drawRule(t *rapid.T, apex string) gatewayv1.HTTPRouteRule {
	rule := gatewayv1.HTTPRouteRule{}
	for range rapid.IntRange(1, 2).Draw(t, "matches") {
		rule.Matches = append(rule.Matches, DrawMatch(t))
	}
	backend := gatewayv1.HTTPBackendRef{}
	backend.Group, backend.Kind, backend.Weight = new(gatewayv1.Group("")), new(gatewayv1.Kind("Service")), new(int32(1))
	backend.Name = gatewayv1.ObjectName(rapid.SampledFrom([]string{apex, apex, apex, "billing", "tenant", apex + "-canary", apex + "-primary"}).Draw(t, "backend"))
	backend.Port = new(rapid.SampledFrom([]int32{9898, 9797}).Draw(t, "port"))
	if rapid.IntRange(0, 3).Draw(t, "backend's filter") == 0 {
		backend.Filters = []gatewayv1.HTTPRouteFilter{modifier("x-backend")}
	}
	rule.BackendRefs = []gatewayv1.HTTPBackendRef{backend}
	if rapid.IntRange(0, 3).Draw(t, "filter") == 0 {
		rule.Filters = append(rule.Filters, modifier("x-rule"))
	}
	if rapid.IntRange(0, 3).Draw(t, "timeout") == 0 {
		rule.Timeouts = &gatewayv1.HTTPRouteTimeouts{Request: new(gatewayv1.Duration("7s"))}
	}
	if rewrite := rapid.IntRange(0, 7).Draw(t, "rewrite"); rewrite == 0 {
		rule.Matches = rule.Matches[:1]
		if kind := *rule.Matches[0].Path.Type; kind == gatewayv1.PathMatchPathPrefix {
			rule.Filters = append(rule.Filters, gatewayv1.HTTPRouteFilter{
				Type: gatewayv1.HTTPRouteFilterURLRewrite, URLRewrite: &gatewayv1.HTTPURLRewriteFilter{Path: &gatewayv1.HTTPPathModifier{
					Type: gatewayv1.PrefixMatchHTTPPathModifier, ReplacePrefixMatch: new(rapid.SampledFrom([]string{"/", "/v2"}).Draw(t, "to")),
				}},
			})
		}
	}
	return rule
}

func modifier(header gatewayv1.HTTPHeaderName) gatewayv1.HTTPRouteFilter {
	return gatewayv1.HTTPRouteFilter{
		Type:                   gatewayv1.HTTPRouteFilterResponseHeaderModifier,
		ResponseHeaderModifier: &gatewayv1.HTTPHeaderFilter{Set: []gatewayv1.HTTPHeader{{Name: header, Value: "1"}}},
	}
}

// DrawMatch draws the match of a rule, or of a release.
func DrawMatch(t *rapid.T) gatewayv1.HTTPRouteMatch {
	m := gatewayv1.HTTPRouteMatch{Path: &gatewayv1.HTTPPathMatch{Type: new(gatewayv1.PathMatchPathPrefix), Value: new("/")}}
	switch rapid.IntRange(0, 9).Draw(t, "path") {
	case 0, 1, 2, 3:
	case 4, 5, 6, 7:
		m.Path.Value = new(rapid.SampledFrom(paths).Draw(t, "prefix"))
	case 8:
		m.Path = &gatewayv1.HTTPPathMatch{Type: new(gatewayv1.PathMatchExact), Value: new(rapid.SampledFrom(paths).Draw(t, "exact"))}
	case 9:
		m.Path = &gatewayv1.HTTPPathMatch{Type: new(gatewayv1.PathMatchRegularExpression), Value: new(rapid.SampledFrom([]string{"/a.*", ".*/b.*"}).Draw(t, "regex"))}
	}
	if rapid.IntRange(0, 4).Draw(t, "method") == 0 {
		m.Method = new(rapid.SampledFrom([]gatewayv1.HTTPMethod{"GET", "POST"}).Draw(t, "of"))
	}
	for _, name := range headers {
		if rapid.IntRange(0, 2).Draw(t, "header") > 0 {
			continue
		}
		h := gatewayv1.HTTPHeaderMatch{Type: new(gatewayv1.HeaderMatchExact), Name: gatewayv1.HTTPHeaderName(name), Value: rapid.SampledFrom(headerVals).Draw(t, "value")}
		if rapid.IntRange(0, 5).Draw(t, "by regex") == 0 {
			h.Type, h.Value = new(gatewayv1.HeaderMatchRegularExpression), "y.*"
		}
		m.Headers = append(m.Headers, h)
	}
	if rapid.IntRange(0, 4).Draw(t, "parameter") == 0 {
		m.QueryParams = append(m.QueryParams, gatewayv1.HTTPQueryParamMatch{Type: new(gatewayv1.QueryParamMatchExact), Name: "q", Value: "1"})
	}
	return m
}

// DrawRequest draws a request that may fit what DrawMatch draws. cookies are those that it
// may have.
func DrawRequest(t *rapid.T, cookies ...string) Request {
	r := Request{
		Path:    rapid.SampledFrom([]string{"/", "/a", "/a/b", "/a/b/c", "/a/x", "/b", "/ab", "/c"}).Draw(t, "path"),
		Method:  rapid.SampledFrom([]string{"GET", "POST", "PUT"}).Draw(t, "method"),
		Headers: map[string]string{}, Params: map[string]string{},
	}
	for _, name := range headers {
		if rapid.Bool().Draw(t, "header") {
			r.Headers[name] = rapid.SampledFrom(headerVals).Draw(t, "value")
		}
	}
	if len(cookies) > 0 && rapid.Bool().Draw(t, "cookie") {
		r.Headers["cookie"] = rapid.SampledFrom(cookies).Draw(t, "of")
	}
	if rapid.Bool().Draw(t, "parameter") {
		r.Params["q"] = "1"
	}
	return r
}
