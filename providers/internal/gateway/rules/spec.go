package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// template is a rule to the apex Service, to be shared out.
type template struct {
	gatewayv1.HTTPRouteRule // without backends

	port    gatewayv1.PortNumber        // of the backends
	filters []gatewayv1.HTTPRouteFilter // of the backends
	source  int                         // the place of the user's rule, or the number of those
	origins matches                     // of which its matches are parts
	added   bool                        // the user has no such rule
}

// narrow is a template for those of its requests that fit one of ms as well, false where
// there can be none. It has no name, as names are unique.
func (t template) narrow(ms matches) (template, bool, error) {
	out := t
	out.Name, out.Matches, out.origins = nil, nil, nil
	for i, x := range t.Matches {
		for _, y := range ms {
			m, possible, err := Intersect(x, y)
			if err != nil {
				return t, false, err
			}
			if possible {
				out.Matches, out.origins = append(out.Matches, m), append(out.origins, t.origins[i])
			}
		}
	}
	return out, len(out.Matches) > 0, nil
}

// headers are Istio's Headers.
type headers struct {
	Request  *headerOperations `json:"request"`
	Response *headerOperations `json:"response"`
}

type headerOperations struct {
	Set    map[string]string `json:"set"`
	Add    map[string]string `json:"add"`
	Remove []string          `json:"remove"`
}

// rewrite is Istio's HTTPRewrite with the type of the Gateway API.
type rewrite struct {
	URI       string `json:"uri"`
	Authority string `json:"authority"`
	Type      string `json:"type"`
}

// corsPolicy is Istio's CorsPolicy.
type corsPolicy struct {
	AllowOrigins     []stringMatch `json:"allowOrigins"`
	AllowOrigin      []string      `json:"allowOrigin"`
	AllowMethods     []string      `json:"allowMethods"`
	AllowHeaders     []string      `json:"allowHeaders"`
	ExposeHeaders    []string      `json:"exposeHeaders"`
	MaxAge           string        `json:"maxAge"`
	AllowCredentials *bool         `json:"allowCredentials"`
}

// ToApex is the rule by which the apex Service is reached as the spec says, with nothing shared
// out.
func ToApex(c *v1beta1.Canary) (gatewayv1.HTTPRouteRule, error) {
	t, err := fromSpec(c)
	if err != nil {
		return t.HTTPRouteRule, err
	}
	apex, _, _ := c.ServiceNames()
	backend := gatewayv1.HTTPBackendRef{}
	backend.BackendObjectReference = spelledOut(gatewayv1.BackendObjectReference{Name: gatewayv1.ObjectName(apex), Port: &t.port})
	t.BackendRefs = []gatewayv1.HTTPBackendRef{backend}
	return t.HTTPRouteRule, nil
}

// fromSpec is what the spec says of the rule.
func fromSpec(c *v1beta1.Canary) (template, error) {
	s := &c.Spec.Service
	t := template{port: s.Port}
	var err error
	match, err := matchesOf("spec.service.match", s.Match)
	if err != nil {
		return t, err
	}
	t.Matches = match
	if t.Timeouts, err = timeouts(s); err != nil {
		return t, err
	}
	for _, filters := range []func(*v1beta1.CanaryService) ([]gatewayv1.HTTPRouteFilter, error){
		headerFilters, corsFilters, rewriteFilters, mirrorFilters,
	} {
		more, err := filters(s)
		if err != nil {
			return t, err
		}
		t.Filters = append(t.Filters, more...)
	}
	return t, nil
}

func timeouts(s *v1beta1.CanaryService) (*gatewayv1.HTTPRouteTimeouts, error) {
	if s.Timeout == "" && s.BackendTimeout == "" {
		return nil, nil //nolint:nilnil // there are none
	}
	out := &gatewayv1.HTTPRouteTimeouts{}
	for _, t := range []struct {
		field, value string
		into         **gatewayv1.Duration
	}{
		{"spec.service.timeout", s.Timeout, &out.Request},
		{"spec.service.backendTimeout", s.BackendTimeout, &out.BackendRequest},
	} {
		if t.value == "" {
			continue
		}
		d, err := Duration(t.value)
		if err != nil {
			return nil, Invalid(t.field, t.value, err.Error())
		}
		*t.into = &d
	}
	return out, nil
}

// Duration writes a Go duration in the form of the Gateway API, which is finer than
// a millisecond in nothing. Source: GEP-2257.
func Duration(s string) (gatewayv1.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d%time.Millisecond != 0 || d >= 100000*time.Hour {
		return "", fmt.Errorf("a duration of whole milliseconds such as 500ms, 15s or 1m30s is needed")
	}
	if d == 0 {
		return "0s", nil
	}
	out := strings.Builder{}
	for _, unit := range []struct {
		name string
		of   time.Duration
	}{{"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}} {
		if n := d / unit.of; n > 0 {
			fmt.Fprintf(&out, "%d%s", n, unit.name)
			d -= n * unit.of
		}
	}
	return gatewayv1.Duration(out.String()), nil
}

func headerFilters(s *v1beta1.CanaryService) (out []gatewayv1.HTTPRouteFilter, err error) {
	h := headers{}
	if err := decode("spec.service.headers", s.Headers, &h); err != nil {
		return nil, err
	}
	if h.Request != nil {
		out = append(out, gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterRequestHeaderModifier, RequestHeaderModifier: h.Request.filter()})
	}
	if h.Response != nil {
		out = append(out, gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterResponseHeaderModifier, ResponseHeaderModifier: h.Response.filter()})
	}
	return out, nil
}

