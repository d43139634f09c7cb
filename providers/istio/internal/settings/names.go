package settings

import (
	"slices"

	networking "istio.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers/istio/internal/hosts"
)

// meshSuffix ends the name of the VirtualService for the apex Service inside the mesh
// that stands beside one of a user's for other hosts.
const meshSuffix = "-mesh"

// Apex is the name of the apex Service, and of the VirtualService for it.
func Apex(c *v1beta1.Canary) client.ObjectKey {
	apex, _, _ := c.ServiceNames()
	return client.ObjectKey{Namespace: c.Namespace, Name: apex}
}

// MeshKey is the name of the VirtualService for requests inside the mesh.
func MeshKey(c *v1beta1.Canary) client.ObjectKey {
	key := Apex(c)
	key.Name += meshSuffix
	return key
}

// Metadata is that of the VirtualService for the apex Service.
func Metadata(c *v1beta1.Canary) metav1.ObjectMeta {
	key := Apex(c)
	m := metav1.ObjectMeta{Name: key.Name, Namespace: key.Namespace, Labels: map[string]string{}, Annotations: map[string]string{}}
	if apex := c.Spec.Service.Apex; apex != nil {
		for k, v := range apex.Labels {
			m.Labels[k] = v
		}
		for k, v := range apex.Annotations {
			m.Annotations[k] = v
		}
	}
	// A VirtualService that Flux installed would be put back by it at every
	// reconciliation, in the middle of a release. These tell it not to.
	m.Annotations["kustomize.toolkit.fluxcd.io/reconcile"] = "disabled"
	m.Annotations["helm.toolkit.fluxcd.io/driftDetection"] = "disabled"
	return m
}

// Hosts is what the spec lists, else the user, and the apex Service, unless it is
// among them. A user's rules for other hosts alone are not to hold for the apex Service.
func Hosts(c *v1beta1.Canary, users []string) []string {
	key := Apex(c)
	listed := slices.Clone(c.Spec.Service.Hosts)
	if len(listed) == 0 {
		listed = slices.Clone(users)
		if ForOthers(c, listed) {
			return listed
		}
	}
	is := func(h string) bool {
		return hosts.IsHost(h, key.Name, key.Namespace) || hosts.Covers(h, key.Name, key.Namespace)
	}
	if slices.ContainsFunc(listed, is) {
		return listed
	}
	return append(listed, key.Name)
}

// ForOthers tells whether there are hosts, none of which is the apex Service in any spelling.
func ForOthers(c *v1beta1.Canary, names []string) bool {
	key := Apex(c)
	return len(names) > 0 && !slices.ContainsFunc(names, func(h string) bool {
		return hosts.IsService(h, key.Name, key.Namespace) || hosts.Covers(h, key.Name, key.Namespace)
	})
}

// Gateways are what the spec lists, else the user, else all sidecars.
func Gateways(c *v1beta1.Canary, users []string) []string {
	switch {
	case len(c.Spec.Service.Gateways) > 0:
		return slices.Clone(c.Spec.Service.Gateways)
	case len(users) > 0:
		return slices.Clone(users)
	default:
		return []string{hosts.Mesh}
	}
}

// IsApex tells whether a destination is the apex Service. One that names the primary's or the
// canary's Service means just that one.
func IsApex(c *v1beta1.Canary, d *networking.Destination) bool {
	apex, _, _ := c.ServiceNames()
	return hosts.IsService(d.GetHost(), apex, c.Namespace)
}

// LeadToApex tells whether one of the destinations of connections is the apex Service.
func LeadToApex(c *v1beta1.Canary, route []*networking.RouteDestination) bool {
	return slices.ContainsFunc(route, func(d *networking.RouteDestination) bool { return IsApex(c, d.GetDestination()) })
}
