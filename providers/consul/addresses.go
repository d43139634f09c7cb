package consul

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/providers"
)

// Of each pod that it registers, consul-k8s tells Consul the cluster IP of the Service that selects
// the pod. Transparent proxies take requests for that address for requests for the pod's service. As
// the pods of a Canary's services come and go, and the apex Service leads to pods of another
// service than its name says, the router says what the addresses stand for.

// address says that the address of a Kubernetes Service stands for a service in Consul.
type address struct{ service, ip string }

// addressesOf are those that nobody registers pods for: that of the apex Service, which leads to the
// primary's pods, and that of the canary's where its service is another name for the apex service.
func addressesOf(route providers.Route, n names) []address {
	all := []address{{n.apex, route.ClusterIPs.Apex}}
	if n.aliased {
		all = append(all, address{n.canary, route.ClusterIPs.Canary})
	}
	return slices.DeleteFunc(all, func(a address) bool { return a.ip == corev1.ClusterIPNone || net.ParseIP(a.ip) == nil })
}

// instance is what counts here of an instance of a service in the mesh.
type instance struct {
	healthy bool
	// transparent says that what its pod sends goes through its proxy.
	transparent bool
	// holds is the address that it is there for, where it is none of a pod.
	holds string
	// service is the Kubernetes Service that it is registered for, empty for none.
	service string
}

// healthy tells whether a service has an instance that gets requests.
func (r *Router) healthy(ctx context.Context, in scope, service string) (bool, error) {
	all, err := r.cache.backend.instances(ctx, in, service)
	return slices.ContainsFunc(all, func(i instance) bool { return i.healthy }), err
}

// addressed tells whether transparent proxies know what the addresses stand for, or there are no such
// proxies. It looks into Consul once for each state of the entries.
func (r *Router) addressed(ctx context.Context, route providers.Route, n names, have entries) (bool, error) {
	wanted := addressesOf(route, n)
	state := fmt.Sprint(stateOf(have), wanted)
	done := false
	r.canaries.remember(route.Canary, func(k *known) { done = k.addressed == state })
	if done || len(wanted) == 0 {
		return true, nil
	}
	transparent, sure, err := r.transparent(ctx, n)
	if err != nil {
		return false, err
	}
	if transparent {
		for _, a := range wanted {
			if has, err := r.stands(ctx, n.scope, a); err != nil || !has {
				return false, err
			}
		}
	}
	if sure {
		r.canaries.remember(route.Canary, func(k *known) { k.addressed = state })
	}
	return true, nil
}

// transparent tells whether the application's pods have transparent proxies, as its clients have
// then. It is not sure of that while there are no pods.
func (r *Router) transparent(ctx context.Context, n names) (is, sure bool, err error) {
	for _, service := range []string{n.apex, n.primary} {
		all, err := r.cache.backend.instances(ctx, n.scope, service)
		if err != nil {
			return false, false, err
		}
		for _, i := range all {
			if i.holds == "" {
				is, sure = is || i.transparent, true
			}
		}
	}
	return is, sure, nil
}

// stands tells whether an address stands for a service, whatever instances that has.
func (r *Router) stands(ctx context.Context, in scope, a address) (bool, error) {
	ips, err := r.cache.backend.manual(ctx, in, a.service)
	if err != nil || slices.Contains(ips, a.ip) {
		return err == nil, err
	}
	all, err := r.cache.backend.instances(ctx, in, a.service)
	return slices.ContainsFunc(all, func(i instance) bool { return i.holds == a.ip }), err
}

// assignAddresses has transparent proxies know what the addresses stand for.
func (r *Router) assignAddresses(ctx context.Context, route providers.Route, n names, have entries) error {
	done, err := r.addressed(ctx, route, n, have)
	if err != nil || done {
		return err
	}
	for _, a := range addressesOf(route, n) {
		if err := r.cache.backend.assign(ctx, n.scope, a); err != nil {
			return fmt.Errorf("have %s stand for %s in Consul: %w", a.ip, a.service, err)
		}
	}
	r.canaries.later(route.Canary, chainRetry) //nolint:contextcheck // that is after the end of this call
	return nil
}

// unassignAddresses takes back what tells of the addresses.
func (r *Router) unassignAddresses(ctx context.Context, n names) error {
	for _, service := range []string{n.apex, n.canary} {
		all, err := r.cache.backend.instances(ctx, n.scope, service)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(all, func(i instance) bool { return i.holds != "" }) {
			continue
		}
		if err := r.cache.backend.unassign(ctx, n.scope, service); err != nil {
			return fmt.Errorf("have no address stand for %s in Consul: %w", service, err)
		}
	}
	return nil
}

