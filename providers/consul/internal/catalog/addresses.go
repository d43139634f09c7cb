package catalog

import (
	"context"
	"fmt"
	"net"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/canaries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/services"
)

// Of each pod that it registers, consul-k8s tells Consul the cluster IP of the Service that selects
// the pod. Transparent proxies take requests for that address for requests for the pod's service. As
// the pods of a Canary's services come and go, and the apex Service leads to pods of another
// service than its name says, the router says what the addresses stand for.

// Addresses tells Consul what the cluster IPs of Services stand for.
type Addresses struct {
	consul   Consul
	canaries *canaries.Canaries
}

// NewAddresses returns one that has not asked anything yet.
func NewAddresses(consul Consul, of *canaries.Canaries) *Addresses {
	return &Addresses{consul: consul, canaries: of}
}

// addressesOf are those that nobody registers pods for: that of the apex Service, which leads to the
// primary's pods, and that of the canary's where its service is another name for the apex service.
func addressesOf(route providers.Route, n services.Names) []Address {
	all := []Address{{Service: n.Apex, IP: route.ClusterIPs.Apex}}
	if n.Aliased {
		all = append(all, Address{Service: n.Canary, IP: route.ClusterIPs.Canary})
	}
	return slices.DeleteFunc(all, func(a Address) bool { return a.IP == corev1.ClusterIPNone || net.ParseIP(a.IP) == nil })
}

// Known tells whether transparent proxies know what the addresses stand for, or there are no such
// proxies. It looks into Consul once for each state of the entries.
func (x *Addresses) Known(ctx context.Context, route providers.Route, n services.Names, have entries.Set) (bool, error) {
	wanted := addressesOf(route, n)
	state := fmt.Sprint(have.State(), wanted)
	if x.canaries.Saw(route.Canary, canaries.Addressed, state) || len(wanted) == 0 {
		return true, nil
	}
	transparent, sure, err := x.transparent(ctx, n)
	if err != nil {
		return false, err
	}
	if transparent {
		for _, a := range wanted {
			if has, err := x.stands(ctx, n.Scope, a); err != nil || !has {
				return false, err
			}
		}
	}
	if sure {
		x.canaries.See(route.Canary, canaries.Addressed, state)
	}
	return true, nil
}

// transparent tells whether the application's pods have transparent proxies, as its clients have
// then. It is not sure of that while there are no pods.
func (x *Addresses) transparent(ctx context.Context, n services.Names) (is, sure bool, err error) {
	for _, service := range []string{n.Apex, n.Primary} {
		all, err := x.consul.Instances(ctx, n.Scope, service)
		if err != nil {
			return false, false, err
		}
		for _, i := range all {
			if i.Holds == "" {
				is, sure = is || i.Transparent, true
			}
		}
	}
	return is, sure, nil
}

// stands tells whether an address stands for a service, whatever instances that has.
func (x *Addresses) stands(ctx context.Context, in entries.Scope, a Address) (bool, error) {
	ips, err := x.consul.Manual(ctx, in, a.Service)
	if err != nil || slices.Contains(ips, a.IP) {
		return err == nil, err
	}
	all, err := x.consul.Instances(ctx, in, a.Service)
	return slices.ContainsFunc(all, func(i Instance) bool { return i.Holds == a.IP }), err
}

// Assign has transparent proxies know what the addresses stand for.
func (x *Addresses) Assign(ctx context.Context, route providers.Route, n services.Names, have entries.Set) error {
	done, err := x.Known(ctx, route, n, have)
	if err != nil || done {
		return err
	}
	for _, a := range addressesOf(route, n) {
		if err := x.consul.Assign(ctx, n.Scope, a); err != nil {
			return fmt.Errorf("have %s stand for %s in Consul: %w", a.IP, a.Service, err)
		}
	}
	x.canaries.Later(route.Canary) //nolint:contextcheck // that is after the end of this call
	return nil
}

// Unassign takes back what tells of the addresses.
func (x *Addresses) Unassign(ctx context.Context, n services.Names) error {
	for _, service := range []string{n.Apex, n.Canary} {
		all, err := x.consul.Instances(ctx, n.Scope, service)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(all, func(i Instance) bool { return i.Holds != "" }) {
			continue
		}
		if err := x.consul.Unassign(ctx, n.Scope, service); err != nil {
			return fmt.Errorf("have no address stand for %s in Consul: %w", service, err)
		}
	}
	return nil
}