func (o *headerOperations) filter() *gatewayv1.HTTPHeaderFilter {
	return &gatewayv1.HTTPHeaderFilter{Set: pairs(o.Set), Add: pairs(o.Add), Remove: o.Remove}
}

func pairs(m map[string]string) (out []gatewayv1.HTTPHeader) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, gatewayv1.HTTPHeader{Name: gatewayv1.HTTPHeaderName(name), Value: m[name]})
	}
	return out
}

const defaultCORSAge = 5 // seconds, as the Gateway API has it

func corsFilters(s *v1beta1.CanaryService) ([]gatewayv1.HTTPRouteFilter, error) {
	const field = "spec.service.corsPolicy"
	if s.CorsPolicy == nil {
		return nil, nil
	}
	p := corsPolicy{}
	if err := decode(field, s.CorsPolicy, &p); err != nil {
		return nil, err
	}
	out := &gatewayv1.HTTPCORSFilter{AllowCredentials: p.AllowCredentials, MaxAge: defaultCORSAge}
	for i, origin := range p.AllowOrigins {
		if origin.Exact == nil {
			return nil, Invalid(fmt.Sprintf("%s.allowOrigins[%d]", field, i), origin.String(), "a route of the Gateway API allows origins exactly")
		}
		p.AllowOrigin = append(p.AllowOrigin, *origin.Exact)
	}
	out.AllowOrigins = StringsAs[gatewayv1.CORSOrigin](p.AllowOrigin)
	out.AllowMethods = StringsAs[gatewayv1.HTTPMethodWithWildcard](p.AllowMethods)
	out.AllowHeaders = StringsAs[gatewayv1.HTTPHeaderName](p.AllowHeaders)
	out.ExposeHeaders = StringsAs[gatewayv1.HTTPHeaderName](p.ExposeHeaders)
	if p.MaxAge != "" {
		d, err := time.ParseDuration(p.MaxAge)
		if err != nil || d < time.Second || d/time.Second > 1<<31-1 {
			return nil, Invalid(field+".maxAge", p.MaxAge, "a duration of a second or more, such as 24h")
		}
		out.MaxAge = int32(d / time.Second) //nolint:gosec // bounded above
	}
	return []gatewayv1.HTTPRouteFilter{{Type: gatewayv1.HTTPRouteFilterCORS, CORS: out}}, nil
}

// StringsAs are strings as those of another type.
func StringsAs[T ~string](in []string) (out []T) {
	for _, s := range in {
		out = append(out, T(s))
	}
	return out
}

func rewriteFilters(s *v1beta1.CanaryService) ([]gatewayv1.HTTPRouteFilter, error) {
	const field = "spec.service.rewrite"
	r := rewrite{}
	if err := decode(field, s.Rewrite, &r); err != nil {
		return nil, err
	}
	out := &gatewayv1.HTTPURLRewriteFilter{}
	if r.Authority != "" {
		out.Hostname = new(gatewayv1.PreciseHostname(r.Authority))
	}
	if r.URI != "" {
		out.Path = &gatewayv1.HTTPPathModifier{Type: gatewayv1.HTTPPathModifierType(r.Type)}
		switch out.Path.Type {
		case "", gatewayv1.FullPathHTTPPathModifier: // without a type as with Flagger
			out.Path.Type, out.Path.ReplaceFullPath = gatewayv1.FullPathHTTPPathModifier, &r.URI
		case gatewayv1.PrefixMatchHTTPPathModifier:
			out.Path.ReplacePrefixMatch = &r.URI
		default:
			return nil, Invalid(field+".type", r.Type, "ReplacePrefixMatch or ReplaceFullPath")
		}
	}
	if out.Hostname == nil && out.Path == nil {
		return nil, nil
	}
	return []gatewayv1.HTTPRouteFilter{{Type: gatewayv1.HTTPRouteFilterURLRewrite, URLRewrite: out}}, nil
}

// mirrorFilters send copies elsewhere, as the user asks for.
func mirrorFilters(s *v1beta1.CanaryService) (out []gatewayv1.HTTPRouteFilter, err error) {
	for i := range s.Mirror {
		field := fmt.Sprintf("spec.service.mirror[%d]", i)
		filter := &gatewayv1.HTTPRequestMirrorFilter{}
		if err := decode(field, &s.Mirror[i], filter); err != nil {
			return nil, err
		}
		if filter.BackendRef.Name == "" {
			return nil, Invalid(field+".backendRef.name", "", "the name of a Service")
		}
		filter.BackendRef = spelledOut(filter.BackendRef)
		out = append(out, gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterRequestMirror, RequestMirror: filter})
	}
	return out, nil
}

// spelledOut has what the API server fills in.
func spelledOut(ref gatewayv1.BackendObjectReference) gatewayv1.BackendObjectReference {
	if ref.Group == nil {
		ref.Group = new(gatewayv1.Group(""))
	}
	if ref.Kind == nil {
		ref.Kind = new(gatewayv1.Kind("Service"))
	}
	return ref
}
