package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// matches are alternatives: a request fits when it fits one. None means any request.
type matches []gatewayv1.HTTPRouteMatch

// matchRequest is Istio's HTTPMatchRequest, in which specs write matches.
type matchRequest struct {
	Name        string                 `json:"name"`
	StatPrefix  string                 `json:"statPrefix"`
	URI         *stringMatch           `json:"uri"`
	Method      *stringMatch           `json:"method"`
	Headers     map[string]stringMatch `json:"headers"`
	QueryParams map[string]stringMatch `json:"queryParams"`

	// What follows is read so that it can be refused by name.

	Scheme          any   `json:"scheme"`
	Authority       any   `json:"authority"`
	WithoutHeaders  any   `json:"withoutHeaders"`
	IgnoreURICase   *bool `json:"ignoreUriCase"`
	Port            any   `json:"port"`
	SourceLabels    any   `json:"sourceLabels"`
	SourceNamespace any   `json:"sourceNamespace"`
	Gateways        any   `json:"gateways"`
}

// stringMatch has one of these set.
type stringMatch struct {
	Exact  *string `json:"exact"`
	Prefix *string `json:"prefix"`
	Suffix *string `json:"suffix"`
	Regex  *string `json:"regex"`
}

// matchesOf reads the matches of a field of the spec.
func matchesOf(field string, specs []v1beta1.RawObject) (matches, error) {
	var out matches
	for i := range specs {
		m, err := matchOf(fmt.Sprintf("%s[%d]", field, i), &specs[i])
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

func matchOf(field string, raw *v1beta1.RawObject) (gatewayv1.HTTPRouteMatch, error) {
	spec := matchRequest{}
	out := gatewayv1.HTTPRouteMatch{Path: anyPath()}
	if err := decode(field, raw, &spec); err != nil {
		return out, err
	}
	if err := spec.refuse(field); err != nil {
		return out, err
	}
	var err error
	if spec.URI != nil {
		if out.Path, err = spec.URI.path(field + ".uri"); err != nil {
			return out, err
		}
	}
	if spec.Method != nil {
		if spec.Method.Exact == nil {
			return out, Invalid(field+".method", spec.Method.String(), "a route matches a method exactly")
		}
		out.Method = new(gatewayv1.HTTPMethod(*spec.Method.Exact))
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Headers)) {
		if strings.HasPrefix(name, ":") || strings.HasPrefix(name, "@") {
			return out, Invalid(field+".headers", name, "a route matches headers by their own names")
		}
		m := spec.Headers[name]
		regex, value, err := m.value(field + ".headers." + name)
		if err != nil {
			return out, err
		}
		out.Headers = append(out.Headers, header(name, regex, value))
	}
	for _, name := range slices.Sorted(maps.Keys(spec.QueryParams)) {
		m := spec.QueryParams[name]
		regex, value, err := m.value(field + ".queryParams." + name)
		if err != nil {
			return out, err
		}
		kind := gatewayv1.QueryParamMatchExact
		if regex {
			kind = gatewayv1.QueryParamMatchRegularExpression
		}
		out.QueryParams = append(out.QueryParams, gatewayv1.HTTPQueryParamMatch{Type: &kind, Name: gatewayv1.HTTPHeaderName(name), Value: value})
	}
	return out, nil
}

// refuse names what no route of the Gateway API can express.
func (m *matchRequest) refuse(field string) error {
	for _, f := range []struct {
		name  string
		value any
	}{
		{"scheme", m.Scheme},
		{"authority", m.Authority},
		{"withoutHeaders", m.WithoutHeaders},
		{"port", m.Port},
		{"sourceLabels", m.SourceLabels},
		{"sourceNamespace", m.SourceNamespace},
		{"gateways", m.Gateways},
	} {
		if f.value != nil {
			return Invalid(field+"."+f.name, fmt.Sprint(f.value), "a route of the Gateway API matches by uri, method, headers and queryParams only")
		}
	}
	if m.IgnoreURICase != nil && *m.IgnoreURICase {
		return Invalid(field+".ignoreUriCase", "true", "a route of the Gateway API minds the case; write a regex such as (?i)/path")
	}
	return nil
}

func header(name string, regex bool, value string) gatewayv1.HTTPHeaderMatch {
	kind := gatewayv1.HeaderMatchExact
	if regex {
		kind = gatewayv1.HeaderMatchRegularExpression
	}
	return gatewayv1.HTTPHeaderMatch{Type: &kind, Name: gatewayv1.HTTPHeaderName(name), Value: value}
}

// String shows the match in a message.
func (m *stringMatch) String() string {
	for kind, v := range map[string]*string{"exact": m.Exact, "prefix": m.Prefix, "suffix": m.Suffix, "regex": m.Regex} {
		if v != nil {
			return kind + ": " + *v
		}
	}
	return ""
}

func (m *stringMatch) count() (n int) {
	for _, v := range []*string{m.Exact, m.Prefix, m.Suffix, m.Regex} {
		if v != nil {
			n++
		}
	}
	return n
}

// value is the exact value or the regular expression of a header or a parameter.
// Istio takes an empty match for one of its presence.
func (m *stringMatch) value(field string) (regex bool, value string, err error) {
	if m.count() > 1 {
		return false, "", Invalid(field, m.String(), "one of exact, prefix, suffix and regex")
	}
	switch {
	case m.Exact != nil && *m.Exact == "":
		return true, "^$", nil // a route has no empty exact value
	case m.Exact != nil:
		return false, *m.Exact, nil
	case m.Prefix != nil:
		return true, regexp.QuoteMeta(*m.Prefix) + ".*", nil
	case m.Suffix != nil:
		return true, ".*" + regexp.QuoteMeta(*m.Suffix), nil
	case m.Regex != nil:
		return true, *m.Regex, nil
	default:
		return true, ".*", nil
	}
}

func (m *stringMatch) path(field string) (*gatewayv1.HTTPPathMatch, error) {
	if m.count() != 1 || m.Suffix != nil {
		return nil, Invalid(field, m.String(), "one of exact, prefix and regex")
	}
	kind, value := gatewayv1.PathMatchRegularExpression, m.Regex
	switch {
	case m.Exact != nil:
		kind, value = gatewayv1.PathMatchExact, m.Exact
	case m.Prefix != nil:
		kind, value = gatewayv1.PathMatchPathPrefix, m.Prefix
	}
	if kind != gatewayv1.PathMatchRegularExpression && !strings.HasPrefix(*value, "/") {
		return nil, Invalid(field, *value, "a path that begins with /")
	}
	return &gatewayv1.HTTPPathMatch{Type: &kind, Value: value}, nil
}

func anyPath() *gatewayv1.HTTPPathMatch {
	return &gatewayv1.HTTPPathMatch{Type: new(gatewayv1.PathMatchPathPrefix), Value: new("/")}
}

// cannotJoinError says that two conditions can't be said in one.
type cannotJoinError struct{ what string }

func (e *cannotJoinError) Error() string {
	return e.what + ": two conditions, one of them a regex, cannot be joined; say it in one"
}

// Intersect returns the requests that fit a and b; possible is false where none can. It is an
// error when what they have in common can't be said.
func Intersect(a, b gatewayv1.HTTPRouteMatch) (m gatewayv1.HTTPRouteMatch, possible bool, err error) {
	m = *a.DeepCopy()
	if m.Path, possible, err = narrowPath(a.Path, b.Path); err != nil || !possible {
		return m, false, err
	}
	switch {
	case m.Method == nil:
		m.Method = b.Method
	case b.Method != nil && *b.Method != *m.Method:
		return m, false, nil
	}
	if possible, err = intersectHeaders(&m, b.Headers); err != nil || !possible {
		return m, false, err
	}
	possible, err = intersectParams(&m, b.QueryParams)
	return m, possible, err
}

func intersectHeaders(m *gatewayv1.HTTPRouteMatch, with []gatewayv1.HTTPHeaderMatch) (bool, error) {
	for _, h := range with {
		i := slices.IndexFunc(m.Headers, func(had gatewayv1.HTTPHeaderMatch) bool {
			return strings.EqualFold(string(had.Name), string(h.Name))
		})
		if i < 0 {
			m.Headers = append(m.Headers, h)
			continue
		}
		// Of two conditions on one header a proxy would see the first only.
		joined, possible, err := narrow("headers."+string(h.Name), condition(m.Headers[i].Type, m.Headers[i].Value), condition(h.Type, h.Value))
		if err != nil || !possible {
			return false, err
		}
		m.Headers[i] = header(string(m.Headers[i].Name), joined.regex, joined.value)
	}
	return true, nil
}

func intersectParams(m *gatewayv1.HTTPRouteMatch, with []gatewayv1.HTTPQueryParamMatch) (bool, error) {
	for _, q := range with {
		i := slices.IndexFunc(m.QueryParams, func(had gatewayv1.HTTPQueryParamMatch) bool { return had.Name == q.Name })
		if i < 0 {
			m.QueryParams = append(m.QueryParams, q)
			continue
		}
		had := m.QueryParams[i]
		joined, possible, err := narrow("queryParams."+string(q.Name), condition(had.Type, had.Value), condition(q.Type, q.Value))
		if err != nil || !possible {
			return false, err
		}
		if joined.regex == isRegex(q.Type) && joined.value == q.Value {
			m.QueryParams[i] = q
		}
	}
	return true, nil
}

// text is a condition on a string.
type text struct {
	regex bool
	value string
}

func condition[T ~string](kind *T, value string) text { return text{isRegex(kind), value} }

func isRegex[T ~string](kind *T) bool { return kind != nil && string(*kind) == "RegularExpression" }

// narrow returns what fits both.
func narrow(what string, a, b text) (joined text, possible bool, err error) {
	switch {
	case a == b:
		return a, true, nil
	case a == text{true, ".*"}:
		return b, true, nil
	case b == text{true, ".*"}:
		return a, true, nil
	case !a.regex && !b.regex:
		return a, false, nil
	case !a.regex:
		return a, fitsWhole(b.value, a.value), nil
	case !b.regex:
		return b, fitsWhole(a.value, b.value), nil
	default:
		return a, false, &cannotJoinError{what}
	}
}

func fitsWhole(regex, s string) bool {
	re, err := regexp.Compile("^(?:" + regex + ")$")
	return err == nil && re.MatchString(s)
}

// narrowPath returns the paths that fit both a and b; nil fits all.
func narrowPath(a, b *gatewayv1.HTTPPathMatch) (m *gatewayv1.HTTPPathMatch, possible bool, err error) {
	if isAnyPath(a) {
		return b, true, nil
	}
	if isAnyPath(b) {
		return a, true, nil
	}
	x, y := *a.Value, *b.Value
	switch kinds := [2]gatewayv1.PathMatchType{*a.Type, *b.Type}; {
	case kinds[0] == kinds[1] && x == y:
		return a, true, nil
	case kinds == [2]gatewayv1.PathMatchType{gatewayv1.PathMatchExact, gatewayv1.PathMatchExact}:
		return nil, false, nil
	case kinds[0] == gatewayv1.PathMatchExact:
		return a, fitsPath(b, x), nil
	case kinds[1] == gatewayv1.PathMatchExact:
		return b, fitsPath(a, y), nil
	case kinds[0] == gatewayv1.PathMatchRegularExpression || kinds[1] == gatewayv1.PathMatchRegularExpression:
		return nil, false, &cannotJoinError{"uri"}
	case fitsPath(b, x) && (len(x) >= len(y) || !fitsPath(a, y)): // a slash at the end says nothing more
		return a, true, nil
	default:
		return b, fitsPath(a, y), nil
	}
}

func isAnyPath(m *gatewayv1.HTTPPathMatch) bool {
	return m == nil || m.Value == nil || m.Type == nil || *m.Type == gatewayv1.PathMatchPathPrefix && *m.Value == "/"
}

// fitsPath tells whether a path fits a prefix, element by element, or a regex.
func fitsPath(m *gatewayv1.HTTPPathMatch, path string) bool {
	if *m.Type == gatewayv1.PathMatchRegularExpression {
		return fitsWhole(*m.Value, path)
	}
	prefix := strings.TrimSuffix(*m.Value, "/")
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// decode reads a piece of another API. A field that is not known is refused: what
// it asks for would be passed over.
func decode(field string, raw *v1beta1.RawObject, into any) error {
	if raw == nil || len(raw.Raw) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw.Raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return Invalid(field, string(raw.Raw), err.Error())
	}
	return nil
}

// Invalid is a mistake in the spec, or in a user's object.
func Invalid(field, value, allowed string) error {
	return &providers.InvalidError{Field: field, Value: shorten(value), Allowed: allowed}
}

func shorten(s string) string {
	const limit = 80
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}
