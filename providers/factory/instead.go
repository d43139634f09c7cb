package factory

import (
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// instead says what a user can do of a provider that Flagger has and that is not served here, by the name before any
// version. It is empty for any other name.
func instead(name string) string {
	const gatewayAPI = v1beta1.ProviderGatewayAPI
	name, _, _ = strings.Cut(name, ":")
	return map[string]string{
		"appmesh": "AWS has ended App Mesh on September 30, 2026, and names VPC Lattice for EKS, whose controller serves the Gateway API, with " + gatewayAPI,
		"gloo":    "Gloo's RouteTables are not served; Gloo Gateway from 1.17 on, and kgateway, serve the Gateway API, with " + gatewayAPI,
		"osm":     "Open Service Mesh is archived, and AKS recommends to move to Istio, with " + v1beta1.ProviderIstio,
		"smi":     "the Service Mesh Interface is archived in favour of the Gateway API; Linkerd has provider " + v1beta1.ProviderLinkerd + ", and other meshes take routes whose parent is a Service, with " + gatewayAPI,
	}[name]
}
