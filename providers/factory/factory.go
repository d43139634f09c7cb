// Package factory is the one table of routers by name. It is the only package
// that imports their implementations.
package factory

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/apisix"
	"github.com/sluice-delivery/sluice/providers/consul"
	"github.com/sluice-delivery/sluice/providers/contour"
	"github.com/sluice-delivery/sluice/providers/gatewayapi"
	"github.com/sluice-delivery/sluice/providers/istio"
	"github.com/sluice-delivery/sluice/providers/knative"
	"github.com/sluice-delivery/sluice/providers/kubernetes"
	"github.com/sluice-delivery/sluice/providers/kuma"
	"github.com/sluice-delivery/sluice/providers/linkerd"
	"github.com/sluice-delivery/sluice/providers/nginx"
	"github.com/sluice-delivery/sluice/providers/skipper"
	"github.com/sluice-delivery/sluice/providers/ssa"
	"github.com/sluice-delivery/sluice/providers/traefik"
)

// Deps are what routers work with, for the cluster that has the objects of the mesh.
type Deps struct {
	// Client reads from informer caches. Its scheme needs the kinds of the meshes.
	Client client.Client
	// Live reads from the API server what the caches do not have as it is.
	Live client.Reader
	// Applier is the operator's one Applier over Client.
	Applier *ssa.Applier
	// Clock tells the time.
	Clock clock.Clock
	// Consul says how to reach Consul; the zero value leaves it to Consul's environment.
	Consul Consul
	// IngressPrefix is what the annotations of ingress-nginx begin with; empty: its own default.
	IngressPrefix string
	// IngressClass is the ingress class of the HTTPProxies that are made; empty for Contour's default.
	IngressClass string
	// Remote says that the Canaries are in another cluster, so that objects must have no
	// owner references to them.
	Remote bool
}

// IngressPrefix is what the annotations of ingress-nginx begin with by default.
const IngressPrefix = nginx.DefaultPrefix

// Consul says how to reach Consul.
type Consul = consul.Config

// remote are the routers that can work for Canaries of another cluster.
var remote = []string{v1beta1.ProviderIstio}

// New returns the router of that name, as users write it in spec.provider. An
// unknown name is a *providers.UnknownRouterError, never another mesh.
func New(name string, deps Deps) (providers.Router, error) {
	construct, ok := table()[name]
	if !ok {
		return nil, &providers.UnknownRouterError{Name: name, Known: Names(), Instead: instead(name)}
	}
	if deps.Remote && !slices.Contains(remote, name) {
		return nil, fmt.Errorf("provider %q does not write to another cluster (-kubeconfig-service-mesh); %s does", name, strings.Join(remote, ", "))
	}
	return construct(deps), nil
}

// Names returns the names of all routers, sorted.
func Names() []string { return slices.Sorted(maps.Keys(table())) }

func table() map[string]func(Deps) providers.Router {
	out := map[string]func(Deps) providers.Router{
		v1beta1.ProviderAPISIX:  func(d Deps) providers.Router { return apisix.New(d.Client, d.Applier) },
		v1beta1.ProviderKuma:    func(d Deps) providers.Router { return kuma.New(d.Client, d.Applier) },
		v1beta1.ProviderSkipper: func(d Deps) providers.Router { return skipper.New(d.Client, d.Applier) },
		v1beta1.ProviderKnative: func(d Deps) providers.Router { return knative.New(d.Client, d.Applier) },
		v1beta1.ProviderContour: func(d Deps) providers.Router { return contour.New(d.Client, d.Applier, d.IngressClass) },
		v1beta1.ProviderConsul:  func(d Deps) providers.Router { return consul.New(d.Consul, d.Clock) },
		v1beta1.ProviderIstio: func(d Deps) providers.Router {
			return istio.New(istio.Config{Client: d.Client, Live: d.Live, Applier: d.Applier, Remote: d.Remote})
		},
		v1beta1.ProviderLinkerd:    func(d Deps) providers.Router { return linkerd.New(d.Client, d.Applier) },
		v1beta1.ProviderNGINX:      func(d Deps) providers.Router { return nginx.New(d.Client, d.Applier, d.IngressPrefix) },
		v1beta1.ProviderTraefik:    func(d Deps) providers.Router { return traefik.New(d.Client, d.Applier) },
		v1beta1.ProviderKubernetes: func(d Deps) providers.Router { return kubernetes.New(d.Client) },
	}
	for _, name := range gatewayAPINames() {
		out[name] = func(d Deps) providers.Router { return gatewayapi.New(d.Client, d.Live, d.Applier, name) }
	}
	return out
}
