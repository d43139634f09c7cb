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
		"appmesh": "AWS App Mesh has come to its end; move to one of the known ones",
		"gloo":    "Gloo Edge comes to its end in 2026; its successor kgateway serves the Gateway API, with " + gatewayAPI,
		"osm":     "Open Service Mesh is archived; move to one of the known ones",
		"smi":     "the Service Mesh Interface is archived; Linkerd has its own provider, " + v1beta1.ProviderLinkerd,
		"knative": "Knative is not served; it shares out requests by its own spec.traffic",
	}[name]
}
