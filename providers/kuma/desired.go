package kuma

import (
	"fmt"
	"slices"

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
	out.Spec, err = users(c, name, original.Spec, route.Traffic)
	return out, err
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
	matched, err := matches(c, t)
	if err != nil {
		return nil, err
	}
	if !t.Matched {
		return map[string]any{"split": split(c, t.Primary, t.Canary)}, nil
	}
	var http []any
	for _, match := range matched {
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

// isElsewhere tells whether a spec is for other Services only.
func isElsewhere(c *v1beta1.Canary, spec map[string]any) bool {
	return !slices.Contains(destinations(spec), serviceTag(c, apexOf(c)))
}

// flaggers tells whether a spec is as Flagger writes it: all requests for the apex Service shared out between the primary and
// the canary, and nothing else.
func flaggers(c *v1beta1.Canary, spec map[string]any) bool {
	conf, _ := spec["conf"].(map[string]any)
	list, _ := conf["split"].([]any)
	_, leads := read(c, list)
	return leads && len(list) == 2 && len(conf) == 1 && fromAll(spec) && len(destinations(spec)) == 1 && !isElsewhere(c, spec)
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

// read is what a list does, false where it does not lead to both the primary and the canary, as one of ours always does.
func read(c *v1beta1.Canary, list []any) (r shares.Read, leads bool) {
	_, primary, canary := c.ServiceNames()
	named := false
	for _, one := range list {
		part, _ := one.(map[string]any)
		weight, _ := part["weight"].(int64)
		destination, _ := part["destination"].(map[string]any)
		switch r.Total += weight; destination[tag] {
		case serviceTag(c, primary):
			r.ToPrimary, r.Primary = true, r.Primary+weight
		case serviceTag(c, canary):
			named, r.ToCanary, r.Canary = true, weight > 0, r.Canary+weight
		}
	}
	return r, r.ToPrimary && named
}
