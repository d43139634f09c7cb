package metrics

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

// Config is what a metric provider is made from: a MetricTemplate's provider
// with its Secret read, and what the operator lends. A provider ignores the
// fields that it has no use for.
type Config struct {
	// Type is the provider's name in a MetricTemplate.
	Type string
	// Address is the base URL of the provider's API. Empty is the provider's
	// own public address, where it has one.
	Address string
	// Region is the one of a cloud provider.
	Region string
	// Headers are sent with each request.
	Headers http.Header
	// InsecureSkipVerify trusts any certificate of the server.
	InsecureSkipVerify bool
	// Secret is the data of the Secret that the template refers to. Nothing of
	// it may get into an error or a log.
	Secret map[string][]byte
	// JSONPath picks the number in the answer of a provider that has no format of its own.
	JSONPath string

	// Clock tells where a query's window ends. Nil is the real time.
	Clock clock.PassiveClock
	// Transport carries the requests. Nil is one of the provider's own.
	Transport http.RoundTripper
	// Kubernetes reaches the API server, for the provider that asks it.
	Kubernetes *rest.Config
	// OwnTokenHosts are the hosts, with their ports where those are not 443, beside the
	// cluster's own API server that may get the operator's own token.
	OwnTokenHosts []string
	// Guard says where requests may go, as the address is written by users. Nil allows every address.
	Guard Guard
	// Namespaces are those that may be named in a query for objects of the cluster, which the operator asks for with
	// rights of its own. Nil allows all of them.
	Namespaces []string
	// NoOwnIdentity refuses requests that the operator signs with the identity that its cloud gives to it.
	NoOwnIdentity bool
}

// Guard says where requests may go.
type Guard interface {
	// CheckURL says why a URL may not be asked, as far as that can be told without looking for its host.
	CheckURL(raw string) error
	// DialContext connects to addresses that are allowed.
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// CheckURL asks the guard of a URL. The error is a [*ConfigError] of the address.
func (c Config) CheckURL(raw string) error {
	if c.Guard == nil {
		return nil
	}
	if err := c.Guard.CheckURL(raw); err != nil {
		return &ConfigError{Field: "address", Message: err.Error()}
	}
	return nil
}

// MayName tells whether a query may be for an object of a namespace.
func (c Config) MayName(namespace string) bool {
	return c.Namespaces == nil || slices.Contains(c.Namespaces, namespace)
}

// Dial is how connections are made: through the guard, or as usual without one.
func (c Config) Dial(timeout time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	if c.Guard == nil {
		return (&net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second}).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return c.Guard.DialContext(ctx, network, address)
	}
}

// ConfigError says that a provider cannot be made from its [Config]. It stays
// so until someone changes the MetricTemplate or its Secret.
type ConfigError struct {
	// Field is the wrong one: address, region, or secret.KEY.
	Field string
	// Message says what is allowed. It never holds the value of a secret.
	Message string
}

// Error implements error.
func (e *ConfigError) Error() string { return e.Field + ": " + e.Message }

// IsConfigError reports whether err says that the configuration is wrong.
func IsConfigError(err error) bool { return is[*ConfigError](err) }

// SecretValue returns the value of a key that the Secret has to have, or a [*ConfigError].
func (c Config) SecretValue(key string) (string, error) {
	v, ok := c.Secret[key]
	if !ok || len(v) == 0 {
		return "", &ConfigError{Field: "secret." + key, Message: fmt.Sprintf("the Secret of a %s provider needs the key %s", c.Type, key)}
	}
	return string(v), nil
}

// Time returns the configured clock, or the real one.
func (c Config) Time() clock.PassiveClock {
	if c.Clock == nil {
		return clock.RealClock{}
	}
	return c.Clock
}
