package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"
)

// commands print what a proxy is told.
var commands = map[string]func(context.Context, []string, io.Writer) error{
	"routes": printRoutes, "clusters": printClusters, "listeners": printListeners, "endpoints": printEndpoints,
}

// proxy is a sidecar or a gateway that asks istiod.
type proxy struct {
	xds, ip, namespace, gateway string
	timeout                     time.Duration
}

func (p *proxy) flags(command string) *flag.FlagSet {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.StringVar(&p.xds, "xds", "127.0.0.1:15010", "istiod's xDS address, without TLS")
	flags.StringVar(&p.ip, "ip", "10.244.0.1", "address of the proxy")
	flags.StringVar(&p.namespace, "namespace", "default", "namespace of the proxy")
	flags.StringVar(&p.gateway, "gateway", "", "label of a gateway, NAME=VALUE, instead of a sidecar")
	flags.DurationVar(&p.timeout, "timeout", 10*time.Second, "deadline")
	return flags
}

// send gives istiod's first answer for a kind of resource.
func (p *proxy) send(ctx context.Context, kind string, names ...string) (*discovery.DiscoveryResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+p.xds, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", p.xds, err)
	}
	node, err := p.node()
	if err != nil {
		return nil, err
	}
	if err := stream.Send(&discovery.DiscoveryRequest{Node: node, TypeUrl: kind, ResourceNames: names}); err != nil {
		return nil, fmt.Errorf("ask for %s: %w", kind, err)
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return nil, fmt.Errorf("wait for %s: %w", kind, err)
		}
		if response.GetTypeUrl() == kind {
			return response, nil
		}
	}
}

func (p *proxy) node() (*core.Node, error) {
	fields := map[string]any{"NAMESPACE": p.namespace, "CLUSTER_ID": "Kubernetes", "ISTIO_VERSION": "1.31.0"}
	role := "sidecar"
	if p.gateway != "" {
		name, value, _ := strings.Cut(p.gateway, "=")
		role, fields["LABELS"] = "router", map[string]any{name: value}
	}
	metadata, err := structpb.NewStruct(fields)
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	return &core.Node{Id: role + "~" + p.ip + "~routes." + p.namespace + "~" + p.namespace + ".svc.cluster.local", Metadata: metadata}, nil
}
