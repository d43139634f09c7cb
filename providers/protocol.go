package providers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Protocol is what is spoken on the port of a Service, as far as it decides what a mesh can share
// out there.
type Protocol string

const (
	// Requests are those of HTTP in all of its versions, gRPC among them.
	Requests Protocol = "requests"
	// Encrypted is what the application encrypts itself: a mesh that does not decrypt it finds
	// no requests in it.
	Encrypted Protocol = "encrypted connections"
	// Connections carry something that has no requests of HTTP.
	Connections Protocol = "connections"
)

var (
	encrypted   = []string{"https", "tls", "kubernetes.io/wss", "linkerd.io/tls"}
	connections = []string{"tcp", "udp", "amqp", "kafka", "mongo", "mongodb", "mqtt", "mysql", "postgres", "postgresql", "redis", "linkerd.io/opaque", "linkerd.io/tcp"}
)

// ProtocolOf is what the appProtocol of a Service's port says, in any spelling. One that it does
// not know, or that is empty, is taken for requests: meshes look for themselves then.
func ProtocolOf(appProtocol string) Protocol {
	switch name := strings.ToLower(appProtocol); {
	case slices.Contains(encrypted, name):
		return Encrypted
	case slices.Contains(connections, name):
		return Connections
	default:
		return Requests
	}
}

// CheckPort returns an [UnsupportedError] where c cannot share out what is spoken on a port.
// router is the name to put into it, and field what says the appProtocol.
func (c Capabilities) CheckPort(router, field, appProtocol string) error {
	protocol := ProtocolOf(appProtocol)
	if protocol == Connections && !c.TCP || protocol == Encrypted && !c.TLS {
		return &UnsupportedError{Router: router, Field: field, Why: "it cannot share out " + string(protocol) + " (" + appProtocol + "), only requests"}
	}
	return nil
}

// Uncounted is a *InvalidError for a built-in check of a service without requests. It would
// have no value ever. Without a mesh the application itself counts what it likes.
func Uncounted(a *v1beta1.CanaryAnalysis, provider, appProtocol string) error {
	if ProtocolOf(appProtocol) != Connections || provider == v1beta1.ProviderKubernetes {
		return nil
	}
	for i, m := range a.Metrics {
		if m.IsBuiltIn() {
			return &InvalidError{
				Field: fmt.Sprintf("spec.analysis.metrics[%d].name", i), Value: m.Name,
				Allowed: "it is of requests, and connections (appProtocol " + appProtocol + ") have none; give it a query or a templateRef",
			}
		}
	}
	return nil
}
