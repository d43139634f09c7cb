// Package match says which requests fit the matches of Istio's routes: what two of them have
// in common, and what of them holds at gateways and what at sidecars.
package match

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1"

	"github.com/sluice-delivery/sluice/providers/istio/internal/hosts"
)

// Alternatives are the matches of a route: a request fits when it fits one. None means any request.
type Alternatives []*networking.HTTPMatchRequest

// Both returns the requests that fit a and b. Two alternatives that exclude each
// other are left out; possible is false when all do. It is an error when
// what two of them have in common can't be said.
func Both(a, b Alternatives) (out Alternatives, possible bool, err error) {
	switch {
	case len(a) == 0:
		return b, true, nil
	case len(b) == 0:
		return a, true, nil
	}
	for _, x := range a {
		for _, y := range b {
			m, possible, err := intersect(x, y)
			if err != nil {
				return nil, false, err
			}
			if possible {
				out = append(out, m)
			}
		}
	}
	return out, len(out) > 0, nil
}

// intersect returns what fits both a and b; the name comes from a, else from b.
func intersect(a, b *networking.HTTPMatchRequest) (m *networking.HTTPMatchRequest, possible bool, err error) {
	m = proto.CloneOf(a)
	m.Name, m.StatPrefix = either(a.Name, b.Name), either(a.StatPrefix, b.StatPrefix)
	m.IgnoreUriCase = a.IgnoreUriCase || b.IgnoreUriCase
	for _, f := range []struct {
		field string
		into  **networking.StringMatch
		other *networking.StringMatch
	}{
		{"uri", &m.Uri, b.Uri}, {"scheme", &m.Scheme, b.Scheme}, {"method", &m.Method, b.Method}, {"authority", &m.Authority, b.Authority},
	} {
		if *f.into, possible, err = narrow(f.field, *f.into, f.other); err != nil || !possible {
			return nil, false, err
		}
	}
	if m.QueryParams, possible, err = narrowAll(a.QueryParams, b.QueryParams); err != nil || !possible {
		return nil, false, err
	}
	if m.Headers, possible, err = everyHeader(a.Headers, b.Headers); err != nil || !possible {
		return nil, false, err
	}
	if m.WithoutHeaders, possible, err = everyHeader(a.WithoutHeaders, b.WithoutHeaders); err != nil || !possible {
		return nil, false, err
	}
	return m, intersectSource(m, a, b), nil
}

// everyHeader returns a map by which all of a and of b must hold. A header that
// both name is there twice: names differ by case only, which makes them two
// conditions on the same header. Names that Istio reads itself have one case.
func everyHeader(a, b map[string]*networking.StringMatch) (out map[string]*networking.StringMatch, possible bool, err error) {
	if len(a)+len(b) == 0 {
		return nil, true, nil
	}
	out = union(a, nil)
	if out == nil {
		out = map[string]*networking.StringMatch{}
	}
	for _, name := range slices.Sorted(maps.Keys(b)) {
		had, ok := out[name]
		switch {
		case ok && proto.Equal(had, b[name]):
		case ok && strings.ContainsAny(name[:1], ":@"):
			if out[name], possible, err = narrow("headers."+name, had, b[name]); err != nil || !possible {
				return nil, false, err
			}
		default:
			out[Unused(out, name)] = b[name]
		}
	}
	return out, true, nil
}

// Unused is the header's name in a spelling that m does not have.
func Unused[V any](m map[string]V, name string) string {
	for _, spelling := range []string{name, strings.ToLower(name), http.CanonicalHeaderKey(name)} {
		if _, taken := m[spelling]; !taken {
			return spelling
		}
	}
	for i := range name {
		spelling := strings.ToLower(name[:i]) + strings.ToUpper(name[i:])
		if _, taken := m[spelling]; !taken {
			return spelling
		}
	}
	return name
}

func narrowAll(a, b map[string]*networking.StringMatch) (out map[string]*networking.StringMatch, possible bool, err error) {
	out = maps.Clone(a)
	for k, v := range b {
		if out == nil {
			out = map[string]*networking.StringMatch{}
		}
		if out[k], possible, err = narrow("queryParams."+k, out[k], v); err != nil || !possible {
			return nil, false, err
		}
	}
	return out, true, nil
}

