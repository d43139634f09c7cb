// Package catalog is about who serves in Consul: the instances of services, which must be there before
// requests are led to them, and the addresses that stand for services in transparent proxies.
package catalog

import (
	"context"

	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
)

// Consul is who and what stands for services in Consul.
type Consul interface {
	// Instances are those of a service in the mesh, healthy or not.
	Instances(ctx context.Context, in entries.Scope, service string) ([]Instance, error)
	// Manual are the addresses that stand for a service whatever instances it has, as far as
	// Consul itself holds them.
	Manual(ctx context.Context, in entries.Scope, service string) ([]string, error)
	// Assign has an address stand for a service whatever instances that has.
	Assign(ctx context.Context, in entries.Scope, a Address) error
	// Unassign takes away what is registered for the address of a service.
	Unassign(ctx context.Context, in entries.Scope, service string) error
}

// Address says that the address of a Kubernetes Service stands for a service in Consul.
type Address struct{ Service, IP string }

// Instance is what counts here of an instance of a service in the mesh.
type Instance struct {
	// Healthy says that it gets requests.
	Healthy bool
	// Transparent says that what its pod sends goes through its proxy.
	Transparent bool
	// Holds is the address that it is there for, where it is none of a pod.
	Holds string
	// Service is the Kubernetes Service that it is registered for, empty for none, and Namespace that of its pod.
	Service, Namespace string
}
