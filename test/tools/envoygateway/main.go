// Command envoy-gateway-translate answers what Envoy Gateway makes of objects of the Gateway API. It
// reads a GatewayClass, Gateways, routes, Services and their endpoints as YAML, checks them by the schemas of
// the Gateway API, and prints as JSON the routes with the status that Envoy Gateway's controller would
// write, and the routes and endpoints that it would send to Envoy.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/envoyproxy/gateway/internal/gatewayapi"
	"github.com/envoyproxy/gateway/internal/gatewayapi/resource"
	"github.com/envoyproxy/gateway/internal/logging"
	"github.com/envoyproxy/gateway/internal/xds/translator"
)

// answer is what is printed.
type answer struct {
	HTTPRoutes []*gatewayv1.HTTPRoute
	GRPCRoutes []*gatewayv1.GRPCRoute
	// Routes are Envoy's route configurations.
	Routes []json.RawMessage
	// Endpoints are those of Envoy's clusters, with the weights by which a cluster of several
	// Services shares them out.
	Endpoints []json.RawMessage
}

func main() {
	if err := run(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, in io.Reader, out io.Writer) error {
	given, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read objects: %w", err)
	}
	resources, err := load(given)
	if err != nil {
		return fmt.Errorf("objects: %w", err)
	}
	says, err := translate(ctx, resources)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(says); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// load reads objects by Envoy Gateway's own means. What that leaves out it reads itself: endpoints,
// and of routes their generation and when they were created.
func load(given []byte) (*resource.Resources, error) {
	resources, err := resource.LoadResourcesFromYAMLBytes(given, false, nil)
	if err != nil {
		return nil, err
	}
	if resources.GatewayClass == nil {
		return nil, errors.New("there is no GatewayClass")
	}
	err = resource.IterYAMLBytes(given, func(raw []byte) error {
		read := &metav1.PartialObjectMetadata{}
		if err := yaml.Unmarshal(raw, read); err != nil {
			return err
		}
		if read.Kind == "EndpointSlice" {
			slice := &discoveryv1.EndpointSlice{}
			resources.EndpointSlices = append(resources.EndpointSlices, slice)
			return yaml.Unmarshal(raw, slice)
		}
		complete(resources, read)
		return nil
	})
	resources.Sort()
	return resources, err
}

// complete gives a route its metadata.
func complete(resources *resource.Resources, read *metav1.PartialObjectMetadata) {
	for _, r := range resources.HTTPRoutes {
		if read.Kind == "HTTPRoute" && r.Namespace == read.Namespace && r.Name == read.Name {
			r.ObjectMeta = read.ObjectMeta
		}
	}
	for _, r := range resources.GRPCRoutes {
		if read.Kind == "GRPCRoute" && r.Namespace == read.Namespace && r.Name == read.Name {
			r.ObjectMeta = read.ObjectMeta
		}
	}
}

func translate(ctx context.Context, resources *resource.Resources) (*answer, error) {
	logger := logging.DefaultLogger(io.Discard, v1alpha1.LogLevelError)
	controller := &gatewayapi.Translator{
		GatewayControllerName: string(resources.GatewayClass.Spec.ControllerName),
		GatewayClassName:      gatewayv1.ObjectName(resources.GatewayClass.Name),
		MergeBackends:         gatewayapi.ResolveMergeBackendsConfig(resources),
		Logger:                logger,
	}
	// What is wrong with single routes is an error too, and in their status.
	result, err := controller.Translate(ctx, resources)
	if result == nil {
		return nil, fmt.Errorf("translate to Envoy Gateway's own form: %w", err)
	}
	out := &answer{HTTPRoutes: result.HTTPRoutes, GRPCRoutes: result.GRPCRoutes}
	for _, name := range slices.Sorted(maps.Keys(result.XdsIR)) {
		xds := &translator.Translator{Logger: logger}
		table, err := xds.Translate(ctx, result.XdsIR[name])
		if err != nil {
			return nil, fmt.Errorf("translate %s to Envoy's form: %w", name, err)
		}
		for _, kind := range []struct {
			of   resourcev3.Type
			into *[]json.RawMessage
		}{{resourcev3.RouteType, &out.Routes}, {resourcev3.EndpointType, &out.Endpoints}} {
			for _, r := range table.XdsResources[kind.of] {
				m, ok := r.(proto.Message)
				if !ok {
					return nil, fmt.Errorf("%T is no message", r)
				}
				raw, err := protojson.Marshal(m)
				if err != nil {
					return nil, fmt.Errorf("print %T: %w", r, err)
				}
				*kind.into = append(*kind.into, raw)
			}
		}
	}
	return out, nil
}