// narrow returns the strings that fit both a and b; nil fits all.
func narrow(field string, a, b *networking.StringMatch) (m *networking.StringMatch, possible bool, err error) {
	if anyString(field, a) || proto.Equal(a, b) {
		return b, true, nil
	}
	if anyString(field, b) {
		return a, true, nil
	}
	for _, order := range [][2]*networking.StringMatch{{a, b}, {b, a}} {
		x, y := order[0], order[1]
		if exact, ok := x.GetMatchType().(*networking.StringMatch_Exact); ok {
			return x, fits(exact.Exact, y), nil
		}
	}
	p, pOK := a.GetMatchType().(*networking.StringMatch_Prefix)
	q, qOK := b.GetMatchType().(*networking.StringMatch_Prefix)
	switch {
	case !pOK || !qOK:
		return nil, false, fmt.Errorf("%s: two conditions, one of them a regex, cannot be joined; say it in one", field)
	case strings.HasPrefix(p.Prefix, q.Prefix):
		return a, true, nil
	default:
		return b, strings.HasPrefix(q.Prefix, p.Prefix), nil
	}
}

func anyString(field string, m *networking.StringMatch) bool {
	if m.GetMatchType() == nil {
		return true
	}
	prefix, ok := m.GetMatchType().(*networking.StringMatch_Prefix)
	return ok && field == "uri" && prefix.Prefix == "/"
}

func fits(s string, m *networking.StringMatch) bool {
	switch t := m.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return s == t.Exact
	case *networking.StringMatch_Prefix:
		return strings.HasPrefix(s, t.Prefix)
	case *networking.StringMatch_Regex:
		re, err := regexp.Compile("^(?:" + t.Regex + ")$")
		return err == nil && re.MatchString(s)
	default:
		return true
	}
}

// Unconditional tells whether every request fits.
func Unconditional(ms Alternatives) bool {
	return len(ms) == 0 || slices.ContainsFunc(ms, func(m *networking.HTTPMatchRequest) bool {
		remaining := proto.CloneOf(m)
		remaining.Name, remaining.StatPrefix, remaining.IgnoreUriCase = "", "", false
		if anyString("uri", remaining.Uri) {
			remaining.Uri = nil
		}
		return proto.Size(remaining) == 0
	})
}

func either[T comparable](a, b T) T {
	var zero T
	if a != zero {
		return a
	}
	return b
}

func union[V any](a, b map[string]V) map[string]V {
	if len(a)+len(b) == 0 {
		return nil
	}
	out := make(map[string]V, len(a)+len(b))
	maps.Copy(out, a)
	maps.Copy(out, b)
	return out
}

// OrAny has the alternative that any request fits where there are none.
func OrAny(ms Alternatives) Alternatives {
	if len(ms) == 0 {
		return Alternatives{{}}
	}
	return ms
}

// Condition is what a match says of a request.
func Condition(m *networking.HTTPMatchRequest) *networking.HTTPMatchRequest {
	m = proto.CloneOf(m)
	m.Name, m.StatPrefix, m.Gateways = "", "", nil
	if anyString("uri", m.Uri) {
		m.Uri = nil
	}
	return m
}

// Same tells whether two lists of alternatives are the same.
func Same(a, b Alternatives) bool {
	return slices.EqualFunc(a, b, func(x, y *networking.HTTPMatchRequest) bool { return proto.Equal(x, y) })
}

// AtGateway tells whether a match of an object of the namespace holds at a gateway, named in full.
func AtGateway(m *networking.HTTPMatchRequest, namespace, gateway string) bool {
	return len(m.Gateways) == 0 || slices.Contains(hosts.Gateways(m.Gateways, namespace), gateway)
}

// WithHeader narrows ms to requests with the header.
func WithHeader(ms Alternatives, name string, value *networking.StringMatch) Alternatives {
	if len(ms) == 0 {
		ms = Alternatives{{}}
	}
	out := make(Alternatives, 0, len(ms))
	for _, m := range ms {
		m = proto.CloneOf(m)
		headers := map[string]*networking.StringMatch{}
		maps.Copy(headers, m.Headers)
		headers[Unused(headers, name)] = value
		m.Headers = headers
		out = append(out, m)
	}
	return out
}
