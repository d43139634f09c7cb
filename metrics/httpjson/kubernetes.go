package httpjson

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
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
	c.Guard = nil // it is the operator's own API server
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

// CheckNames says why a query may not be for the object of this name in this namespace: what is no name would become
// another path of the API server, and what is elsewhere is not for who writes the query. An empty name is not looked at.
func CheckNames(c metrics.Config, q metrics.Query, namespace, name string) error {
	switch {
	case len(validation.IsDNS1123Label(namespace)) > 0:
		return &metrics.QueryError{Expr: q.Expr, Message: fmt.Sprintf("%q is no name of a namespace", namespace)}
	case name != "" && len(validation.IsDNS1123Subdomain(name)) > 0:
		return &metrics.QueryError{Expr: q.Expr, Message: fmt.Sprintf("%q is no name of an object", name)}
	case !c.MayName(namespace):
		return &metrics.QueryError{Expr: q.Expr, Message: fmt.Sprintf("it is for the namespace %s; allowed: %s", namespace, strings.Join(c.Namespaces, ", "))}
	}
	return nil
}
