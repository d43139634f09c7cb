// Package factory is the one table of metric providers by name. It is the only
// package that imports their implementations.
package factory

import (
	"fmt"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/prometheus"
)

// Prometheus is the provider of the built-in checks and of inline queries.
const Prometheus = "prometheus"

// New returns the metric provider of that name at an address. An unknown name
// is an error that lists the known ones, and so is an address that is no URL;
// the address is not asked.
func New(name, address string) (metrics.Provider, error) {
	if name != Prometheus {
		return nil, fmt.Errorf("unknown metric provider %q: known is %s", name, Prometheus)
	}
	return prometheus.New(address, prometheus.Options{})
}
