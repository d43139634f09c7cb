package istio

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

const (
	// meshGateway stands for all sidecars.
	meshGateway = "mesh"
	// meshSuffix ends the name of the VirtualService for the apex Service inside the mesh
	// that stands beside one of a user's for other hosts.
	meshSuffix = "-mesh"
)

// isService reports whether host names the Service in any spelling: as a short name, as
// NAME.NAMESPACE, as NAME.NAMESPACE.svc, or fully.
func isService(host, name, namespace string) bool {
	qualified := name + "." + namespace
	return host == name || host == qualified || host == qualified+".svc" || isFull(host, name, namespace)
}

// isHost reports whether host is the Service to Istio, which completes names without a dot only.
func isHost(host, name, namespace string) bool {
	return host == name || isFull(host, name, namespace)
}

func isFull(host, name, namespace string) bool {
	return strings.HasPrefix(host, name+"."+namespace+".svc.")
}

// covers reports whether a host with a wildcard is for the Service among others.
func covers(host, name, namespace string) bool {
	suffix, wildcard := strings.CutPrefix(host, "*")
	return wildcard && strings.HasSuffix(name+"."+namespace+".svc.cluster.local", suffix)
}

// hostsOf is what the spec lists, else the user, and the apex Service, unless it is
// among them. A user's rules for other hosts alone are not to hold for the apex Service.
func hostsOf(c *v1beta1.Canary, users *original) []string {
	key := apexKey(c)
	hosts := slices.Clone(c.Spec.Service.Hosts)
	if len(hosts) == 0 && users != nil {
		hosts = slices.Clone(users.hosts)
		if forOthers(c, hosts) {
			return hosts
		}
	}
	is := func(h string) bool { return isHost(h, key.Name, key.Namespace) || covers(h, key.Name, key.Namespace) }
	if slices.ContainsFunc(hosts, is) {
		return hosts
	}
	return append(hosts, key.Name)
}

// forOthers tells whether there are hosts, none of which is the apex Service in any spelling.
func forOthers(c *v1beta1.Canary, hosts []string) bool {
	key := apexKey(c)
	return len(hosts) > 0 && !slices.ContainsFunc(hosts, func(h string) bool {
		return isService(h, key.Name, key.Namespace) || covers(h, key.Name, key.Namespace)
	})
}

// needsMesh tells whether requests inside the mesh for the apex Service need a VirtualService
// of their own, as the user's is for gateways or other hosts alone, or has no route for some
// sidecars: they do then as if it were not there. These requests are for every Canary whose
// gateways do not leave them out.
func needsMesh(route providers.Route, users *original) bool {
	c := route.Canary
	own := c.Spec.Service.Gateways
	if users == nil || c.Spec.Service.Delegation || len(own) > 0 && !slices.Contains(own, meshGateway) {
		return false
	}
	return forOthers(c, hostsOf(c, users)) || !slices.Contains(gatewaysOf(c, users), meshGateway) || users.leavesOut(route)
}

// leavesOut tells whether there is a sidecar, or a port of the Services, for which none of the
// routes to be shared out or of others is.
func (o *original) leavesOut(route providers.Route) bool {
	if len(route.Canary.Spec.Service.Match) > 0 || !o.sharesHTTP(route.Canary) {
		return false // ours is for all
	}
	ports := []int32{route.Canary.Spec.Service.Port}
	for _, p := range route.Ports {
		ports = append(ports, p.Port)
	}
	return slices.ContainsFunc(ports, func(port int32) bool {
		forAll := func(m *networking.HTTPMatchRequest) bool {
			inside := len(m.Gateways) == 0 || slices.Contains(m.Gateways, meshGateway)
			return inside && !sourceCounts(m) && (m.Port == 0 || int64(m.Port) == int64(port))
		}
		return !slices.ContainsFunc(o.http, func(r *networking.HTTPRoute) bool {
			return len(r.Match) == 0 || slices.ContainsFunc(r.Match, forAll)
		})
	})
}

func gatewaysOf(c *v1beta1.Canary, users *original) []string {
	switch {
	case len(c.Spec.Service.Gateways) > 0:
		return slices.Clone(c.Spec.Service.Gateways)
	case users != nil && len(users.gateways) > 0:
		return slices.Clone(users.gateways)
	default:
		return []string{meshGateway}
	}
}

// gatewayName is a gateway's in full, for a VirtualService of the namespace.
func gatewayName(gateway, namespace string) string {
	if gateway == meshGateway || strings.Contains(gateway, "/") {
		return gateway
	}
	return namespace + "/" + gateway
}

// gatewaysFor are those of a VirtualService, in full.
func gatewaysFor(gateways []string, namespace string) []string {
	if len(gateways) == 0 {
		return []string{meshGateway}
	}
	out := make([]string, len(gateways))
	for i, g := range gateways {
		out[i] = gatewayName(g, namespace)
	}
	return out
}

// hostKey is a host of an object of the namespace, in the one spelling by which it is found:
// NAME.NAMESPACE for a Service.
func hostKey(host, namespace string) string {
	if !strings.Contains(host, ".") && host != "*" {
		return host + "." + namespace
	}
	if name, rest, _ := strings.Cut(host, "."); name != "*" {
		if ns, domain, _ := strings.Cut(rest, "."); domain == "svc" || strings.HasPrefix(domain, "svc.") {
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
		if name, namespace, ok := strings.Cut(hostKey(h, o.GetNamespace()), "."); ok && name != "*" && !strings.Contains(namespace, ".") {
			out = append(out, types.NamespacedName{Namespace: namespace, Name: name})
		}
	}
	return out
}

// byPort tells Istio the port where it can't know it: the Services have several, and the
// request comes through a gateway. It gives the alternatives of a match for gateways, which
// are to be led to the Canary's port, and those for sidecars, whose requests name one
// themselves; each is false where none is left.
func byPort(ms matches, gateways []string) (outside matches, isOutside bool, inside matches, isInside bool) {
	via := slices.DeleteFunc(slices.Clone(gateways), func(g string) bool { return g == meshGateway })
	switch {
	case len(via) == 0:
		return nil, false, ms, true
	case len(via) == len(gateways):
		return ms, true, nil, false
	}
	if len(ms) == 0 {
		ms = matches{{}}
	}
	for _, m := range ms {
		named := slices.DeleteFunc(slices.Clone(m.Gateways), func(g string) bool { return g == meshGateway })
		switch {
		case sourceCounts(m): // which is known to sidecars alone, and not where gateways are named
			inside = append(inside, m)
		case len(m.Gateways) == 0:
			outside, inside = append(outside, withGateways(m, via)), append(inside, withGateways(m, []string{meshGateway}))
		default:
			if len(named) > 0 {
				outside = append(outside, withGateways(m, named))
			}
			if len(named) < len(m.Gateways) {
				inside = append(inside, withGateways(m, []string{meshGateway}))
			}
		}
	}
	return outside, len(outside) > 0, inside, len(inside) > 0
}

func withGateways(m *networking.HTTPMatchRequest, gateways []string) *networking.HTTPMatchRequest {
	m = m.DeepCopy()
	m.Gateways = gateways
	return m
}
