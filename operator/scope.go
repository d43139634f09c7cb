package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/operator/canary"
	"github.com/sluice-delivery/sluice/operator/shards"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/factory"
)

// scopeOptions say what of the cluster the operator has to do with, and so needs rights on.
type scopeOptions struct {
	// providers are the meshes that Canaries may have; none are all.
	providers []string
	// secrets are the namespaces whose Secrets may be read; none are all.
	secrets []string
	// selector selects the Canaries by their labels, as Kubernetes writes it; empty are all.
	selector string
}

func (o *scopeOptions) register(f *flag.FlagSet) {
	f.StringVar(&o.selector, "watch-label-selector", "", "serve only the Canaries whose labels it selects, such as sluice.dev/shard=a or !sluice.dev/shard; all without it. Operators that share a fleet have one each, and each Canary must be one's")
	f.Var((*list)(&o.providers), "providers", "mesh providers, comma separated, that Canaries may have; all without it. The operator needs no rights on the kinds of others")
	f.Var((*list)(&o.secrets), "secret-namespaces", "namespaces, comma separated, whose Secrets the operator may read for hooks, alerts and metrics servers; all without it. It needs -enable-config-tracking=false, as that is about the Secrets of all targets")
}

func (o *scopeOptions) check(meshProvider string, configTracking bool) error {
	for _, name := range o.providers {
		if !slices.Contains(factory.Names(), name) {
			return fmt.Errorf("-providers: %q is none of %s", name, strings.Join(factory.Names(), ", "))
		}
	}
	if _, err := shards.New(o.selector); err != nil {
		return fmt.Errorf("-watch-label-selector: %w", err)
	}
	switch {
	case len(o.providers) > 0 && !slices.Contains(o.providers, meshProvider):
		return fmt.Errorf("-providers: %s lack that of Canaries that name none, -mesh-provider %s", strings.Join(o.providers, ", "), meshProvider)
	case len(o.secrets) > 0 && configTracking:
		return fmt.Errorf("-secret-namespaces: it needs -enable-config-tracking=false, as the Secrets that targets use are tracked in all namespaces")
	}
	return nil
}

// lease is the name of the lease that the leader of all replicas holds: those of one shard have one.
func (o *scopeOptions) lease() string {
	if o.selector == "" {
		return leaderLease
	}
	sum := sha256.Sum256([]byte(o.selector))
	return leaderLease + "-" + hex.EncodeToString(sum[:])[:8]
}

// serves tells whether Canaries may have a mesh provider.
func (o *scopeOptions) serves(provider string) bool {
	return len(o.providers) == 0 || slices.Contains(o.providers, provider)
}

// router makes the router of a mesh provider that Canaries may have.
func (o *scopeOptions) router(name string, deps factory.Deps) (providers.Router, error) {
	router, err := factory.New(name, deps)
	var unknown *providers.UnknownRouterError
	switch {
	case errors.As(err, &unknown) && len(o.providers) > 0:
		return nil, &providers.UnknownRouterError{Name: name, Known: o.providers, Instead: unknown.Instead}
	case err == nil && !o.serves(name):
		return nil, &providers.UnknownRouterError{Name: name, Known: o.providers, Instead: "the operator's -providers leaves it out"}
	default:
		return router, err
	}
}

// watches are those of the providers that Canaries may have.
func (o *scopeOptions) watches() []providers.Watch {
	return slices.DeleteFunc(factory.Watches(), func(w providers.Watch) bool { return !slices.ContainsFunc(w.Providers, o.serves) })
}

// caches are the settings of the kinds that need some.
func (o *scopeOptions) caches() map[client.Object]cache.ByObject {
	out := canary.Caches()
	if len(o.secrets) == 0 {
		return out
	}
	namespaces := cachesOf(o.secrets)
	for kind, settings := range out {
		if _, ok := kind.(*corev1.Secret); ok {
			settings.Namespaces = namespaces
			out[kind] = settings
		}
	}
	return out
}

// cachesOf are the settings of a cache that has some namespaces only.
func cachesOf(namespaces []string) map[string]cache.Config {
	out := map[string]cache.Config{}
	for _, name := range namespaces {
		out[name] = cache.Config{}
	}
	return out
}
