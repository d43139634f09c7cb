package settings

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/providers"
)

// Protocol is what a port speaks, as Istio reads it: which routes it looks at depends on it.
type Protocol int

const (
	// HTTP is also for what Istio finds out by itself.
	HTTP Protocol = iota
	// TCP is for connections that nobody looks into.
	TCP
	// TLS is for connections that the application encrypts itself.
	TLS
)

// defaultTCP are the ports of mail, DNS, MySQL and MongoDB, of which Istio takes one that says
// nothing of its protocol for TCP.
var defaultTCP = []int32{25, 53, 3306, 27017}

// ProtocolOf is the protocol of the Canary's port.
func ProtocolOf(route providers.Route) Protocol {
	s := route.Canary.Spec.Service
	says, named := s.AppProtocol, s.PortName
	for _, p := range route.Ports {
		if p.Port == s.Port {
			says, named = "", p.Name
			if p.AppProtocol != nil {
				says = *p.AppProtocol
			}
		}
	}
	if says == "" {
		says = named
	}
	prefix, _, _ := strings.Cut(strings.ToLower(says), "-")
	switch prefix {
	case "tcp", "mongo", "redis", "mysql":
		return TCP
	case "https", "tls", "kubernetes.io/wss":
		return TLS
	case "http", "http2", "http_proxy", "grpc", "kubernetes.io/h2c", "kubernetes.io/ws":
		return HTTP
	}
	if says != "" && slices.Contains(defaultTCP, s.Port) {
		return TCP
	}
	return HTTP
}

// Several tells whether the Services have more than one port, so that Istio has to be told
// which one a gateway's requests are for.
func Several(route providers.Route) bool {
	tcp := 0
	for _, p := range route.Ports {
		if p.Protocol != corev1.ProtocolUDP {
			tcp++
		}
	}
	return tcp > 1 || route.Canary.Spec.Service.PortDiscovery
}
