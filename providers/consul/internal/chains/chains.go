// Package chains asks Consul whether it does what its config entries say: what proxies get is the
// discovery chain that is compiled from them.
package chains

import (
	"cmp"
	"context"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers/consul/internal/canaries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/plan"
	"github.com/sluice-delivery/sluice/providers/consul/internal/services"
)

// Asker is Consul as far as it compiles discovery chains.
type Asker interface {
	// Chain is the compiled discovery chain of a service.
	Chain(ctx context.Context, in entries.Scope, service string) (*api.CompiledDiscoveryChain, error)
}

// Confirmer knows for which Canaries Consul was seen to do what the entries say.
type Confirmer struct {
	consul   Asker
	canaries *canaries.Canaries
}

// NewConfirmer returns one that has not asked yet.
func NewConfirmer(consul Asker, of *canaries.Canaries) *Confirmer {
	return &Confirmer{consul: consul, canaries: of}
}

// Confirmed tells whether Consul's discovery chain does what the entries say. That is
// asked once for each state of the entries.
func (x *Confirmer) Confirmed(ctx context.Context, c *v1beta1.Canary, n services.Names, p plan.Plan, have entries.Set) (bool, error) {
	state := have.State()
	if x.canaries.Saw(c, canaries.Confirmed, state) {
		return true, nil
	}
	chain, err := x.consul.Chain(ctx, n.Scope, n.Apex)
	if err != nil {
		return false, err
	}
	lacks, err := lacking(chain, n, p)
	if err != nil {
		return false, err
	}
	if lacks != "" {
		x.canaries.Later(c) //nolint:contextcheck // that is after the end of this call
		return false, nil
	}
	x.canaries.See(c, canaries.Confirmed, state)
	return true, nil
}

// lacking says what a compiled discovery chain, which is what proxies get, lacks of what
// the plan asks, empty for nothing.
func lacking(chain *api.CompiledDiscoveryChain, n services.Names, p plan.Plan) (lacks string, err error) {
	start := chain.Nodes[chain.StartNode]
	if start == nil {
		return "it is empty", nil
	}
	for _, e := range p.Wanted {
		switch e.Kind {
		case api.ServiceSplitter:
			if lacks, err = splitsLacking(chain, n, e); lacks != "" || err != nil {
				return lacks, err
			}
		case api.ServiceRouter:
			if lacks, err = routesLacking(start, e); lacks != "" || err != nil {
				return lacks, err
			}
		}
	}
	router := func(e entries.Entry) bool { return e.Kind == api.ServiceRouter }
	if start.Type == api.DiscoveryGraphNodeTypeRouter && !contains(p.Wanted, router) {
		return "it still has a router", nil
	}
	return "", nil
}

func contains(in []entries.Entry, is func(entries.Entry) bool) bool {
	for _, e := range in {
		if is(e) {
			return true
		}
	}
	return false
}

// splitsLacking compares a splitter with its compiled form.
func splitsLacking(chain *api.CompiledDiscoveryChain, n services.Names, want entries.Entry) (lacks string, err error) {
	of := api.ServiceSplitterConfigEntry{}
	if err := want.Into(&of); err != nil {
		return "", err
	}
	node := splitterNode(chain, n, want.Name)
	if node == nil {
		return "it has no splitter " + want.Name, nil
	}
	if len(node.Splits) != len(of.Splits) {
		return fmt.Sprintf("its splitter %s has %d splits", want.Name, len(node.Splits)), nil
	}
	for i, split := range node.Splits {
		to := of.Splits[i].Service
		if to == n.Canary && n.Aliased {
			to = n.Apex
		}
		if got := targetOf(chain, split.NextNode); got != to || split.Weight != of.Splits[i].Weight {
			return fmt.Sprintf("its splitter %s has %s at %g", want.Name, got, split.Weight), nil
		}
	}
	return "", nil
}

// splitterNode finds the splitter of a service: nodes are named SERVICE.NAMESPACE.PARTITION.
func splitterNode(chain *api.CompiledDiscoveryChain, n services.Names, service string) *api.DiscoveryGraphNode {
	name := service + "." + cmp.Or(n.Scope.Namespace, "default") + "." + cmp.Or(n.Scope.Partition, "default")
	for _, node := range chain.Nodes {
		if node.Type == api.DiscoveryGraphNodeTypeSplitter && (node.Name == name || node.Name == service) {
			return node
		}
	}
	return nil
}

// targetOf is the service whose instances a node leads to.
func targetOf(chain *api.CompiledDiscoveryChain, node string) string {
	resolver := chain.Nodes[node]
	if resolver == nil || resolver.Resolver == nil || chain.Targets[resolver.Resolver.Target] == nil {
		return ""
	}
	return chain.Targets[resolver.Resolver.Target].Service
}

// routesLacking compares a router with its compiled form, which has one route more, for
// the rest.
func routesLacking(start *api.DiscoveryGraphNode, want entries.Entry) (lacks string, err error) {
	of := api.ServiceRouterConfigEntry{}
	if err := want.Into(&of); err != nil {
		return "", err
	}
	if start.Type != api.DiscoveryGraphNodeTypeRouter || len(start.Routes) != len(of.Routes)+1 {
		return fmt.Sprintf("its router has not the %d routes", len(of.Routes)), nil
	}
	for i := range of.Routes {
		was, err := routeBytes(&of.Routes[i])
		if err != nil {
			return "", err
		}
		is, err := routeBytes(start.Routes[i].Definition)
		if err != nil {
			return "", err
		}
		if was != is {
			return fmt.Sprintf("its route %d is another one", i), nil
		}
	}
	return "", nil
}

// routeBytes spells a route out, without the namespace and partition that servers add.
func routeBytes(r *api.ServiceRoute) (string, error) {
	out := api.ServiceRoute{}
	if r != nil {
		out = *r
	}
	if out.Destination != nil {
		d := *out.Destination
		d.Namespace, d.Partition = "", ""
		out.Destination = &d
	}
	e, err := entries.Of(&api.ServiceRouterConfigEntry{Kind: api.ServiceRouter, Routes: []api.ServiceRoute{out}})
	return string(entries.Canonical(e.Body)), err
}
