package rules

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// MakeGRPC writes rules for HTTP as a GRPCRoute has them. The error is a *providers.InvalidError for
// what it can't say.
func MakeGRPC(meta metav1.ObjectMeta, spec gatewayv1.HTTPRouteSpec) (*gatewayv1.GRPCRoute, error) {
	out := &gatewayv1.GRPCRoute{ObjectMeta: meta}
	out.Spec.CommonRouteSpec, out.Spec.Hostnames = spec.CommonRouteSpec, spec.Hostnames
	for _, rule := range spec.Rules {
		r, err := grpcRule(rule)
		if err != nil {
			return nil, err
		}
		out.Spec.Rules = append(out.Spec.Rules, r)
	}
	return out, nil
}

func grpcRule(rule gatewayv1.HTTPRouteRule) (out gatewayv1.GRPCRouteRule, err error) {
	if rule.Timeouts != nil {
		return out, unsaid("spec.service.timeout", "no timeouts")
	}
	out.Name = rule.Name
	for _, m := range rule.Matches {
		match, err := grpcMatch(m)
		if err != nil {
			return out, err
		}
		if match.Method == nil && len(match.Headers) == 0 {
			out.Matches = nil // any request fits one of the alternatives
			break
		}
		out.Matches = append(out.Matches, match)
	}
	if out.Filters, err = grpcFilters(rule.Filters); err != nil {
		return out, err
	}
	for _, backend := range rule.BackendRefs {
		ref := gatewayv1.GRPCBackendRef{BackendRef: backend.BackendRef}
		if ref.Filters, err = grpcFilters(backend.Filters); err != nil {
			return out, err
		}
		out.BackendRefs = append(out.BackendRefs, ref)
	}
	return out, nil
}

// grpcMatch reads paths as gRPC makes them: /SERVICE/METHOD.
func grpcMatch(m gatewayv1.HTTPRouteMatch) (out gatewayv1.GRPCRouteMatch, err error) {
	for _, h := range m.Headers {
		kind := gatewayv1.GRPCHeaderMatchExact
		if isRegex(h.Type) {
			kind = gatewayv1.GRPCHeaderMatchRegularExpression
		}
		out.Headers = append(out.Headers, gatewayv1.GRPCHeaderMatch{Type: &kind, Name: gatewayv1.GRPCHeaderName(h.Name), Value: h.Value})
	}
	if len(m.QueryParams) > 0 {
		return out, unsaid("match.queryParams", "no parameters")
	}
	if m.Method != nil && *m.Method != gatewayv1.HTTPMethodPost {
		return out, unsaid("match.method", "no HTTP methods; gRPC's is always POST")
	}
	if isAnyPath(m.Path) {
		return out, nil
	}
	out.Method, err = grpcMethod(m.Path)
	return out, err
}

func grpcMethod(path *gatewayv1.HTTPPathMatch) (*gatewayv1.GRPCMethodMatch, error) {
	kind := gatewayv1.GRPCMethodMatchExact
	service, method, both := strings.Cut(strings.Trim(*path.Value, "/"), "/")
	switch {
	case *path.Type == gatewayv1.PathMatchExact && both && service != "" && method != "" && !strings.Contains(method, "/"),
		*path.Type == gatewayv1.PathMatchPathPrefix && both && !strings.Contains(method, "/"):
		return &gatewayv1.GRPCMethodMatch{Type: &kind, Service: &service, Method: &method}, nil
	case *path.Type == gatewayv1.PathMatchPathPrefix && !both:
		return &gatewayv1.GRPCMethodMatch{Type: &kind, Service: &service}, nil
	default:
		return nil, unsaid("match.uri", fmt.Sprintf("no path %q, but exact: /SERVICE/METHOD and prefix: /SERVICE", *path.Value))
	}
}

func grpcFilters(filters []gatewayv1.HTTPRouteFilter) (out []gatewayv1.GRPCRouteFilter, err error) {
	for _, f := range filters {
		filter := gatewayv1.GRPCRouteFilter{
			Type: gatewayv1.GRPCRouteFilterType(f.Type), RequestHeaderModifier: f.RequestHeaderModifier,
			ResponseHeaderModifier: f.ResponseHeaderModifier, RequestMirror: f.RequestMirror, ExtensionRef: f.ExtensionRef,
		}
		switch f.Type {
		case gatewayv1.HTTPRouteFilterRequestHeaderModifier, gatewayv1.HTTPRouteFilterResponseHeaderModifier,
			gatewayv1.HTTPRouteFilterRequestMirror, gatewayv1.HTTPRouteFilterExtensionRef:
		case gatewayv1.HTTPRouteFilterURLRewrite:
			return nil, unsaid("spec.service.rewrite", "no rewrites")
		case gatewayv1.HTTPRouteFilterCORS:
			return nil, unsaid("spec.service.corsPolicy", "no cross-origin policy")
		case gatewayv1.HTTPRouteFilterRequestRedirect, gatewayv1.HTTPRouteFilterExternalAuth:
			return nil, unsaid("spec.service", "no "+string(f.Type))
		default:
			return nil, unsaid("spec.service", "no "+string(f.Type))
		}
		out = append(out, filter)
	}
	return out, nil
}

func unsaid(field, has string) error {
	return Invalid(field, "", "a GRPCRoute has "+has+"; remove the field, or remove spec.service.appProtocol for an HTTPRoute")
}

// ReadGRPC is what a GRPCRoute says of shares.
func ReadGRPC(spec gatewayv1.GRPCRouteSpec) gatewayv1.HTTPRouteSpec {
	out := gatewayv1.HTTPRouteSpec{CommonRouteSpec: spec.CommonRouteSpec, Hostnames: spec.Hostnames}
	for _, rule := range spec.Rules {
		r := gatewayv1.HTTPRouteRule{}
		for _, backend := range rule.BackendRefs {
			r.BackendRefs = append(r.BackendRefs, gatewayv1.HTTPBackendRef{BackendRef: backend.BackendRef})
		}
		for _, f := range rule.Filters {
			if f.RequestMirror != nil {
				r.Filters = append(r.Filters, gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterRequestMirror, RequestMirror: f.RequestMirror})
			}
		}
		out.Rules = append(out.Rules, r)
	}
	return out
}
