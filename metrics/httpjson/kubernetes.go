package httpjson

import (
	"k8s.io/client-go/rest"

	"github.com/sluice-delivery/sluice/metrics"
)

// NewKubernetes returns a client for an API server of Kubernetes: the one of
// c.Kubernetes, or the one at c.Address. A token in the Secret is who asks.
// Without it the operator itself asks, but never at an address that somebody
// wrote into a template: that would hand over the operator's own token.
func NewKubernetes(c metrics.Config) (*Client, error) {
	auth := OptionalAuth(c)
	if c.Address != "" {
		return New(c, Options{Auth: auth})
	}
	if c.Kubernetes == nil {
		return nil, &metrics.ConfigError{Field: "address", Message: "a " + c.Type + " provider needs the URL of an API server outside of a cluster"}
	}
	config := rest.CopyConfig(c.Kubernetes)
	if auth != nil {
		config = rest.AnonymousClientConfig(c.Kubernetes)
	}
	if c.Transport == nil {
		transport, err := rest.TransportFor(config)
		if err != nil {
			return nil, err
		}
		c.Transport = transport
	}
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	c.Address = server.String()
	return New(c, Options{Auth: auth})
}
