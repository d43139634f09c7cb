package contour

import (
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/custom"
)

// desired is the HTTPProxy for the traffic of a route, where live is what there is.
func (r *Router) desired(route providers.Route, live *HTTPProxy) (*HTTPProxy, error) {
	c := route.Canary
	if err := route.Traffic.Validate(); err != nil {
		return nil, err
	}
	if err := r.Capabilities().Check(v1beta1.ProviderContour, c); err != nil {
		return nil, err
	}
	if route.Traffic.Sessions != (providers.Sessions{}) {
		return nil, unsupported("spec.analysis.sessionAffinity", "it cannot keep a user on a version")
	}
	p, err := planOf(c)
	if err != nil {
		return nil, err
	}
	out := r.empty(c)
	if live == nil || route.Owner().Owns(live) {
		route.Owner().Mark(out)
		routes, err := p.ours(route.Traffic)
		out.Spec["routes"] = routes
		return out, err
	}
	if route.Owner().Of(live) == ownership.Others {
		return nil, providers.Conflict(gvk.Kind, live)
	}
	original, err := r.original(c, live, out.ObjectMeta)
	if err != nil {
		return nil, err
	}
	original.Note(&out.ObjectMeta)
	delete(out.Spec, "ingressClassName") // that is the user's
	out.Spec["routes"], err = p.users(live.Name, original.Spec, route.Traffic)
	return out, err
}

// empty is an HTTPProxy of the Canary without routes.
func (r *Router) empty(c *v1beta1.Canary) *HTTPProxy {
	apex, _, _ := c.ServiceNames()
	out := &HTTPProxy{Resource: custom.Resource{
		ObjectMeta: custom.Metadata(c, client.ObjectKey{Namespace: c.Namespace, Name: apex}), Spec: map[string]any{},
	}}
	if r.class != "" {
		out.Spec["ingressClassName"] = r.class
	}
	return out
}

// released is an HTTPProxy that leads to the apex Service and is nobody's.
func (r *Router) released(c *v1beta1.Canary) *HTTPProxy {
	out := r.empty(c)
	out.Annotations, out.Labels = nil, nil
	out.Spec["routes"] = toApex(c)
	return out
}

// original is what a user's HTTPProxy was; ours is what we set of its metadata.
func (r *Router) original(c *v1beta1.Canary, live *HTTPProxy, ours metav1.ObjectMeta) (*custom.Original, error) {
	return taking.Original(&live.Resource, ours,
		func(spec map[string]any) bool { return led(c, spec) },
		func() map[string]any { return map[string]any{"routes": toApex(c)} },
	)
}

// toApex are routes that lead to the apex Service as the spec says, or all of them where that can't be read.
func toApex(c *v1beta1.Canary) []any {
	apex, _, _ := c.ServiceNames()
	p, err := planOf(c)
	if err != nil {
		p = plan{canary: c, bases: []map[string]any{{"conditions": []any{map[string]any{"prefix": "/"}}}}}
	}
	var out []any
	for _, base := range p.bases {
		route := maps.Clone(base)
		route["services"] = []any{map[string]any{"name": apex, "port": int64(c.Spec.Service.Port)}}
		out = append(out, route)
	}
	return out
}
