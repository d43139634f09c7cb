// Package hosts reads names of hosts and gateways as Istio does.
package hosts

import (
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Mesh is the gateway that stands for all sidecars.
const Mesh = "mesh"

// IsService reports whether host names the Service in any spelling: as a short name, as
// NAME.NAMESPACE, as NAME.NAMESPACE.svc, or fully.
func IsService(host, name, namespace string) bool {
	qualified := name + "." + namespace
	return host == name || host == qualified || host == qualified+".svc" || isFull(host, name, namespace)
}

// IsHost reports whether host is the Service to Istio, which completes names without a dot only.
func IsHost(host, name, namespace string) bool {
	return host == name || isFull(host, name, namespace)
}

func isFull(host, name, namespace string) bool {
	return strings.HasPrefix(host, name+"."+namespace+".svc.")
}

// Covers reports whether a host with a wildcard is for the Service among others.
func Covers(host, name, namespace string) bool {
	suffix, wildcard := strings.CutPrefix(host, "*")
	return wildcard && strings.HasSuffix(name+"."+namespace+".svc.cluster.local", suffix)
}

// gatewayName is a gateway's in full, for a VirtualService of the namespace.
func gatewayName(gateway, namespace string) string {
	if gateway == Mesh || strings.Contains(gateway, "/") {
		return gateway
	}
	return namespace + "/" + gateway
}

// Gateways are those of a VirtualService, in full.
func Gateways(gateways []string, namespace string) []string {
	if len(gateways) == 0 {
		return []string{Mesh}
	}
	out := make([]string, len(gateways))
	for i, g := range gateways {
		out[i] = gatewayName(g, namespace)
	}
	return out
}

// Key is a host of an object of the namespace, in the one spelling by which it is found:
// NAME.NAMESPACE for a Service.
func Key(host, namespace string) string {
	if !strings.Contains(host, ".") && host != "*" {
		return host + "." + namespace
	}
	if name, remaining, _ := strings.Cut(host, "."); name != "*" {
		if ns, domain, _ := strings.Cut(remaining, "."); domain == "svc" || strings.HasPrefix(domain, "svc.") {
			return name + "." + ns
		}
	}
	return host
}

// About gives the Services that a VirtualService or a DestinationRule is about by its hosts,
// whatever its name is.
func About(o client.Object) []types.NamespacedName {
	var hosts []string
	switch o := o.(type) {
	case *networkingv1.VirtualService:
		hosts = o.Spec.Hosts
	case *networkingv1.DestinationRule:
		hosts = []string{o.Spec.Host}
	}
	var out []types.NamespacedName
	for _, h := range hosts {
		if name, namespace, ok := strings.Cut(Key(h, o.GetNamespace()), "."); ok && name != "*" && !strings.Contains(namespace, ".") {
			out = append(out, types.NamespacedName{Namespace: namespace, Name: name})
		}
	}
	return out
}
