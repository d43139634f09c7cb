package kuma

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/custom"
	"github.com/sluice-delivery/sluice/providers/internal/requests"
	"github.com/sluice-delivery/sluice/providers/internal/shares"
)

// tag is that by which Kuma knows a Service.
const tag = "kuma.io/service"

func unsupported(field, why string) error {
	return &providers.UnsupportedError{Router: v1beta1.ProviderKuma, Field: field, Why: why}
}

// desired is the TrafficRoute for the traffic of a route, where live is what there is.
func (r *Router) desired(route providers.Route, name string, live *TrafficRoute) (*TrafficRoute, error) {
	c := route.Canary
	switch {
	case route.Traffic.Mirror > 0:
		return nil, unsupported("spec.analysis.mirror", "it cannot mirror requests")
	case route.Traffic.Sessions != (providers.Sessions{}):
		return nil, unsupported("spec.analysis.sessionAffinity", "it cannot keep a user on a version")
	}
	conf, err := confOf(c, route.Traffic)
	if err != nil {
		return nil, err
	}
	out := &TrafficRoute{Resource: custom.Resource{ObjectMeta: custom.Metadata(c, client.ObjectKey{Name: name}), Spec: map[string]any{
		"sources":      []any{selector("*")},
		"destinations": []any{selector(serviceTag(c, apexOf(c)))},
		"conf":         conf,
	}}}
	if live == nil || whose(c, live) == ownership.Ours {
		out.Mesh = meshOf(c)
		ownerOf(c).Mark(out)
		return out, nil
	}
	if whose(c, live) == ownership.Others {
		return nil, providers.Conflict(gvk.Kind, live)
	}
	original, err := r.original(c, live, out.ObjectMeta)
	if err != nil {
		return nil, err
	}
	original.Note(&out.ObjectMeta)
	if users, _ := original.Spec["conf"].(map[string]any); users != nil {
		for _, field := range []string{"loadBalancer", "load_balancer"} { // what is about single endpoints holds
			if v, ok := users[field]; ok {
				conf[field] = v
			}
		}
	}
	return out, nil
}

// original is what a user's TrafficRoute was; ours is what we set of its metadata.
func (r *Router) original(c *v1beta1.Canary, live *TrafficRoute, ours metav1.ObjectMeta) (*custom.Original, error) {
	return taking.Original(&live.Resource, ours, func(map[string]any) bool { return false }, func() map[string]any {
		return map[string]any{
			"sources": []any{selector("*")}, "destinations": []any{selector(serviceTag(c, apexOf(c)))},
			"conf": map[string]any{"destination": map[string]any{tag: serviceTag(c, apexOf(c))}},
		}
	})
}

// confOf is how a TrafficRoute divides requests. Of several conditions the first that holds decides.
func confOf(c *v1beta1.Canary, t providers.Traffic) (map[string]any, error) {
	if !t.Matched {
		return map[string]any{"split": split(c, t.Primary, t.Canary)}, nil
	}
	matched, err := requests.Read(v1beta1.ProviderKuma, "spec.analysis.match", c.GetAnalysis().Match)
	if err != nil {
		return nil, err
	}
	var http []any
	for _, m := range matched {
		if len(m.Params) > 0 {
			return nil, unsupported(m.Field+".queryParams", "a TrafficRoute tells requests apart by path and headers")
		}
		match := map[string]any{}
		if m.Path != nil {
			match["path"] = matcher(*m.Path)
		}
		headers := map[string]any{}
		for _, h := range m.Headers {
			headers[h.Name] = matcher(h.Value)
		}
		if len(headers) > 0 {
			match["headers"] = headers
		}
		http = append(http, map[string]any{"match": match, "split": split(c, t.Primary, t.Canary)})
	}
	return map[string]any{"http": http, "split": split(c, 100, 0)}, nil
}

func matcher(v requests.Value) map[string]any {
	switch {
	case v.Exact != "":
		return map[string]any{"exact": v.Exact}
	case v.Prefix != "":
		return map[string]any{"prefix": v.Prefix}
	default:
		return map[string]any{"regex": v.Expression()}
	}
}

func split(c *v1beta1.Canary, primary, canary int32) []any {
	_, toPrimary, toCanary := c.ServiceNames()
	return []any{
		map[string]any{"weight": int64(primary), "destination": map[string]any{tag: serviceTag(c, toPrimary)}},
		map[string]any{"weight": int64(canary), "destination": map[string]any{tag: serviceTag(c, toCanary)}},
	}
}

func selector(service string) map[string]any {
	return map[string]any{"match": map[string]any{tag: service}}
}

func apexOf(c *v1beta1.Canary) string {
	apex, _, _ := c.ServiceNames()
	return apex
}

// serviceTag is the name that Kuma gives to a port of a Service.
func serviceTag(c *v1beta1.Canary, service string) string {
	return fmt.Sprintf("%s_%s_svc_%d", service, c.Namespace, c.Spec.Service.Port)
}

// destinations are the Services that a TrafficRoute is for.
func destinations(spec map[string]any) (out []string) {
	list, _ := spec["destinations"].([]any)
	for _, one := range list {
		s, _ := one.(map[string]any)
		match, _ := s["match"].(map[string]any)
		if service, ok := match[tag].(string); ok {
			out = append(out, service)
		}
	}
	return out
}

// isElsewhere tells whether a spec is for Services of other namespaces only.
func isElsewhere(c *v1beta1.Canary, spec map[string]any) bool {
	all := destinations(spec)
	for _, service := range all {
		parts := strings.Split(service, "_")
		if len(parts) < 2 || parts[1] == c.Namespace {
			return false
		}
	}
	return len(all) > 0
}

// led tells whether a spec leads to the primary or the canary.
func led(c *v1beta1.Canary, spec map[string]any) bool {
	_, leads := trafficOf(c, spec)
	return leads
}

// trafficOf is what a TrafficRoute has Kuma do, false where it leads neither to the primary nor to the canary.
func trafficOf(c *v1beta1.Canary, spec map[string]any) (providers.Traffic, bool) {
	conf, _ := spec["conf"].(map[string]any)
	var routes []shares.Read
	http, _ := conf["http"].([]any)
	for _, one := range append(http[:len(http):len(http)], conf) {
		route, _ := one.(map[string]any)
		list, _ := route["split"].([]any)
		if r, leads := read(c, list); leads {
			routes = append(routes, r)
		}
	}
	return shares.Of(routes)
}

func read(c *v1beta1.Canary, list []any) (r shares.Read, leads bool) {
	_, primary, canary := c.ServiceNames()
	for _, one := range list {
		part, _ := one.(map[string]any)
		weight, _ := part["weight"].(int64)
		destination, _ := part["destination"].(map[string]any)
		switch r.Total += weight; destination[tag] {
		case serviceTag(c, primary):
			r.ToPrimary, r.Primary = true, r.Primary+weight
		case serviceTag(c, canary):
			r.ToCanary, r.Canary = weight > 0, r.Canary+weight
		}
	}
	return r, r.ToPrimary || r.ToCanary
}
