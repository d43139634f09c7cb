package skipper

import (
	"encoding/json"
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/requests"
)

const (
	// prefix is what Skipper's annotations begin with.
	prefix    = "zalando.org/"
	weights   = prefix + "backend-weights"
	predicate = prefix + "skipper-predicate"
	// classAnnotation is the older way to say which controller an Ingress is for.
	classAnnotation = "kubernetes.io/ingress.class"
	// matchingAnnotation says that the weights are of the requests that match only.
	matchingAnnotation = "sluice.dev/share"
	matching           = "matching"

	// first has routes come before those of the user's Ingress, and never has none come: both are Flagger's.
	first = "Weight(100)"
	never = "False()"
)

// notCopied are annotations of the user's Ingress that ours has not: what they say is of its own backends, or would be there
// twice.
var notCopied = map[string]bool{weights: true, predicate: true, prefix + "skipper-routes": true}

// specFor is the user's spec as far as it leads to the apex Service, with the primary and the canary behind each path.
func specFor(c *v1beta1.Canary, users *networkingv1.Ingress) (networkingv1.IngressSpec, error) {
	apex, primary, canary := c.ServiceNames()
	out := networkingv1.IngressSpec{IngressClassName: users.Spec.IngressClassName}
	for _, rule := range users.Spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		var paths []networkingv1.HTTPIngressPath
		for _, path := range rule.HTTP.Paths {
			if path.Backend.Service == nil || path.Backend.Service.Name != apex {
				continue
			}
			if shared(rule.HTTP.Paths, path.Path) {
				return out, &providers.InvalidError{
					Field: "spec.ingressRef.name", Value: users.Name, Allowed: fmt.Sprintf("an Ingress whose path %s%s leads to Service %s alone, as its requests are shared out between the primary and the canary", rule.Host, path.Path, apex),
				}
			}
			if host := takesFrom(users, rule.Host, path.Path, apex); host != "" {
				return out, &providers.InvalidError{
					Field: "spec.ingressRef.name", Value: users.Name, Allowed: fmt.Sprintf("an Ingress whose path %s for all hosts leads to Service %s in the rule of host %s too: a release would take the requests for that host", path.Path, apex, host),
				}
			}
			for _, name := range []string{primary, canary} {
				backend := networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: name, Port: path.Backend.Service.Port}}
				paths = append(paths, networkingv1.HTTPIngressPath{Path: path.Path, PathType: path.PathType, Backend: backend})
			}
		}
		if len(paths) > 0 {
			value := networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: paths}}
			out.Rules = append(out.Rules, networkingv1.IngressRule{Host: rule.Host, IngressRuleValue: value})
		}
	}
	if len(out.Rules) == 0 {
		return out, &providers.InvalidError{
			Field: "spec.ingressRef.name", Value: users.Name, Allowed: "an Ingress of which a path leads to Service " + apex + ", the Canary's apex",
		}
	}
	return out, nil
}

// takesFrom is a host whose requests for a path go elsewhere, and would not any more: of routes for the same path Skipper takes the one
// whose predicates weigh most, and ours for all hosts weighs more than one for a single host. It is empty where there is none.
func takesFrom(users *networkingv1.Ingress, host, path, apex string) string {
	if host != "" {
		return ""
	}
	for _, rule := range users.Spec.Rules {
		if rule.Host == "" || rule.HTTP == nil {
			continue
		}
		for _, p := range rule.HTTP.Paths {
			if p.Path == path && (p.Backend.Service == nil || p.Backend.Service.Name != apex) {
				return rule.Host
			}
		}
	}
	return ""
}

// shared tells whether a path leads to more than one backend.
func shared(paths []networkingv1.HTTPIngressPath, path string) bool {
	n := 0
	for _, p := range paths {
		if p.Path == path {
			n++
		}
	}
	return n > 1
}

// annotations are those of the user's Ingress for its controller, and what shares the requests out. Without requests for the
// canary no route is ours: the user's Ingress leads to the primary.
func annotations(c *v1beta1.Canary, users *networkingv1.Ingress, t providers.Traffic) (map[string]string, error) {
	out := map[string]string{}
	for name, value := range users.Annotations {
		if name == classAnnotation || strings.HasPrefix(name, prefix) && !notCopied[name] {
			out[name] = value
		}
	}
	_, primary, canary := c.ServiceNames()
	of, err := json.Marshal(map[string]int32{primary: t.Primary, canary: t.Canary})
	if err != nil {
		return nil, fmt.Errorf("encode the weights: %w", err)
	}
	out[weights] = string(of)
	var all []string
	if t.Canary == 0 {
		all = append(all, never)
	}
	all = append(all, first)
	if t.Matched {
		more, err := predicates(c)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
		out[matchingAnnotation] = matching
	}
	if theirs := strings.TrimSpace(users.Annotations[predicate]); theirs != "" {
		all = append(all, theirs)
	}
	out[predicate] = strings.Join(all, " && ")
	return out, nil
}

// predicates are Skipper's for the requests of spec.analysis.match. All of a route's have to hold, so there can be one
// alternative only.
func predicates(c *v1beta1.Canary) ([]string, error) {
	matched, err := requests.Read(v1beta1.ProviderSkipper, "spec.analysis.match", c.GetAnalysis().Match)
	if err != nil {
		return nil, err
	}
	if len(matched) > 1 {
		return nil, unsupported("spec.analysis.match[1]", "all of its conditions have to hold, so that there can be one alternative only")
	}
	var out []string
	for _, m := range matched {
		if m.Path != nil {
			return nil, unsupported(m.Field+".uri", "the path is that of the Ingress")
		}
		for _, h := range m.Headers {
			if h.Exact != "" {
				out = append(out, fmt.Sprintf("Header(%s, %s)", quoted(h.Name), quoted(h.Exact)))
			} else {
				out = append(out, fmt.Sprintf("HeaderRegexp(%s, %s)", quoted(h.Name), quoted("^(?:"+h.Expression()+")$")))
			}
		}
		for _, q := range m.Params {
			out = append(out, fmt.Sprintf("QueryParam(%s, %s)", quoted(q.Name), quoted("^(?:"+q.Expression()+")$")))
		}
	}
	return out, nil
}

// quoted is a text as Skipper's language writes it.
func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// trafficOf is what an Ingress has Skipper do.
func trafficOf(c *v1beta1.Canary, live *networkingv1.Ingress) providers.Traffic {
	_, primary, canary := c.ServiceNames()
	of := map[string]float64{}
	if err := json.Unmarshal([]byte(live.Annotations[weights]), &of); err != nil || of[primary] < 0 || !(of[canary] > 0) ||
		strings.HasPrefix(live.Annotations[predicate], never) {
		return providers.Traffic{Primary: 100}
	}
	share := int32(of[canary]*100/(of[primary]+of[canary]) + 0.5) //nolint:gosec // 0 to 100
	return providers.Traffic{Primary: 100 - share, Canary: share, Matched: live.Annotations[matchingAnnotation] == matching}
}
