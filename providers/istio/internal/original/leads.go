package original

import (
	"encoding/json"
	"slices"

	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/istio/internal/hosts"
	"github.com/sluice-delivery/sluice/providers/istio/internal/match"
	"github.com/sluice-delivery/sluice/providers/istio/internal/settings"
)

// LeavesOut tells whether there is a sidecar, or a port of the Services, for which none of the
// routes to be shared out or of others is.
func (o *VirtualService) LeavesOut(route providers.Route) bool {
	if len(route.Canary.Spec.Service.Match) > 0 || !o.SharesHTTP(route.Canary) {
		return false // ours is for all
	}
	ports := []int32{route.Canary.Spec.Service.Port}
	for _, p := range route.Ports {
		ports = append(ports, p.Port)
	}
	return slices.ContainsFunc(ports, func(port int32) bool {
		forAll := func(m *networking.HTTPMatchRequest) bool {
			inside := len(m.Gateways) == 0 || slices.Contains(m.Gateways, hosts.Mesh)
			return inside && !match.SourceCounts(m) && (m.Port == 0 || int64(m.Port) == int64(port))
		}
		return !slices.ContainsFunc(o.HTTP, func(r *networking.HTTPRoute) bool {
			return len(r.Match) == 0 || slices.ContainsFunc(r.Match, forAll)
		})
	})
}

// SharesHTTP tells whether a route of the user's leads to the apex Service.
func (o *VirtualService) SharesHTTP(c *v1beta1.Canary) bool {
	return slices.ContainsFunc(o.HTTP, func(r *networking.HTTPRoute) bool {
		return slices.ContainsFunc(r.GetRoute(), func(d *networking.HTTPRouteDestination) bool { return settings.IsApex(c, d.GetDestination()) })
	})
}

// SharesTCP is the same for connections.
func (o *VirtualService) SharesTCP(c *v1beta1.Canary) bool {
	return slices.ContainsFunc(o.TCP, func(r *networking.TCPRoute) bool { return settings.LeadToApex(c, r.GetRoute()) })
}

// SharesTLS is the same for connections that Istio leads by SNI.
func (o *VirtualService) SharesTLS(c *v1beta1.Canary) bool {
	return slices.ContainsFunc(o.TLS, func(r *networking.TLSRoute) bool { return settings.LeadToApex(c, r.GetRoute()) })
}

// TakenOverBefore tells whether another operator leads the traffic by a user's object.
func TakenOverBefore(vs *networkingv1.VirtualService, c *v1beta1.Canary) bool {
	o := map[string]any{}
	raw, err := json.Marshal(&vs.Spec)
	return err == nil && json.Unmarshal(raw, &o) == nil && overwritten(o, c)
}
