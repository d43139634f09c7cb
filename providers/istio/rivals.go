package istio

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// Of several VirtualServices for one host sidecars go by one alone: by one that is only for
// their namespace, else by the oldest. Gateways go by all of them, route after route of the
// oldest first, those that take everything last.

// sharing is what the rivals of a Canary's VirtualServices depend on: others' versions.
func (r *Router) sharing(ctx context.Context, c *v1beta1.Canary, live *networkingv1.VirtualService) (string, error) {
	apex := apexKey(c)
	hosts := append([]string{apex.Name}, c.Spec.Service.Hosts...)
	hosts = append(hosts, live.Spec.Hosts...)
	var versions []string
	for _, host := range slices.Compact(slices.Sorted(slices.Values(hosts))) {
		found := &networkingv1.VirtualServiceList{}
		if err := r.list(ctx, found, hostKey(host, c.Namespace)); err != nil {
			return "", err
		}
		for _, vs := range found.Items {
			if vs.Namespace != apex.Namespace || vs.Name != apex.Name && vs.Name != apex.Name+meshSuffix {
				versions = append(versions, vs.Namespace+"/"+vs.Name+" "+vs.ResourceVersion)
			}
		}
	}
	slices.Sort(versions)
	return strings.Join(slices.Compact(versions), " "), nil
}

// rivals says which VirtualServices Istio prefers to those that we write, empty for none. live is the
// one of the apex Service's name as it is.
func (r *Router) rivals(ctx context.Context, route providers.Route, intents []intent, live *networkingv1.VirtualService) (string, error) {
	for _, i := range intents {
		ours, ok := i.object.(*networkingv1.VirtualService)
		if !ok || i.absent {
			continue
		}
		now := live
		if ours.Name != live.Name {
			now = &networkingv1.VirtualService{}
			if _, err := r.get(ctx, client.ObjectKeyFromObject(ours), now); err != nil {
				return "", err
			}
		}
		for _, host := range ours.Spec.Hosts {
			found := &networkingv1.VirtualServiceList{}
			if err := r.list(ctx, found, hostKey(host, ours.Namespace)); err != nil {
				return "", err
			}
			for _, other := range found.Items {
				oneOfOurs := other.Namespace == ours.Namespace && (other.Name == apexKey(route.Canary).Name || r.owner(route).Owns(other))
				if !oneOfOurs && hasHost(other, host, ours.Namespace) && prevails(other, now, ours, route.Canary) {
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
		if key := hostKey(h, namespace); key != h {
			return key + ".svc"
		}
		return h
	}
	return slices.ContainsFunc(vs.Spec.Hosts, func(h string) bool { return full(h, vs.Namespace) == full(host, namespace) })
}

// prevails tells whether other takes what is for ours, which is now in the cluster as it
// was before.
func prevails(other, now, ours *networkingv1.VirtualService, c *v1beta1.Canary) bool {
	if !other.DeletionTimestamp.IsZero() || other.Namespace != ours.Namespace && !exported(other.Spec.ExportTo, other.Namespace, "") {
		return false // only some see it
	}
	first := now.CreationTimestamp.IsZero() || older(other, now) // what is not there yet comes last
	gateways := gatewaysFor(other.Spec.Gateways, other.Namespace)
	for _, g := range gatewaysFor(ours.Spec.Gateways, ours.Namespace) {
		if !slices.Contains(gateways, g) {
			continue
		}
		switch {
		case g != meshGateway:
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
				return (m.Port == 0 || m.Port == port) && (len(m.Gateways) == 0 || slices.Contains(m.Gateways, meshGateway))
			})
		})
	}
	return len(ours.Spec.Tcp) > 0 && len(other.Spec.Tcp) > 0 || len(ours.Spec.Tls) > 0 && len(other.Spec.Tls) > 0
}

// takes tells whether other has, at a gateway, all that reaches a route of ours.
func takes(other, ours *networkingv1.VirtualService, gateway string) bool {
	for _, r := range ours.Spec.Http {
		for _, m := range orAny(r.Match) {
			taken := !atGateway(m, ours.Namespace, gateway) || slices.ContainsFunc(other.Spec.Http, func(o *networking.HTTPRoute) bool {
				return slices.ContainsFunc(orAny(o.Match), func(n *networking.HTTPMatchRequest) bool {
					return atGateway(n, other.Namespace, gateway) && proto.Equal(condition(m), condition(n))
				})
			})
			if !taken {
				return false
			}
		}
	}
	return len(ours.Spec.Http) > 0
}

func orAny(ms matches) matches {
	if len(ms) == 0 {
		return matches{{}}
	}
	return ms
}

func atGateway(m *networking.HTTPMatchRequest, namespace, gateway string) bool {
	return len(m.Gateways) == 0 || slices.Contains(gatewaysFor(m.Gateways, namespace), gateway)
}

// condition is what a match says of a request.
func condition(m *networking.HTTPMatchRequest) *networking.HTTPMatchRequest {
	m = proto.CloneOf(m)
	m.Name, m.StatPrefix, m.Gateways = "", "", nil
	if anyString("uri", m.Uri) {
		m.Uri = nil
	}
	return m
}
