// Package discover takes the place of the package by which a Consul server finds others in some cloud. The tests' server is
// alone and asks no cloud, while the clients of a dozen of them were a fifth of what was compiled for it.
package discover

import (
	"fmt"
	"log"
	"maps"
	"slices"
)

// Provider is one way to find servers.
type Provider interface {
	// Addrs returns the addresses of the servers that args describe.
	Addrs(args map[string]string, logger *log.Logger) ([]string, error)
	// Help describes the arguments.
	Help() string
}

// Providers has none.
var Providers = map[string]Provider{}

// Discover knows the providers that it was made with, and asks none.
type Discover struct {
	providers map[string]Provider
}

// Option configures a Discover.
type Option func(*Discover) error

// WithProviders sets what Names returns.
func WithProviders(providers map[string]Provider) Option {
	return func(d *Discover) error {
		d.providers = providers
		return nil
	}
}

// WithUserAgent does nothing, as nobody is asked.
func WithUserAgent(string) Option {
	return func(*Discover) error { return nil }
}

// New returns a Discover with all options applied, or the error of one of them.
func New(options ...Option) (*Discover, error) {
	d := &Discover{}
	for _, option := range options {
		if err := option(d); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Names returns the providers' names in order.
func (d *Discover) Names() []string { return slices.Sorted(maps.Keys(d.providers)) }

// Addrs fails, and says why.
func (d *Discover) Addrs(config string, _ *log.Logger) ([]string, error) {
	return nil, fmt.Errorf("discover: %q: this server is built without the discovery of others, as only tests use it", config)
}
