package catalog

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/canaries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/routes"
	"github.com/sluice-delivery/sluice/providers/consul/internal/services"
)

const (
	// registration is how long an instance may take to be in Consul before that is
	// told as a problem.
	registration = 15 * time.Second
	// farewell is how long a deletion waits for the target's instances.
	farewell = time.Minute
	// healthRetry is when to look for instances again.
	healthRetry = time.Second
)

// Instances makes sure that requests are led to services that have instances.
type Instances struct {
	consul   Consul
	canaries *canaries.Canaries
}

// NewInstances returns one that has not asked anything yet.
func NewInstances(consul Consul, of *canaries.Canaries) *Instances {
	return &Instances{consul: consul, canaries: of}
}

// Serve tells whether a service has an instance that gets requests.
func (x *Instances) Serve(ctx context.Context, in entries.Scope, service string) (bool, error) {
	all, err := x.consul.Instances(ctx, in, service)
	return slices.ContainsFunc(all, func(i Instance) bool { return i.Healthy }), err
}

// NobodyElses refuses services that have instances of another namespace of Kubernetes before anything of them is
// written: in one namespace of Consul a name is everybody's, and who takes it gets the requests of its clients.
func (x *Instances) NobodyElses(ctx context.Context, c *v1beta1.Canary, n services.Names, have entries.Set) error {
	if have[entries.Key{Kind: api.ServiceSplitter, Name: n.Apex}].IsOurs(c) {
		return nil
	}
	for _, service := range []string{n.Apex, n.Primary, n.Canary} {
		all, err := x.consul.Instances(ctx, n.Scope, service)
		if err != nil {
			return err
		}
		for _, i := range all {
			if i.Namespace != "" && i.Namespace != c.Namespace {
				return &providers.ConflictError{Kind: "Consul's service", Namespace: n.Scope.String(), Name: service, Owner: "pods of the namespace " + i.Namespace}
			}
		}
	}
	return nil
}

// Ready makes sure that a half which gets requests from now on has instances:
// Consul splits requests without looking whether anybody is there.
func (x *Instances) Ready(ctx context.Context, c *v1beta1.Canary, n services.Names, wanted []entries.Entry, have entries.Set) error {
	then := entries.Set{}
	for _, e := range wanted {
		then[e.Key] = e
	}
	primaryNow, canaryNow, err := routes.Served(c, n, have, have)
	if err != nil {
		return err
	}
	primaryThen, canaryThen, err := routes.Served(c, n, then, have)
	if err != nil {
		return err
	}
	instanceOfCanary := n.Canary
	if n.Aliased {
		instanceOfCanary = n.Apex
	}
	for _, half := range []struct {
		gets bool
		name string
	}{{primaryThen && !primaryNow, n.Primary}, {canaryThen && !canaryNow, instanceOfCanary}} {
		if !half.gets {
			continue
		}
		there, err := x.Serve(ctx, n.Scope, half.name)
		if err != nil {
			return err
		}
		if !there {
			return x.missing(c, half.name)
		}
	}
	x.canaries.Found(c, canaries.Instance)
	return nil
}

// missing is a wait at first: instances come a moment after their pods are ready.
func (x *Instances) missing(c *v1beta1.Canary, service string) error {
	if x.canaries.Waited(c, canaries.Instance) < registration {
		return &providers.WaitError{For: "an instance of " + service + " in Consul", After: healthRetry}
	}
	return fmt.Errorf("consul has no healthy instance of %s in its mesh, although pods are ready: are they in the mesh, and registered by that name?", service)
}

// Replaced makes sure that the service has instances of its own when requests come to
// them again. A target that is gone, or broken, does not hold up the deletion for ever.
func (x *Instances) Replaced(ctx context.Context, c *v1beta1.Canary, n services.Names, have entries.Set) error {
	if !n.Aliased || !have[entries.Key{Kind: api.ServiceSplitter, Name: n.Apex}].IsOurs(c) {
		return nil
	}
	waited := x.canaries.Waited(c, canaries.Replacement)
	all, err := x.consul.Instances(ctx, n.Scope, n.Apex)
	// What is registered for a Service that goes with the Canary, goes with it.
	there := slices.ContainsFunc(all, func(i Instance) bool { return i.Healthy && i.Service != c.RegistrationName() })
	if err != nil || there || waited >= farewell {
		return err
	}
	return &providers.WaitError{For: "an instance of " + n.Apex + " in Consul", After: healthRetry}
}
