// Package rivals finds VirtualServices of others that Istio prefers to those of a Canary.
//
// Of several VirtualServices for one host sidecars go by one alone: by one that is only for
// their namespace, else by the oldest. Gateways go by all of them, route after route of the
// oldest first, those that take everything last.
package rivals

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers/istio/internal/hosts"
	"github.com/sluice-delivery/sluice/providers/istio/internal/match"
	"github.com/sluice-delivery/sluice/providers/istio/internal/objects"
	"github.com/sluice-delivery/sluice/providers/istio/internal/settings"
)

// Finder finds rivals.
type Finder struct{ objects objects.Reader }

// NewFinder returns a finder of what a reader reads.
func NewFinder(r objects.Reader) Finder { return Finder{objects: r} }

// Versions is what the rivals of a Canary's VirtualServices depend on: others' versions.
func (f Finder) Versions(ctx context.Context, c *v1beta1.Canary, live *networkingv1.VirtualService) (string, error) {
	apex := settings.Apex(c)
	names := append([]string{apex.Name}, c.Spec.Service.Hosts...)
	names = append(names, live.Spec.Hosts...)
	var versions []string
	for _, host := range slices.Compact(slices.Sorted(slices.Values(names))) {
		found := &networkingv1.VirtualServiceList{}
		if err := f.objects.List(ctx, found, hosts.Key(host, c.Namespace)); err != nil {
			return "", err
		}
		for _, vs := range found.Items {
			if vs.Namespace != apex.Namespace || vs.Name != apex.Name && vs.Name != settings.MeshKey(c).Name {
				versions = append(versions, vs.Namespace+"/"+vs.Name+" "+vs.ResourceVersion)
			}
		}
	}
	slices.Sort(versions)
	return strings.Join(slices.Compact(versions), " "), nil
}

// Of says which VirtualServices Istio prefers to those that we write for a Canary, empty for none.
// owner is whose these are, and live is the one of the apex Service's name as it is.
func (f Finder) Of(ctx context.Context, c *v1beta1.Canary, owner ownership.Owner, wanted []*networkingv1.VirtualService, live *networkingv1.VirtualService) (string, error) {
	for _, ours := range wanted {
		now := live
		if ours.Name != live.Name {
			now = &networkingv1.VirtualService{}
			if _, err := f.objects.Get(ctx, client.ObjectKeyFromObject(ours), now); err != nil {
				return "", err
			}
		}
		for _, host := range ours.Spec.Hosts {
			found := &networkingv1.VirtualServiceList{}
			if err := f.objects.List(ctx, found, hosts.Key(host, ours.Namespace)); err != nil {
				return "", err
			}
			for _, other := range found.Items {
				oneOfOurs := other.Namespace == ours.Namespace && (other.Name == settings.Apex(c).Name || owner.Owns(other))
				if !oneOfOurs && hasHost(other, host, ours.Namespace) && prevails(other, now, ours, c) {
					return fmt.Sprintf("Istio goes by VirtualService %s/%s, which has the host %s too and comes first: take the host from it, delete it, or put its routes into VirtualService %s",
						other.Namespace, other.Name, host, ours.Name), nil
				}
			}
		}
	}
	return "", nil
}

// hasHost tells whether a VirtualService is for the host that one of the namespace names. A name
// with a dot is no short one.
func hasHost(vs *networkingv1.VirtualService, host, namespace string) bool {
	full := func(h, namespace string) string {
		if key := hosts.Key(h, namespace); key != h {
			return key + ".svc"
		}
		return h
	}
	return slices.ContainsFunc(vs.Spec.Hosts, func(h string) bool { return full(h, vs.Namespace) == full(host, namespace) })
}

// prevails tells whether other takes what is for ours, which is now in the cluster as it
// was before.
func prevails(other, now, ours *networkingv1.VirtualService, c *v1beta1.Canary) bool {
	if !other.DeletionTimestamp.IsZero() || other.Namespace != ours.Namespace && !objects.Exported(other.Spec.ExportTo, other.Namespace, "") {
		return false // only some see it
	}
	first := now.CreationTimestamp.IsZero() || objects.Older(other, now) // what is not there yet comes last
	gateways := hosts.Gateways(other.Spec.Gateways, other.Namespace)
	for _, g := range hosts.Gateways(ours.Spec.Gateways, ours.Namespace) {
		if !slices.Contains(gateways, g) {
			continue
		}
		switch {
		case g != hosts.Mesh:
			if first && takes(other, ours, g) {
				return true
			}
		case first || private(other) && !private(now):
			if insideMesh(other, ours, c) {
				return true
			}
		}
	}
	return false
}

// private tells whether it is for its own namespace, where sidecars then go by it first.
func private(vs *networkingv1.VirtualService) bool {
	return len(vs.Spec.ExportTo) > 0 && !slices.Contains(vs.Spec.ExportTo, "*")
}

// insideMesh tells whether other has routes for what ours shares out inside the mesh.
func insideMesh(other, ours *networkingv1.VirtualService, c *v1beta1.Canary) bool {
	port := uint32(c.Spec.Service.Port) //nolint:gosec // 1 to 65535 by the schema
	if len(ours.Spec.Http) > 0 {
		return slices.ContainsFunc(other.Spec.Http, func(r *networking.HTTPRoute) bool {
			return len(r.Match) == 0 || slices.ContainsFunc(r.Match, func(m *networking.HTTPMatchRequest) bool {
				return (m.Port == 0 || m.Port == port) && (len(m.Gateways) == 0 || slices.Contains(m.Gateways, hosts.Mesh))
			})
		})
	}
	return len(ours.Spec.Tcp) > 0 && len(other.Spec.Tcp) > 0 || len(ours.Spec.Tls) > 0 && len(other.Spec.Tls) > 0
}

// takes tells whether other has, at a gateway, all that reaches a route of ours.
func takes(other, ours *networkingv1.VirtualService, gateway string) bool {
	for _, r := range ours.Spec.Http {
		for _, m := range match.OrAny(r.Match) {
			taken := !match.AtGateway(m, ours.Namespace, gateway) || slices.ContainsFunc(other.Spec.Http, func(o *networking.HTTPRoute) bool {
				return slices.ContainsFunc(match.OrAny(o.Match), func(n *networking.HTTPMatchRequest) bool {
					return match.AtGateway(n, other.Namespace, gateway) && proto.Equal(match.Condition(m), match.Condition(n))
				})
			})
			if !taken {
				return false
			}
		}
	}
	return len(ours.Spec.Http) > 0
}
