// Command contour-translate answers what Contour makes of HTTPProxies. It reads lists of objects, HTTPProxies and
// Services, as JSON, one list after another, and prints for each, as JSON, the conditions of the HTTPProxies that Contour
// would write and the routes that it would send to Envoy.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sirupsen/logrus"
	"google.golang.org/protobuf/encoding/protojson"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	contourv1 "github.com/projectcontour/contour/apis/projectcontour/v1"
	"github.com/projectcontour/contour/internal/dag"
	xdscachev3 "github.com/projectcontour/contour/internal/xdscache/v3"
)

// answer is what is printed.
type answer struct {
	Proxies []proxy
	// Routes are Envoy's route configurations.
	Routes []json.RawMessage
}

// proxy is what Contour says of an HTTPProxy.
type proxy struct {
	Namespace, Name string
	Conditions      []contourv1.DetailedCondition
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	from, to := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var objects []json.RawMessage
		err := from.Decode(&objects)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read objects: %w", err)
		}
		says, err := translate(objects)
		if err != nil {
			return err
		}
		if err := to.Encode(says); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
}

func translate(objects []json.RawMessage) (*answer, error) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	builder := &dag.Builder{
		Source: dag.KubernetesCache{FieldLogger: log},
		Processors: []dag.Processor{
			&dag.ListenerProcessor{HTTPAddress: "0.0.0.0", HTTPPort: 8080, HTTPSAddress: "0.0.0.0", HTTPSPort: 8443},
			&dag.HTTPProxyProcessor{},
		},
	}
	for _, raw := range objects {
		object, err := read(raw)
		if err != nil {
			return nil, err
		}
		builder.Source.Insert(object)
	}
	graph := builder.Build()
	out := &answer{}
	for _, update := range graph.StatusCache.GetProxyUpdates() {
		said := proxy{Namespace: update.Fullname.Namespace, Name: update.Fullname.Name}
		for _, c := range update.Conditions {
			said.Conditions = append(said.Conditions, *c)
		}
		out.Proxies = append(out.Proxies, said)
	}
	routes := &xdscachev3.RouteCache{}
	routes.OnChange(graph)
	for _, m := range routes.Contents() {
		raw, err := protojson.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("print %T: %w", m, err)
		}
		out.Routes = append(out.Routes, raw)
	}
	return out, nil
}

// read reads an object of one of the kinds that Contour looks at.
func read(raw json.RawMessage) (any, error) {
	kind := metav1.TypeMeta{}
	if err := json.Unmarshal(raw, &kind); err != nil {
		return nil, fmt.Errorf("read an object: %w", err)
	}
	var into any
	switch kind.Kind {
	case "HTTPProxy":
		into = &contourv1.HTTPProxy{}
	case "Service":
		into = &corev1.Service{}
	default:
		return nil, fmt.Errorf("objects of kind %q are not looked at", kind.Kind)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return nil, fmt.Errorf("read a %s: %w", kind.Kind, err)
	}
	return into, nil
}
