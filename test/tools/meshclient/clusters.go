package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	upstreams "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
)

const (
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	listenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	upstreamName = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
)

// known is what of a cluster is printed.
type known struct {
	Name           string
	Type           string // EDS, ORIGINAL_DST, ...
	HTTP2          bool
	TLS            bool
	MaxConnections uint32 // 0 for no limit
}

// printClusters prints the clusters of which the name contains a text.
func printClusters(ctx context.Context, arguments []string, out io.Writer) error {
	p := &proxy{}
	flags := p.flags("clusters")
	contains := flags.String("contains", "", "part of the names")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	response, err := p.send(ctx, clusterType)
	if err != nil {
		return err
	}
	all := []known{}
	for _, r := range response.GetResources() {
		c := &cluster.Cluster{}
		if err := r.UnmarshalTo(c); err != nil {
			return fmt.Errorf("read clusters: %w", err)
		}
		if !strings.Contains(c.GetName(), *contains) {
			continue
		}
		t := known{Name: c.GetName(), Type: c.GetType().String(), TLS: c.GetTransportSocket() != nil || len(c.GetTransportSocketMatches()) > 0}
		for _, threshold := range c.GetCircuitBreakers().GetThresholds() {
			if n := threshold.GetMaxConnections().GetValue(); n != math.MaxUint32 {
				t.MaxConnections = n
			}
		}
		if options, ok := c.GetTypedExtensionProtocolOptions()[upstreamName]; ok {
			http := &upstreams.HttpProtocolOptions{}
			if err := options.UnmarshalTo(http); err != nil {
				return fmt.Errorf("read the protocol of %s: %w", t.Name, err)
			}
			t.HTTP2 = http.GetExplicitHttpConfig().GetHttp2ProtocolOptions() != nil
		}
		all = append(all, t)
	}
	return json.NewEncoder(out).Encode(all)
}

// printEndpoints prints the addresses of clusters.
func printEndpoints(ctx context.Context, arguments []string, out io.Writer) error {
	p := &proxy{}
	flags := p.flags("endpoints")
	clusters := flags.String("clusters", "", "names of clusters, with commas between")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	response, err := p.send(ctx, endpointType, strings.Split(*clusters, ",")...)
	if err != nil {
		return err
	}
	all := map[string][]string{}
	for _, r := range response.GetResources() {
		c := &endpoint.ClusterLoadAssignment{}
		if err := r.UnmarshalTo(c); err != nil {
			return fmt.Errorf("read endpoints: %w", err)
		}
		for _, locality := range c.GetEndpoints() {
			for _, e := range locality.GetLbEndpoints() {
				at := e.GetEndpoint().GetAddress().GetSocketAddress()
				all[c.GetClusterName()] = append(all[c.GetClusterName()], fmt.Sprintf("%s:%d", at.GetAddress(), at.GetPortValue()))
			}
		}
	}
	return json.NewEncoder(out).Encode(all)
}

// chain is what a listener does with connections.
type chain struct {
	Listener string
	SNI      []string
	Clusters map[string]uint32 // weights; 0 for the only one
}

// printListeners prints where listeners of a port lead connections that are no requests to them.
func printListeners(ctx context.Context, arguments []string, out io.Writer) error {
	p := &proxy{}
	flags := p.flags("listeners")
	port := flags.Uint("port", 0, "port that they listen on")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	response, err := p.send(ctx, listenerType)
	if err != nil {
		return err
	}
	all := []chain{}
	for _, r := range response.GetResources() {
		l := &listener.Listener{}
		if err := r.UnmarshalTo(l); err != nil {
			return fmt.Errorf("read listeners: %w", err)
		}
		if uint(l.GetAddress().GetSocketAddress().GetPortValue()) != *port {
			continue
		}
		for _, f := range l.GetFilterChains() {
			clusters, err := connections(f)
			if err != nil {
				return err
			}
			if len(clusters) > 0 {
				all = append(all, chain{Listener: l.GetName(), SNI: f.GetFilterChainMatch().GetServerNames(), Clusters: clusters})
			}
		}
	}
	return json.NewEncoder(out).Encode(all)
}

func connections(chain *listener.FilterChain) (map[string]uint32, error) {
	out := map[string]uint32{}
	for _, filter := range chain.GetFilters() {
		proxy := &tcpproxy.TcpProxy{}
		if !filter.GetTypedConfig().MessageIs(proxy) {
			continue
		}
		if err := filter.GetTypedConfig().UnmarshalTo(proxy); err != nil {
			return nil, fmt.Errorf("read filters: %w", err)
		}
		if name := proxy.GetCluster(); name != "" {
			out[name] = 0
		}
		for _, c := range proxy.GetWeightedClusters().GetClusters() {
			out[c.GetName()] = c.GetWeight()
		}
	}
	return out, nil
}
