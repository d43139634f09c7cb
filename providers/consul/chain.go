package consul

import (
	"cmp"
	"fmt"

	"github.com/hashicorp/consul/api"
)

// chainHas tells whether a compiled discovery chain, which is what proxies get, does
// what the plan asks. The message says what it lacks, empty for nothing.
func chainHas(chain *api.CompiledDiscoveryChain, n names, p plan) (lacks string, err error) {
	start := chain.Nodes[chain.StartNode]
	if start == nil {
		return "it is empty", nil
	}
	for _, e := range p.wanted {
		switch e.kind {
		case api.ServiceSplitter:
			if lacks, err = chainSplits(chain, n, e); lacks != "" || err != nil {
				return lacks, err
			}
		case api.ServiceRouter:
			if lacks, err = chainRoutes(start, e); lacks != "" || err != nil {
				return lacks, err
			}
		}
	}
	router := func(e entry) bool { return e.kind == api.ServiceRouter }
	if start.Type == api.DiscoveryGraphNodeTypeRouter && !contains(p.wanted, router) {
		return "it still has a router", nil
	}
	return "", nil
}

func contains(in []entry, is func(entry) bool) bool {
	for _, e := range in {
		if is(e) {
			return true
		}
	}
	return false
}

// chainSplits compares a splitter with its compiled form.
func chainSplits(chain *api.CompiledDiscoveryChain, n names, want entry) (lacks string, err error) {
	of := api.ServiceSplitterConfigEntry{}
	if err := want.into(&of); err != nil {
		return "", err
	}
	node := splitterNode(chain, n, want.name)
	if node == nil {
		return "it has no splitter " + want.name, nil
	}
	if len(node.Splits) != len(of.Splits) {
		return fmt.Sprintf("its splitter %s has %d splits", want.name, len(node.Splits)), nil
	}
	for i, split := range node.Splits {
		to := of.Splits[i].Service
		if to == n.canary && n.aliased {
			to = n.apex
		}
		if got := targetOf(chain, split.NextNode); got != to || split.Weight != of.Splits[i].Weight {
			return fmt.Sprintf("its splitter %s has %s at %g", want.name, got, split.Weight), nil
		}
	}
	return "", nil
}

// splitterNode finds the splitter of a service: nodes are named SERVICE.NAMESPACE.PARTITION.
func splitterNode(chain *api.CompiledDiscoveryChain, n names, service string) *api.DiscoveryGraphNode {
	name := service + "." + cmp.Or(n.scope.namespace, "default") + "." + cmp.Or(n.scope.partition, "default")
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

// chainRoutes compares a router with its compiled form, which has one route more, for
// the rest.
func chainRoutes(start *api.DiscoveryGraphNode, want entry) (lacks string, err error) {
	of := api.ServiceRouterConfigEntry{}
	if err := want.into(&of); err != nil {
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
	e, err := entryOf(&api.ServiceRouterConfigEntry{Kind: api.ServiceRouter, Routes: []api.ServiceRoute{out}})
	return string(canonical(e.body)), err
}
