// Package consulspec says the spec of a Canary in the words of Consul's routes.
package consulspec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/affinity"
)

// stringMatch is Istio's StringMatch. Without any of its fields it fits whatever
// is there.
type stringMatch struct {
	Exact  string `json:"exact"`
	Prefix string `json:"prefix"`
	Regex  string `json:"regex"`
}

// request is Istio's HTTPMatchRequest, in which specs say what they match.
type request struct {
	Name           string                 `json:"name"`
	StatPrefix     string                 `json:"statPrefix"`
	URI            *stringMatch           `json:"uri"`
	Scheme         *stringMatch           `json:"scheme"`
	Method         *stringMatch           `json:"method"`
	Authority      *stringMatch           `json:"authority"`
	Headers        map[string]stringMatch `json:"headers"`
	WithoutHeaders map[string]stringMatch `json:"withoutHeaders"`
	QueryParams    map[string]stringMatch `json:"queryParams"`
}

// refusedInMatch are the fields of a match that Consul has nothing for.
var refusedInMatch = map[string]string{
	"gateways":        "its gateways have routes of their own",
	"ignoreUriCase":   "paths are compared with their case",
	"port":            "a service has one port",
	"sourceLabels":    "a route does not see who calls; use intentions",
	"sourceNamespace": "a route does not see who calls; use intentions",
}

// Matches decodes a list of matches in a spec.
func Matches(field string, raw []v1beta1.RawObject) ([]*api.ServiceRouteHTTPMatch, error) {
	var out []*api.ServiceRouteHTTPMatch
	for i := range raw {
		m, err := matchOf(fmt.Sprintf("%s[%d]", field, i), raw[i].Raw)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

func matchOf(field string, raw []byte) (*api.ServiceRouteHTTPMatch, error) {
	fields := map[string]json.RawMessage{}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &fields); err != nil {
			return nil, Invalid(field, string(raw), err.Error())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if why, refused := refusedInMatch[name]; refused {
			return nil, unsupported(field+"."+name, why)
		}
	}
	r := request{}
	if len(raw) > 0 {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&r); err != nil {
			return nil, Invalid(field, string(raw), err.Error())
		}
	}
	return r.convert(field)
}

func (r *request) convert(field string) (*api.ServiceRouteHTTPMatch, error) {
	out := &api.ServiceRouteHTTPMatch{}
	if r.URI != nil {
		out.PathExact, out.PathPrefix, out.PathRegex = r.URI.Exact, r.URI.Prefix, r.URI.Regex
		if out.PathPrefix == "/" {
			out.PathPrefix = "" // every path begins with it
		}
		for _, path := range []string{out.PathExact, out.PathPrefix} {
			if path != "" && !strings.HasPrefix(path, "/") {
				return nil, Invalid(field+".uri", path, "it must begin with /")
			}
		}
	}
	if err := r.convertMethod(field, out); err != nil {
		return nil, err
	}
	// Proxies have these among the headers.
	for _, pseudo := range []struct {
		name  string
		match *stringMatch
	}{{":authority", r.Authority}, {":scheme", r.Scheme}} {
		if pseudo.match != nil {
			out.Header = append(out.Header, header(pseudo.name, *pseudo.match, false))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		out.Header = append(out.Header, header(name, r.Headers[name], false))
	}
	for _, name := range slices.Sorted(maps.Keys(r.WithoutHeaders)) {
		out.Header = append(out.Header, header(name, r.WithoutHeaders[name], true))
	}
	for _, name := range slices.Sorted(maps.Keys(r.QueryParams)) {
		m := r.QueryParams[name]
		p := api.ServiceRouteHTTPMatchQueryParam{Name: name, Exact: m.Exact, Regex: m.Regex}
		if m.Prefix != "" {
			p.Regex = regexp.QuoteMeta(m.Prefix) + ".*"
		}
		p.Present = p.Exact == "" && p.Regex == ""
		out.QueryParam = append(out.QueryParam, p)
	}
	return out, nil
}

// methods are those that Consul's routes know.
var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
	http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace,
}

