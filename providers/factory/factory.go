// Package factory is the one table of routers by name. It is the only package
// that imports their implementations.
package factory

import (
	"maps"
	"slices"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul"
	"github.com/sluice-delivery/sluice/providers/gatewayapi"
	"github.com/sluice-delivery/sluice/providers/istio"
	"github.com/sluice-delivery/sluice/providers/kubernetes"
	"github.com/sluice-delivery/sluice/providers/linkerd"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// Deps are what routers work with.
type Deps struct {
	// Client reads from informer caches. Its scheme needs the kinds of the meshes.
	Client client.Client
	// Applier is the operator's one Applier over Client.
	Applier *ssa.Applier
	// Clock tells the time.
	Clock clock.Clock
	// Consul says how to reach Consul; the zero value leaves it to Consul's environment.
	Consul Consul
}

// Consul says how to reach Consul.
type Consul = consul.Config

// New returns the router of that name, as users write it in spec.provider. An
// unknown name is a *providers.UnknownRouterError, never another mesh.
func New(name string, deps Deps) (providers.Router, error) {
	construct, ok := table()[name]
	if !ok {
		return nil, &providers.UnknownRouterError{Name: name, Known: Names()}
	}
	return construct(deps), nil
}

// Names returns the names of all routers, sorted.
func Names() []string { return slices.Sorted(maps.Keys(table())) }

func table() map[string]func(Deps) providers.Router {
	out := map[string]func(Deps) providers.Router{
		v1beta1.ProviderConsul:     func(d Deps) providers.Router { return consul.New(d.Consul, d.Clock) },
		v1beta1.ProviderIstio:      func(d Deps) providers.Router { return istio.New(d.Client, d.Applier) },
		v1beta1.ProviderLinkerd:    func(d Deps) providers.Router { return linkerd.New(d.Client, d.Applier) },
		v1beta1.ProviderKubernetes: func(d Deps) providers.Router { return kubernetes.New(d.Client) },
	}
	for _, name := range gatewayAPINames() {
		out[name] = func(d Deps) providers.Router { return gatewayapi.New(d.Client, d.Applier, name) }
	}
	return out
}
