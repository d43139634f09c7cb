package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	// What routes carry beside their own fields has to be known to be printed.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
)

const routeType = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"

// printRoutes asks istiod, as a sidecar does, for the routes to a port, and
// prints them: what gRPC as a data plane does not obey can be read from them.
func printRoutes(ctx context.Context, arguments []string, out io.Writer) error {
	flags := flag.NewFlagSet("routes", flag.ContinueOnError)
	xds := flags.String("xds", "127.0.0.1:15010", "istiod's xDS address, without TLS")
	ip := flags.String("ip", "10.244.0.1", "address of the sidecar")
	namespace := flags.String("namespace", "default", "namespace of the sidecar")
	port := flags.String("port", "80", "port of the services")
	timeout := flags.Duration("timeout", 10*time.Second, "deadline")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+*xds, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", *xds, err)
	}
	node, err := sidecar(*ip, *namespace)
	if err != nil {
		return err
	}
	if err := stream.Send(&discovery.DiscoveryRequest{Node: node, TypeUrl: routeType, ResourceNames: []string{*port}}); err != nil {
		return fmt.Errorf("ask for routes: %w", err)
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("wait for routes: %w", err)
		}
		if response.GetTypeUrl() != routeType {
			continue
		}
		return printFirst(response, out)
	}
}

func printFirst(response *discovery.DiscoveryResponse, out io.Writer) error {
	if len(response.GetResources()) == 0 {
		return errors.New("istiod has no routes for this port")
	}
	config := &route.RouteConfiguration{}
	if err := response.GetResources()[0].UnmarshalTo(config); err != nil {
		return fmt.Errorf("read routes: %w", err)
	}
	b, err := protojson.Marshal(config)
	if err != nil {
		return fmt.Errorf("print routes: %w", err)
	}
	_, err = fmt.Fprintln(out, string(b))
	return err
}

func sidecar(ip, namespace string) (*core.Node, error) {
	metadata, err := structpb.NewStruct(map[string]any{"NAMESPACE": namespace, "CLUSTER_ID": "Kubernetes", "ISTIO_VERSION": "1.31.0"})
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	return &core.Node{Id: "sidecar~" + ip + "~routes." + namespace + "~" + namespace + ".svc.cluster.local", Metadata: metadata}, nil
}
