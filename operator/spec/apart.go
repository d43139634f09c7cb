package spec

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/sources"
	"github.com/sluice-delivery/sluice/operator/world"
)

// Apart refuses what leads into another namespace: a host that belongs to a Service there always, as its clients' requests
// would be answered by this application, and references to objects there where apart is true.
func Apart(c *v1beta1.Canary, provider string, apart bool) error {
	for _, host := range c.Spec.Service.Hosts {
		if namespace, ok := namespaceOfHost(host); ok && namespace != c.Namespace {
			return world.Mistake(world.ReasonInvalidSpec, "spec.service.hosts: %q is a Service of the namespace %s, and the Canary's is %s", host, namespace, c.Namespace)
		}
	}
	if !apart {
		return nil
	}
	for _, x := range references(c) {
		if x.namespace != "" && x.namespace != c.Namespace {
			return world.Mistake(sources.ReasonCrossNamespace, "%s: %q is in the namespace %s, and references to other namespaces are off", x.field, x.name, x.namespace)
		}
	}
	if provider != v1beta1.ProviderKubernetes && slices.Contains(c.Spec.Service.Hosts, "*") {
		return world.Mistake(world.ReasonInvalidSpec, "spec.service.hosts: \"*\" is every application's, and references to other namespaces are off; name the hosts")
	}
	return nil
}

// namespaceOfHost is that of a host that is the name of a Service, NAME.NAMESPACE.svc and what may follow.
func namespaceOfHost(host string) (string, bool) {
	parts := strings.Split(strings.ToLower(host), ".")
	if len(parts) >= 3 && parts[2] == "svc" {
		return parts[1], true
	}
	return "", false
}

// reference is a field that names an object of a namespace, which is empty where it is not said.
type reference struct{ field, name, namespace string }

// references are those of a Canary that are used, but for MetricTemplates, of which their reader knows.
func references(c *v1beta1.Canary) []reference {
	var out []reference
	s := &c.Spec.Service
	for _, name := range s.Gateways {
		x := reference{field: "spec.service.gateways", name: name}
		if namespace, _, ok := strings.Cut(name, "/"); ok && namespace != "." {
			x.namespace = namespace
		} else if namespace, ok := namespaceOfHost(name); ok {
			x.namespace = namespace
		}
		out = append(out, x)
	}
	for _, ref := range s.GatewayRefs {
		if ref.Namespace != nil {
			out = append(out, reference{"spec.service.gatewayRefs", ref.Name, *ref.Namespace})
		}
	}
	for _, raw := range s.Mirror {
		var filter struct {
			BackendRef struct{ Name, Namespace string }
		}
		if json.Unmarshal(raw.Raw, &filter) == nil { // what it can't be its router tells
			out = append(out, reference{"spec.service.mirror", filter.BackendRef.Name, filter.BackendRef.Namespace})
		}
	}
	for _, alert := range c.GetAnalysis().Alerts {
		out = append(out, reference{"spec.analysis.alerts." + alert.Name + ".providerRef", alert.ProviderRef.Name, alert.ProviderRef.Namespace})
	}
	return out
}
