package rules

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/shares"
)

// TrafficOf reads what the mesh does with the requests of this Canary. It is false
// when no rule leads to the primary or the canary: then the object is a user's, not
// adopted yet or given back. Rules of the user's, to one of the two Services perhaps, say
// nothing of it; users is what he had, nil for nothing. Sessions are not read: the cookies say
// nothing about shares.
func TrafficOf(rules []gatewayv1.HTTPRouteRule, c *v1beta1.Canary, users *gatewayv1.HTTPRouteSpec) (providers.Traffic, bool) {
	var all, ours []shares.Read
	for _, rule := range rules {
		if users != nil && slices.ContainsFunc(users.Rules, func(u gatewayv1.HTTPRouteRule) bool { return equality.Semantic.DeepEqual(u, rule) }) {
			continue
		}
		r := readRule(rule, c)
		if r.ToPrimary || r.ToCanary {
			all = append(all, r)
		}
		if r.ToPrimary { // as every rule that shares requests out has both
			ours = append(ours, r)
		}
	}
	if len(ours) == 0 {
		ours = all
	}
	return shares.Of(ours)
}

// Overwritten tells whether another operator shares requests out by a user's rules: one has both the primary
// and the canary, or nothing is left but rules to them, of which one is to the primary. A rule of his own to one of them, for
// testers of the canary say, stands beside rules to other Services.
func Overwritten(rules []gatewayv1.HTTPRouteRule, c *v1beta1.Canary) bool {
	toPrimary, elsewhere := false, false
	for _, rule := range rules {
		r := readRule(rule, c)
		if r.ToPrimary && r.ToCanary {
			return true
		}
		toPrimary, elsewhere = toPrimary || r.ToPrimary, elsewhere || !r.ToPrimary && !r.ToCanary
	}
	return toPrimary && !elsewhere
}

func readRule(rule gatewayv1.HTTPRouteRule, c *v1beta1.Canary) shares.Read {
	_, primary, canary := c.ServiceNames()
	r := shares.Read{}
	for _, backend := range rule.BackendRefs {
		weight := int64(1) // as the Gateway API has it
		if backend.Weight != nil {
			weight = int64(*backend.Weight)
		}
		r.Total += weight
		switch {
		case isService(backend.BackendObjectReference, c, primary):
			r.ToPrimary, r.Primary = true, r.Primary+weight
		case isService(backend.BackendObjectReference, c, canary):
			r.ToCanary, r.Canary = true, r.Canary+weight
		}
	}
	for _, filter := range rule.Filters {
		if m := filter.RequestMirror; m != nil && isService(m.BackendRef, c, canary) {
			r.Mirror = mirrored(m)
		}
	}
	return r
}

func mirrored(m *gatewayv1.HTTPRequestMirrorFilter) int32 {
	switch {
	case m.Percent != nil:
		return *m.Percent
	case m.Fraction != nil:
		of := int32(100)
		if m.Fraction.Denominator != nil && *m.Fraction.Denominator > 0 {
			of = *m.Fraction.Denominator
		}
		return int32(int64(m.Fraction.Numerator) * 100 / int64(of)) //nolint:gosec // at most 100 by the schema
	default:
		return 100
	}
}

// leadsToApex tells whether ref is the apex Service.
func leadsToApex(c *v1beta1.Canary, ref gatewayv1.BackendObjectReference) bool {
	apex, _, _ := c.ServiceNames()
	return isService(ref, c, apex)
}

// leadsToUs tells whether ref is the apex Service or one of its halves.
func leadsToUs(c *v1beta1.Canary, ref gatewayv1.BackendObjectReference) bool {
	apex, primary, canary := c.ServiceNames()
	return slices.ContainsFunc([]string{apex, primary, canary}, func(name string) bool { return isService(ref, c, name) })
}

// isService tells whether ref is the Service of that name in the Canary's namespace.
func isService(ref gatewayv1.BackendObjectReference, c *v1beta1.Canary, name string) bool {
	return string(ref.Name) == name &&
		(ref.Kind == nil || *ref.Kind == "Service") && (ref.Group == nil || IsCore(*ref.Group)) &&
		(ref.Namespace == nil || string(*ref.Namespace) == c.Namespace)
}

// IsCore tells whether a group is Kubernetes' own, which some spell out.
func IsCore(g gatewayv1.Group) bool { return g == "" || g == "core" }
