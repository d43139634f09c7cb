package coverage

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A policy that names a Service is for requests that are sent to it. A mesh, or a Gateway, whose
// route divides what was for the apex Service between two others sends them to those: without
// a policy for them it speaks plain text to what wants TLS, or asks nobody for leave.

// targetsOf are what a policy says it is for.
func (k Kind) targetsOf(o *unstructured.Unstructured) []map[string]any {
	field, _, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", k.targets)
	if one, ok := field.(map[string]any); ok {
		return []map[string]any{one}
	}
	list, _ := field.([]any)
	var out []map[string]any
	for _, e := range list {
		if target, ok := e.(map[string]any); ok {
			out = append(out, target)
		}
	}
	return out
}

// isFor tells whether a target is a Service of that name in the policy's namespace.
func isFor(target map[string]any, service, namespace string) bool {
	group, _ := target["group"].(string)
	in, named := target["namespace"].(string)
	return target["kind"] == "Service" && (group == "" || group == "core") && target["name"] == service && (!named || in == "" || in == namespace)
}

// names tells whether a policy is for one of the Canary's Services.
func (s Subject) names(k Kind, o *unstructured.Unstructured, services ...string) bool {
	return k.targets != "" && o.GetNamespace() == s.Namespace && slices.ContainsFunc(services, func(service string) bool {
		return slices.ContainsFunc(k.targetsOf(o), func(t map[string]any) bool { return isFor(t, service, s.Namespace) })
	})
}

// attachedGaps are the gap that a policy for the apex Service leaves where it is for
// none of those that requests go to, and no other one says the same for them.
func (s Subject) attachedGaps(k Kind, o *unstructured.Unstructured, others []*unstructured.Unstructured, names map[string]bool) []Gap {
	if !s.Split || !s.names(k, o, s.Apex) {
		return nil
	}
	missing := slices.DeleteFunc(slices.Clone(backends(s)), func(service string) bool {
		return s.names(k, o, service) || slices.ContainsFunc(others, func(other *unstructured.Unstructured) bool {
			return other.GroupVersionKind() == o.GroupVersionKind() && s.names(k, other, service) &&
				equality.Semantic.DeepEqual(k.withoutTargets(o), k.withoutTargets(other))
		})
	})
	if len(missing) == 0 {
		return nil
	}
	g := Gap{What: k.Kind + " " + o.GetName() + " (for Service " + s.Apex + ", not " + listed(missing) + ")", Native: k.Native}
	if _, list, _ := unstructured.NestedSlice(o.Object, "spec", k.targets); !list {
		g.Why = "it is for one Service; write one for each of the others"
		return []Gap{g}
	}
	if g.Copy, g.Why = blank(s, k, o, names); g.Copy != nil {
		retarget(k, g.Copy, s.Apex, missing)
	}
	return []Gap{g}
}

// backends are the Services that requests for the apex Service go to.
func backends(s Subject) []string {
	return slices.DeleteFunc(slices.Clone(s.Services), func(name string) bool { return name == s.Apex })
}

// ruleGaps are the gap that a policy for one rule of the Canary's route leaves where other rules take some of its requests: names of rules
// are unique, so that those have none. One for the whole route is for them as well.
func (s Subject) ruleGaps(k Kind, o *unstructured.Unstructured) []Gap {
	if !k.rules || s.Narrowed == "" || o.GetNamespace() != s.Namespace {
		return nil
	}
	targets := k.targetsOf(o)
	if k.targets != oneTarget { // Envoy Gateway's may name a single one in the older field
		k.targets = oneTarget
		targets = append(targets, k.targetsOf(o)...)
	}
	var out []Gap
	for _, t := range targets {
		section, _ := t["sectionName"].(string)
		if section == "" || t["group"] != gatewayGroup || t["kind"] != "HTTPRoute" && t["kind"] != "GRPCRoute" || t["name"] != s.Apex {
			continue
		}
		out = append(out, Gap{
			What: fmt.Sprintf("%s %s (for rule %s of %s %s, not for what %s takes from it)", k.Kind, o.GetName(), section, t["kind"], s.Apex, s.Narrowed),
			Why:  "the rules for that have no name; have it be for the whole route",
		})
	}
	return out
}

// gatewayGroup is that of the Gateway API, and oneTarget the field of policies that are for one thing.
const (
	gatewayGroup = "gateway.networking.k8s.io"
	oneTarget    = "targetRef"
)

func listed(names []string) string {
	out := names[0]
	for _, name := range names[1:] {
		out += " and " + name
	}
	return out
}

// retarget has a copy be for other Services than the apex.
func retarget(k Kind, c *unstructured.Unstructured, apex string, services []string) {
	var targets []any
	for _, target := range k.targetsOf(c) {
		if !isFor(target, apex, c.GetNamespace()) {
			continue
		}
		for _, service := range services {
			one := map[string]any{}
			for field, value := range target {
				one[field] = value
			}
			one["name"] = service
			targets = append(targets, one)
		}
	}
	// It was read from there, so that can't fail.
	_ = unstructured.SetNestedSlice(c.Object, targets, "spec", k.targets)
}

func (k Kind) withoutTargets(o *unstructured.Unstructured) map[string]any {
	spec, _, _ := unstructured.NestedMap(o.Object, "spec") // a copy
	delete(spec, k.targets)
	return spec
}