func (r *request) convertMethod(field string, out *api.ServiceRouteHTTPMatch) error {
	switch m := r.Method; {
	case m == nil:
	case m.Exact == "":
		out.Header = append(out.Header, header(":method", *m, false))
	case slices.Contains(methods, m.Exact):
		out.Methods = []string{m.Exact}
	default:
		return Invalid(field+".method.exact", m.Exact, "it must be one of "+strings.Join(methods, ", "))
	}
	return nil
}

func header(name string, m stringMatch, without bool) api.ServiceRouteHTTPMatchHeader {
	return api.ServiceRouteHTTPMatchHeader{
		Name: name, Exact: m.Exact, Prefix: m.Prefix, Regex: m.Regex, Invert: without,
		Present: m == stringMatch{},
	}
}

// Cookie is a condition on the whole Cookie header.
func Cookie(regex string) *api.ServiceRouteHTTPMatch {
	return &api.ServiceRouteHTTPMatch{Header: []api.ServiceRouteHTTPMatchHeader{{Name: affinity.CookieHeader, Regex: regex}}}
}

// Both returns what fits a and b, nil standing for every request. possible is
// false where nothing does; the error says what they have in common can't be said.
func Both(a, b *api.ServiceRouteHTTPMatch) (m *api.ServiceRouteHTTPMatch, possible bool, err error) {
	switch {
	case a == nil:
		return b, true, nil
	case b == nil:
		return a, true, nil
	}
	out := *a
	// Every condition on a header or a parameter must hold, also several on one.
	out.Header = slices.Concat(a.Header, b.Header)
	out.QueryParam = slices.Concat(a.QueryParam, b.QueryParam)
	out.CaseInsensitive = a.CaseInsensitive || b.CaseInsensitive
	switch {
	case len(a.Methods) == 0:
		out.Methods = slices.Clone(b.Methods)
	case len(b.Methods) > 0:
		out.Methods = slices.DeleteFunc(slices.Clone(a.Methods), func(m string) bool { return !slices.Contains(b.Methods, m) })
		if len(out.Methods) == 0 {
			return nil, false, nil
		}
	}
	possible, err = narrowPath(&out, b)
	return &out, possible, err
}

// narrowPath makes the path of m one that fits b too.
func narrowPath(m, b *api.ServiceRouteHTTPMatch) (possible bool, err error) {
	type path struct{ exact, prefix, regex string }
	x, y := path{m.PathExact, m.PathPrefix, m.PathRegex}, path{b.PathExact, b.PathPrefix, b.PathRegex}
	set := func(p path) bool {
		m.PathExact, m.PathPrefix, m.PathRegex = p.exact, p.prefix, p.regex
		return true
	}
	fits := func(s string, p path) bool {
		if p.regex != "" {
			re, err := regexp.Compile("^(?:" + p.regex + ")$")
			return err == nil && re.MatchString(s)
		}
		return p.exact == s || p.exact == "" && strings.HasPrefix(s, p.prefix)
	}
	switch {
	case x == path{} || x == y:
		return set(y), nil
	case y == path{}:
		return true, nil
	case x.exact != "":
		return fits(x.exact, y), nil
	case y.exact != "":
		return fits(y.exact, x) && set(y), nil
	case x.regex != "" || y.regex != "":
		return false, fmt.Errorf("uri: two conditions, one of them a regex, cannot be joined; say it in one")
	case strings.HasPrefix(y.prefix, x.prefix):
		return set(y), nil
	default:
		return strings.HasPrefix(x.prefix, y.prefix), nil
	}
}

// IsEverything tells whether a match fits every request.
func IsEverything(m *api.ServiceRouteHTTPMatch) bool {
	return m == nil || m.PathExact == "" && (m.PathPrefix == "" || m.PathPrefix == "/") && m.PathRegex == "" &&
		len(m.Header) == 0 && len(m.QueryParam) == 0 && len(m.Methods) == 0
}

// Invalid says that the value of a field can't be carried out, and what is allowed.
func Invalid(field, value, allowed string) error {
	const limit = 80
	if len(value) > limit {
		value = value[:limit] + "..."
	}
	return &providers.InvalidError{Field: field, Value: value, Allowed: allowed}
}

func unsupported(field, why string) error {
	return &providers.UnsupportedError{Router: v1beta1.ProviderConsul, Field: field, Why: why}
}
