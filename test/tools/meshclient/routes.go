package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	// What routes carry beside their own fields has to be known to be printed.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

const routeType = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"

// printRoutes asks istiod, as a proxy does, for the routes to a port, and
// prints them: what gRPC as a data plane does not obey can be read from them.
func printRoutes(ctx context.Context, arguments []string, out io.Writer) error {
	p := &proxy{}
	flags := p.flags("routes")
	port := flags.String("port", "80", "port of the services, or the name of a gateway's routes, such as http.80")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	response, err := p.send(ctx, routeType, *port)
	if err != nil {
		return err
	}
	return printFirst(response, out)
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
