package nginx

import (
	"maps"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// classAnnotation is the older way to say which controller an Ingress is for.
const classAnnotation = "kubernetes.io/ingress.class"

// specFor is the user's spec as far as it leads to the apex Service, leading to the canary
// Service instead. Certificates are the user's Ingress's alone, so that what issues them
// does not do it twice.
func (r *Router) specFor(c *v1beta1.Canary, users *networkingv1.Ingress) networkingv1.IngressSpec {
	apex, _, canary := c.ServiceNames()
	out := networkingv1.IngressSpec{IngressClassName: users.Spec.IngressClassName}
	led := func(b networkingv1.IngressBackend) (networkingv1.IngressBackend, bool) {
		if b.Service == nil || b.Service.Name != apex {
			return b, false
		}
		return networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: canary, Port: b.Service.Port}}, true
	}
	if users.Spec.DefaultBackend != nil {
		if backend, ok := led(*users.Spec.DefaultBackend); ok {
			out.DefaultBackend = &backend
		}
	}
	for _, rule := range users.Spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		var paths []networkingv1.HTTPIngressPath
		for _, path := range rule.HTTP.Paths {
			if backend, ok := led(path.Backend); ok {
				paths = append(paths, networkingv1.HTTPIngressPath{Path: path.Path, PathType: path.PathType, Backend: backend})
			}
		}
		if len(paths) > 0 {
			value := networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: paths}}
			out.Rules = append(out.Rules, networkingv1.IngressRule{Host: rule.Host, IngressRuleValue: value})
		}
	}
	return out
}

// placesOf are the hosts and paths of an Ingress, as people write them.
func placesOf(spec networkingv1.IngressSpec) map[string]bool {
	out := map[string]bool{}
	if spec.DefaultBackend != nil {
		out["the default backend"] = true
	}
	for _, rule := range spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		for _, path := range rule.HTTP.Paths {
			out[rule.Host+path.Path] = true
		}
	}
	return out
}

// key is the name of an annotation of the controller's.
func (r *Router) key(name string) string { return r.prefix + "/" + name }

// annotations are those of the user's Ingress for its controller, and what makes it a canary.
func (r *Router) annotations(c *v1beta1.Canary, users *networkingv1.Ingress, traffic providers.Traffic) (map[string]string, error) {
	out := map[string]string{}
	for name, value := range users.Annotations {
		if name == classAnnotation || strings.HasPrefix(name, r.key("")) && !strings.HasPrefix(name, r.key("canary")) {
			out[name] = value
		}
	}
	of, err := r.traffic(c, traffic)
	if err != nil {
		return nil, err
	}
	maps.Copy(out, of)
	return out, nil
}

// traffic are the annotations that share requests out. Where requests match, the weight is that
// of all others.
func (r *Router) traffic(c *v1beta1.Canary, traffic providers.Traffic) (map[string]string, error) {
	switch {
	case traffic.Mirror > 0:
		return nil, unsupported("spec.analysis.mirror", "it cannot mirror requests")
	case traffic.Sessions != (providers.Sessions{}):
		return nil, unsupported("spec.analysis.sessionAffinity", "it cannot keep a user on a version")
	case traffic.Matched && traffic.Canary != 0 && traffic.Canary != 100:
		return nil, unsupported("spec.analysis.match", "it cannot take a share of the requests that match")
	}
	weight := traffic.Canary
	out := map[string]string{r.key("canary"): "true", r.key("canary-weight-total"): "100"}
	if traffic.Matched {
		weight = 0
	}
	out[r.key("canary-weight")] = strconv.Itoa(int(weight))
	if !traffic.Matched || traffic.Canary == 0 {
		return out, nil
	}
	m, err := matchOf(c.GetAnalysis())
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"canary-by-header": m.header, "canary-by-header-value": m.value, "canary-by-header-pattern": m.pattern, "canary-by-cookie": m.cookie,
	} {
		if value != "" {
			out[r.key(name)] = value
		}
	}
	return out, nil
}

// trafficOf is what an Ingress has its controller do.
func (r *Router) trafficOf(live *networkingv1.Ingress) providers.Traffic {
	a := live.Annotations
	switch {
	case a[r.key("canary")] != "true":
		return providers.Traffic{Primary: 100}
	case a[r.key("canary-by-header")] != "" || a[r.key("canary-by-cookie")] != "":
		return providers.Traffic{Canary: 100, Matched: true}
	}
	weight, err := strconv.Atoi(a[r.key("canary-weight")])
	if err != nil || weight < 0 || weight > 100 {
		return providers.Traffic{Primary: 100}
	}
	return providers.Traffic{Primary: 100 - int32(weight), Canary: int32(weight)}
}
