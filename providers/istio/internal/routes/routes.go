// Package routes writes the routes of VirtualServices by which the primary and the canary share
// out what is for the apex Service, and reads the shares back.
package routes

import (
	"slices"

	networking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/istio/internal/hosts"
	"github.com/sluice-delivery/sluice/providers/istio/internal/original"
	"github.com/sluice-delivery/sluice/providers/istio/internal/settings"
)

// VirtualServices are that of the apex Service's name, built on the user's if there is one, and
// that for requests inside the mesh, which is nil unless the user's is for other hosts.
func VirtualServices(route providers.Route, users *original.VirtualService) (apex, mesh *networkingv1.VirtualService, err error) {
	c := route.Canary
	delegation := c.Spec.Service.Delegation
	if delegation && len(c.Spec.Service.Hosts)+len(c.Spec.Service.Gateways) > 0 {
		return nil, nil, &providers.InvalidError{
			Field: "spec.service.delegation", Value: "true",
			Allowed: "a VirtualService that is delegated to has no hosts and gateways: remove spec.service.hosts and spec.service.gateways",
		}
	}
	if delegation && settings.ProtocolOf(route) == settings.TCP {
		return nil, nil, &providers.InvalidError{Field: "spec.service.delegation", Value: "true", Allowed: "Istio delegates no connections, only HTTP"}
	}
	apex = &networkingv1.VirtualService{ObjectMeta: settings.Metadata(c)}
	if !delegation {
		apex.Spec.Hosts, apex.Spec.Gateways = hostsAndGateways(c, users)
	}
	all := []*networkingv1.VirtualService{apex}
	if needsMesh(route, users) {
		mesh = &networkingv1.VirtualService{ObjectMeta: settings.Metadata(c)}
		mesh.Name = settings.MeshKey(c).Name
		mesh.Spec.Hosts, mesh.Spec.Gateways = []string{apex.Name}, []string{hosts.Mesh}
		all = append(all, mesh)
	}
	if err := fill(route, users, all); err != nil {
		return nil, nil, err
	}
	return apex, mesh, nil
}

func hostsAndGateways(c *v1beta1.Canary, users *original.VirtualService) (names, gateways []string) {
	if users == nil {
		return settings.Hosts(c, nil), settings.Gateways(c, nil)
	}
	return settings.Hosts(c, users.Hosts), settings.Gateways(c, users.Gateways)
}

// fill gives VirtualServices, the first of which is built on the user's, their routes.
func fill(route providers.Route, users *original.VirtualService, all []*networkingv1.VirtualService) error {
	requested, reached := false, false
	for _, vs := range all {
		s := newScope(route, vs.Spec.Gateways)
		r, err := newRequests(s, users)
		if err != nil {
			return err
		}
		if err := fillSpec(&vs.Spec, r, connections{scope: s, users: users}, settings.ProtocolOf(route)); err != nil {
			return err
		}
		users = nil
		requested = requested || len(vs.Spec.Http) > 0
		reached = reached || reachesCanary(vs.Spec.Http, route.Canary)
	}
	if !requested {
		return needsRequests(route.Canary, route.Traffic)
	}
	if route.Traffic.Matched && !reached {
		return &providers.InvalidError{Field: "spec.analysis.match", Value: "", Allowed: "it must match some of the requests that the route is for"}
	}
	return nil
}

func fillSpec(spec *networking.VirtualService, r *requests, c connections, speaks settings.Protocol) (err error) {
	connects := c.users != nil && (c.users.SharesTCP(c.canary) || c.users.SharesTLS(c.canary))
	inside := slices.Contains(spec.Gateways, hosts.Mesh) && !settings.ForOthers(c.canary, spec.Hosts)
	spec.Tls = c.tls()
	if spec.Tcp, err = c.tcp(speaks == settings.TCP); err != nil {
		return err
	}
	// A user's VirtualService by which a gateway leads connections to the application is not
	// to serve requests as well.
	spec.Http, err = r.routes(speaks == settings.HTTP && (!connects || inside))
	return err
}

// needsMesh tells whether requests inside the mesh for the apex Service need a VirtualService
// of their own, as the user's is for gateways or other hosts alone, or has no route for some
// sidecars: they do then as if it were not there. These requests are for every Canary whose
// gateways do not leave them out.
func needsMesh(route providers.Route, users *original.VirtualService) bool {
	c := route.Canary
	own := c.Spec.Service.Gateways
	if users == nil || c.Spec.Service.Delegation || len(own) > 0 && !slices.Contains(own, hosts.Mesh) {
		return false
	}
	names, gateways := hostsAndGateways(c, users)
	return settings.ForOthers(c, names) || !slices.Contains(gateways, hosts.Mesh) || users.LeavesOut(route)
}

// Supported refuses what Istio would take without any effect on requests. Without an
// analysis there is nothing to share out.
func Supported(route providers.Route, users *original.VirtualService) error {
	c := route.Canary
	if c.Spec.SkipAnalysis {
		return nil
	}
	refused := func(field, why string) error {
		return &providers.UnsupportedError{Router: v1beta1.ProviderIstio, Field: field, Why: why}
	}
	if settings.ProtocolOf(route) == settings.TLS && (users == nil || !users.SharesTLS(c)) {
		return refused("spec.service.appProtocol", "only tls routes by SNI share out connections that the application encrypts itself: give VirtualService "+
			settings.Apex(c).String()+" some that lead to the apex Service, or let the mesh encrypt")
	}
	return nil
}

// needsRequests refuses what connections don't have. It is for a Canary of which all traffic
// is connections.
func needsRequests(c *v1beta1.Canary, traffic providers.Traffic) error {
	a := c.GetAnalysis()
	asked := (len(a.Match) > 0 || a.Mirror || a.SessionAffinity != nil) && !c.Spec.SkipAnalysis
	if asked || traffic.Matched || traffic.Mirror > 0 || traffic.Sessions != (providers.Sessions{}) {
		return &providers.InvalidError{
			Field: "spec.service.appProtocol", Value: c.Spec.Service.AppProtocol,
			Allowed: "connections have no headers and cookies: spec.analysis.match, mirror and sessionAffinity need HTTP",
		}
	}
	return nil
}