const (
	// virtualTag is by what consul-k8s tells of the cluster IP.
	virtualTag = "virtual"
	// holderNode is the node in Consul's catalog that holds addresses where Consul can't.
	holderNode = "sluice"
	// holderAddress is one that is nobody's. Nothing is sent there, as holders are never healthy.
	holderAddress = "192.0.2.1"
	// serviceMeta is how consul-k8s says which Service it has registered a pod for.
	serviceMeta = "k8s-service-name"
)

func holderID(service string) string { return "sluice-address-of-" + service }

const proxySuffix = "-sidecar-proxy"

func (s *server) instances(ctx context.Context, in scope, service string) ([]instance, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	all, _, err := s.api.Health().Connect(service, "", false, s.query(ctx, in))
	if err != nil {
		return nil, explain(ctx, err)
	}
	out := make([]instance, 0, len(all))
	for _, e := range all {
		i := instance{
			healthy:     e.Checks.AggregatedStatus() == api.HealthPassing,
			transparent: e.Service.Proxy != nil && e.Service.Proxy.Mode == api.ProxyModeTransparent,
			service:     e.Service.Meta[serviceMeta],
		}
		if strings.HasPrefix(e.Service.ID, holderID(service)) {
			i.holds = e.Service.TaggedAddresses[virtualTag].Address
		}
		out = append(out, i)
	}
	return out, nil
}

func (s *server) manual(ctx context.Context, in scope, service string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	var out struct {
		Chain struct{ ManualVirtualIPs []string }
	}
	_, err := s.api.Raw().Query("/v1/discovery-chain/"+service, &out, s.query(ctx, in))
	return out.Chain.ManualVirtualIPs, explain(ctx, err)
}

// assign writes the address into Consul's table of virtual IPs, as consul-k8s does. A Consul before 1.16
// has none that can be written, and knows addresses only from instances: there an instance that
// is never healthy holds it.
func (s *server) assign(ctx context.Context, in scope, a address) error {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	answer, _, err := s.api.Internal().AssignServiceVirtualIP(ctx, a.service, []string{a.ip}, s.write(ctx, in))
	switch {
	case err == nil && !answer.ServiceFound:
		return &providers.WaitError{For: "Consul to give " + a.service + " a virtual IP", After: chainRetry}
	case err == nil:
		return nil
	case !isNotFound(err):
		return explain(ctx, err)
	}
	for _, of := range holders(in, a) {
		if _, err := s.api.Catalog().Register(of, s.write(ctx, in)); err != nil {
			return explain(ctx, err)
		}
	}
	return nil
}

// holders are the registrations of an instance that holds an address, and of its proxy.
func holders(in scope, a address) []*api.CatalogRegistration {
	id := holderID(a.service)
	addresses := map[string]api.ServiceAddress{virtualTag: {Address: a.ip}}
	service := &api.AgentService{
		ID: id, Service: a.service, Address: holderAddress, Port: 1, TaggedAddresses: addresses, Namespace: in.namespace, Partition: in.partition,
	}
	proxy := &api.AgentService{
		Kind: api.ServiceKindConnectProxy, ID: id + proxySuffix, Service: a.service + proxySuffix, Address: holderAddress, Port: 1, TaggedAddresses: addresses,
		Proxy:     &api.AgentServiceConnectProxyConfig{DestinationServiceName: a.service, DestinationServiceID: id},
		Namespace: in.namespace, Partition: in.partition,
	}
	var out []*api.CatalogRegistration
	for _, of := range []*api.AgentService{service, proxy} {
		out = append(out, &api.CatalogRegistration{
			Node: holderNode, Address: holderAddress, SkipNodeUpdate: true, Partition: in.partition, Service: of,
			Check: &api.AgentCheck{
				Node: holderNode, CheckID: of.ID, ServiceID: of.ID, Name: "Holds a virtual IP", Status: api.HealthCritical,
				Output:    "This is no pod: Sluice has it hold the cluster IP " + a.ip + " of a Kubernetes Service, and it never gets a request.",
				Namespace: in.namespace, Partition: in.partition,
			},
		})
	}
	return out
}

func (s *server) unassign(ctx context.Context, in scope, service string) error {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	for _, id := range []string{holderID(service) + proxySuffix, holderID(service)} {
		of := &api.CatalogDeregistration{Node: holderNode, ServiceID: id, Namespace: in.namespace, Partition: in.partition}
		if _, err := s.api.Catalog().Deregister(of, s.write(ctx, in)); err != nil {
			return explain(ctx, err)
		}
	}
	return nil
}
