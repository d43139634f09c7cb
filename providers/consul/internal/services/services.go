// Package services has what a Canary's services are called in Consul, where they are, and how
// pods become their instances.
package services

import (
	"cmp"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
)

// Annotations of a Canary that say where in Consul its services are, in place of the
// operator's flags.
const (
	NamespaceAnnotation = "sluice.dev/consul-namespace"
	PartitionAnnotation = "sluice.dev/consul-partition"
)

// Names are the services of a Canary in Consul.
type Names struct {
	Apex, Primary, Canary string
	// Split has a splitter and no instances, for requests that are shared out in
	// another way than the rest.
	Split string
	// Aliased says that the canary's pods are instances of the apex service. Then the
	// canary's service is only another name for it.
	Aliased bool

	// Scope is where all of them are.
	Scope entries.Scope
}

// Of are the names for a Canary whose target's pods have these annotations.
func Of(c *v1beta1.Canary, annotations map[string]string, in entries.Scope) Names {
	apex, primary, canary := c.ServiceNames()
	return Names{
		Apex: apex, Primary: primary, Canary: canary, Split: apex + "-split",
		Aliased: annotations[ServiceAnnotation] == apex, Scope: in,
	}
}

// ScopeOf is where a Canary's services are: as its annotations say, else base.
func ScopeOf(c *v1beta1.Canary, base entries.Scope) entries.Scope {
	return entries.Scope{
		Namespace: cmp.Or(c.Annotations[NamespaceAnnotation], base.Namespace),
		Partition: cmp.Or(c.Annotations[PartitionAnnotation], base.Partition),
	}
}

// Has tells whether a reference in an entry of the apex service leads to that service or
// to one of its halves.
func (n Names) Has(service, namespace, partition string) bool {
	half := service == n.Primary || service == n.Canary
	return (half || service == "" || service == n.Apex) && n.here(namespace, partition)
}

// IsApex is Has for the service alone: what leads to a half by its name is not for both.
func (n Names) IsApex(service, namespace, partition string) bool {
	return (service == "" || service == n.Apex) && n.here(namespace, partition)
}

// here tells whether a reference is to where the names are.
func (n Names) here(namespace, partition string) bool {
	same := func(is, scope string) bool { return is == "" || is == scope || scope == "" && is == "default" }
	return same(namespace, n.Scope.Namespace) && same(partition, n.Scope.Partition)
}

// Callers are the names by which released pods call others, and those of the canary where these are not
// instances of the apex service.
func (n Names) Callers() []string {
	if n.Aliased {
		return []string{n.Primary}
	}
	return []string{n.Primary, n.Canary}
}

// Keys are those of every entry that may be written for the names.
func (n Names) Keys() []entries.Key {
	var out []entries.Key
	for _, name := range []string{n.Apex, n.Primary, n.Canary, n.Split} {
		out = append(out, entries.Key{Kind: api.ServiceDefaults, Name: name})
	}
	for _, name := range []string{n.Primary, n.Canary} {
		out = append(out, entries.Key{Kind: api.ServiceIntentions, Name: name}, entries.Key{Kind: api.ServiceResolver, Name: name})
	}
	return append(out, entries.Key{Kind: api.ServiceSplitter, Name: n.Split}, entries.Key{Kind: api.ServiceSplitter, Name: n.Apex}, entries.Key{Kind: api.ServiceRouter, Name: n.Apex})
}
