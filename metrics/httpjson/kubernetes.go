package httpjson

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"

	"github.com/sluice-delivery/sluice/metrics"
)

// NewKubernetes returns a client for an API server of Kubernetes: the one of
// c.Kubernetes, or the one at c.Address. A token in the Secret is who asks.
//
// Without it the operator itself asks, but only where its token is known to be safe: its
// own cluster's API server, and the hosts of c.OwnTokenHosts. Any other address that
// somebody wrote into a template is a [*metrics.ConfigError]: it would get the operator's
// token, or nothing that it could accept.
func NewKubernetes(c metrics.Config) (*Client, error) {
	auth := OptionalAuth(c)
	switch {
	case c.Address != "" && auth != nil:
		return New(c, Options{Auth: auth})
	case c.Kubernetes == nil && c.Address == "":
		return nil, &metrics.ConfigError{Field: "address", Message: "a " + c.Type + " provider needs the URL of an API server outside of a cluster"}
	case c.Address == "", c.Kubernetes != nil && ownServer(c):
		c.Address = ""
		return ofCluster(c, auth)
	case c.Kubernetes != nil && ownTokenAllowed(c):
		return withOwnToken(c)
	default:
		return nil, &metrics.ConfigError{Field: "secret", Message: fmt.Sprintf(
			"a %s provider with the address %s needs a Secret with the key token: the operator's own token is only for its own API server, for which the address is left out, and for -metrics-own-token-hosts",
			c.Type, hostOf(c.Address))}
	}
}

// ofCluster is the API server of c.Kubernetes, asked with its identity or, where there is
// one, with that of the Secret.
func ofCluster(c metrics.Config, auth map[string]string) (*Client, error) {
	c.Guard = nil // it is the operator's own server
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

// withOwnToken asks another server with the operator's token, and with nothing else of
// what it shows to its own.
func withOwnToken(c metrics.Config) (*Client, error) {
	if c.Transport == nil {
		transport, err := rest.TransportFor(&rest.Config{
			Host: c.Address, BearerToken: c.Kubernetes.BearerToken, BearerTokenFile: c.Kubernetes.BearerTokenFile,
			TLSClientConfig: rest.TLSClientConfig{Insecure: c.InsecureSkipVerify}, Dial: c.Dial(5 * time.Second),
		})
		if err != nil {
			return nil, err
		}
		c.Transport = transport
	}
	return New(c, Options{})
}

// ownServer tells whether the address is that of the cluster's own API server, by the
// name that it has in every cluster or by that of the operator's own configuration.
func ownServer(c metrics.Config) bool {
	address, err := url.Parse(c.Address)
	if err != nil || address.Scheme != "https" && address.Scheme != "http" || strings.Trim(address.Path, "/") != "" {
		return false
	}
	own := []string{"https://kubernetes.default.svc", "https://kubernetes.default", "https://kubernetes.default.svc.cluster.local"}
	if server, _, err := rest.DefaultServerUrlFor(c.Kubernetes); err == nil {
		own = append(own, server.Scheme+"://"+server.Host)
	}
	return slices.ContainsFunc(own, func(s string) bool {
		return strings.TrimSuffix(s, ":443") == strings.TrimSuffix(address.Scheme+"://"+address.Host, ":443")
	})
}

func ownTokenAllowed(c metrics.Config) bool {
	address, err := url.Parse(c.Address)
	return err == nil && address.Scheme == "https" && slices.ContainsFunc(c.OwnTokenHosts, func(host string) bool {
		return strings.EqualFold(strings.TrimSuffix(host, ":443"), strings.TrimSuffix(address.Host, ":443"))
	})
}

// hostOf is the server of an address for people.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "that it has"
	}
	return u.Host
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
