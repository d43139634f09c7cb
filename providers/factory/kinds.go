package factory

import (
	"fmt"

	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/apisix"
	"github.com/sluice-delivery/sluice/providers/contour"
	"github.com/sluice-delivery/sluice/providers/gatewayapi"
	"github.com/sluice-delivery/sluice/providers/istio"
	"github.com/sluice-delivery/sluice/providers/kuma"
	"github.com/sluice-delivery/sluice/providers/linkerd"
	"github.com/sluice-delivery/sluice/providers/traefik"
)

// AddToScheme registers the kinds of all meshes.
func AddToScheme(s *runtime.Scheme) error {
	for _, add := range []func(*runtime.Scheme) error{
		networkingv1.AddToScheme, istionetworking.AddToScheme, gatewayv1.Install, gatewayv1beta1.Install, linkerd.AddToScheme, traefik.AddToScheme,
		contour.AddToScheme, apisix.AddToScheme, kuma.AddToScheme, knative.AddToScheme,
	} {
		if err := add(s); err != nil {
			return fmt.Errorf("kinds of the meshes: %w", err)
		}
	}
	return nil
}

// Watches returns what is to be watched, so that a change that somebody makes, or the word
// of a mesh's controller, is acted on at once. The kinds of a mesh may not be served.
func Watches() []providers.Watch {
	routes := []client.Object{&gatewayv1.HTTPRoute{}, &gatewayv1beta1.HTTPRoute{}}
	rpcs := []client.Object{&gatewayv1.GRPCRoute{}}
	var mesh [][]client.Object
	for _, kind := range linkerd.Kinds() {
		mesh = append(mesh, []client.Object{kind})
	}
	return []providers.Watch{
		{
			Providers: []string{v1beta1.ProviderIstio}, Always: true,
			Kinds: [][]client.Object{{&istionetworking.VirtualService{}}, {&istionetworking.DestinationRule{}}},
			Index: istio.Index, About: istio.About(),
		},
		{
			Providers: append(gatewayAPINames(), v1beta1.ProviderLinkerd),
			Kinds:     [][]client.Object{routes, rpcs}, Index: gatewayapi.Index, About: gatewayapi.About(),
		},
		{Providers: []string{v1beta1.ProviderLinkerd}, Kinds: mesh, Index: linkerd.Index, About: linkerd.About()},
		{Providers: []string{v1beta1.ProviderTraefik}, Kinds: [][]client.Object{{&traefik.TraefikService{}}}},
		{Providers: []string{v1beta1.ProviderContour}, Kinds: [][]client.Object{{&contour.HTTPProxy{}}}},
		{Providers: []string{v1beta1.ProviderAPISIX}, Kinds: [][]client.Object{{&apisix.ApisixRoute{}}}, About: apisix.About()},
		{Providers: []string{v1beta1.ProviderKnative}, Kinds: [][]client.Object{{&knative.Service{}}}},
		{Providers: []string{v1beta1.ProviderKuma}, Kinds: [][]client.Object{{&kuma.TrafficRoute{}}}, About: kuma.About()},
		{Providers: []string{v1beta1.ProviderNGINX, v1beta1.ProviderSkipper}, Kinds: [][]client.Object{{&networkingv1.Ingress{}}}},
	}
}

// gatewayAPINames are what Flagger calls the router for the Gateway API. The objects are the
// same in all versions of it, so the cluster decides which one is written.
func gatewayAPINames() []string {
	return []string{v1beta1.ProviderGatewayAPI, v1beta1.ProviderGatewayAPIV1Beta1, v1beta1.ProviderGatewayAPIAny}
}
