package istio

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// protocol is what a port speaks, as Istio reads it: which routes it looks at depends on it.
type protocol int

const (
	speaksHTTP protocol = iota // or Istio finds out by itself
	speaksTCP
	speaksTLS
)

// defaultTCP are the ports of mail, DNS, MySQL and MongoDB, of which Istio takes one that says
// nothing of its protocol for TCP.
var defaultTCP = []int32{25, 53, 3306, 27017}

// protocolOf is the protocol of the Canary's port.
func protocolOf(route providers.Route) protocol {
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
		return speaksTCP
	case "https", "tls", "kubernetes.io/wss":
		return speaksTLS
	case "http", "http2", "http_proxy", "grpc", "kubernetes.io/h2c", "kubernetes.io/ws":
		return speaksHTTP
	}
	if says != "" && slices.Contains(defaultTCP, s.Port) {
		return speaksTCP
	}
	return speaksHTTP
}

// supported refuses what Istio would take without any effect on requests. Without an
// analysis there is nothing to share out.
func supported(route providers.Route, users *original) error {
	c := route.Canary
	if c.Spec.SkipAnalysis {
		return nil
	}
	refused := func(field, why string) error {
		return &providers.UnsupportedError{Router: v1beta1.ProviderIstio, Field: field, Why: why}
	}
	if c.Spec.Service.Headless {
		return refused("spec.service.headless", "sidecars send what is for a Service without an address to the pod that the caller has looked up, whatever the route says")
	}
	if protocolOf(route) == speaksTLS && (users == nil || !users.sharesTLS(c)) {
		return refused("spec.service.appProtocol", "only tls routes by SNI share out connections that the application encrypts itself: give VirtualService "+
			apexKey(c).String()+" some that lead to the apex Service, or let the mesh encrypt")
	}
	return nil
}

// several tells whether the Services have more than one port, so that Istio has to be told
// which one a gateway's requests are for.
func several(route providers.Route) bool {
	tcp := 0
	for _, p := range route.Ports {
		if p.Protocol != corev1.ProtocolUDP {
			tcp++
		}
	}
	return tcp > 1 || route.Canary.Spec.Service.PortDiscovery
}
