package server

import (
	"context"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/catalog"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
)

const (
	// virtualTag is by what consul-k8s tells of the cluster IP.
	virtualTag = "virtual"
	// holderNode is the node in Consul's catalog that holds addresses where Consul can't.
	holderNode = "sluice"
	// holderAddress is one that is nobody's. Nothing is sent there, as holders are never healthy.
	holderAddress = "192.0.2.1"
	// serviceMeta is how consul-k8s says which Service it has registered a pod for.
	serviceMeta = "k8s-service-name"
	// namespaceMeta is where it notes the namespace of the pod.
	namespaceMeta = "k8s-namespace"
)

// virtualRetry is when to look again whether Consul has given a service a virtual IP.
const virtualRetry = 2 * time.Second

func holderID(service string) string { return "sluice-address-of-" + service }

const proxySuffix = "-sidecar-proxy"

// Instances implements catalog.Consul.
func (s *Server) Instances(ctx context.Context, in entries.Scope, service string) ([]catalog.Instance, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	all, _, err := s.api.Health().Connect(service, "", false, s.query(ctx, in))
	if err != nil {
		return nil, explain(ctx, err)
	}
	out := make([]catalog.Instance, 0, len(all))
	for _, e := range all {
		i := catalog.Instance{
			Healthy:     e.Checks.AggregatedStatus() == api.HealthPassing,
			Transparent: e.Service.Proxy != nil && e.Service.Proxy.Mode == api.ProxyModeTransparent,
			Service:     e.Service.Meta[serviceMeta],
			Namespace:   e.Service.Meta[namespaceMeta],
		}
		if strings.HasPrefix(e.Service.ID, holderID(service)) {
			i.Holds = e.Service.TaggedAddresses[virtualTag].Address
		}
		out = append(out, i)
	}
	return out, nil
}

// Manual implements catalog.Consul.
func (s *Server) Manual(ctx context.Context, in entries.Scope, service string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	var out struct {
		Chain struct{ ManualVirtualIPs []string }
	}
	_, err := s.api.Raw().Query("/v1/discovery-chain/"+service, &out, s.query(ctx, in))
	return out.Chain.ManualVirtualIPs, explain(ctx, err)
}

// Assign implements catalog.Consul. It writes the address into Consul's table of virtual IPs, as consul-k8s does. A Consul before 1.16
// has none that can be written, and knows addresses only from instances: there an instance that
// is never healthy holds it.
func (s *Server) Assign(ctx context.Context, in entries.Scope, a catalog.Address) error {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	answer, _, err := s.api.Internal().AssignServiceVirtualIP(ctx, a.Service, []string{a.IP}, s.write(ctx, in))
	switch {
	case err == nil && !answer.ServiceFound:
		return &providers.WaitError{For: "Consul to give " + a.Service + " a virtual IP", After: virtualRetry}
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
func holders(in entries.Scope, a catalog.Address) []*api.CatalogRegistration {
	id := holderID(a.Service)
	addresses := map[string]api.ServiceAddress{virtualTag: {Address: a.IP}}
	service := &api.AgentService{
		ID: id, Service: a.Service, Address: holderAddress, Port: 1, TaggedAddresses: addresses, Namespace: in.Namespace, Partition: in.Partition,
	}
	proxy := &api.AgentService{
		Kind: api.ServiceKindConnectProxy, ID: id + proxySuffix, Service: a.Service + proxySuffix, Address: holderAddress, Port: 1, TaggedAddresses: addresses,
		Proxy:     &api.AgentServiceConnectProxyConfig{DestinationServiceName: a.Service, DestinationServiceID: id},
		Namespace: in.Namespace, Partition: in.Partition,
	}
	var out []*api.CatalogRegistration
	for _, of := range []*api.AgentService{service, proxy} {
		out = append(out, &api.CatalogRegistration{
			Node: holderNode, Address: holderAddress, SkipNodeUpdate: true, Partition: in.Partition, Service: of,
			Check: &api.AgentCheck{
				Node: holderNode, CheckID: of.ID, ServiceID: of.ID, Name: "Holds a virtual IP", Status: api.HealthCritical,
				Output:    "This is no pod: Sluice has it hold the cluster IP " + a.IP + " of a Kubernetes Service, and it never gets a request.",
				Namespace: in.Namespace, Partition: in.Partition,
			},
		})
	}
	return out
}

// Unassign implements catalog.Consul.
func (s *Server) Unassign(ctx context.Context, in entries.Scope, service string) error {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	for _, id := range []string{holderID(service) + proxySuffix, holderID(service)} {
		of := &api.CatalogDeregistration{Node: holderNode, ServiceID: id, Namespace: in.Namespace, Partition: in.Partition}
		if _, err := s.api.Catalog().Deregister(of, s.write(ctx, in)); err != nil {
			return explain(ctx, err)
		}
	}
	return nil
}
