// Package k8s has the provider that Consul adds to those of package discover.
package k8s

import (
	"errors"
	"log"
)

// Provider finds nothing.
type Provider struct{}

// Addrs fails, and says why.
func (*Provider) Addrs(map[string]string, *log.Logger) ([]string, error) {
	return nil, errors.New("k8s: this server is built without the discovery of others, as only tests use it")
}

// Help returns what there is to know of the arguments.
func (*Provider) Help() string { return "built without the discovery of others, as only tests use it" }
