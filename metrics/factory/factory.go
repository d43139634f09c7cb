// Package factory is the one table of metric providers by name. It is the only
// package that imports their implementations.
package factory

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/batch"
	"github.com/sluice-delivery/sluice/metrics/cloudwatch"
	"github.com/sluice-delivery/sluice/metrics/datadog"
	"github.com/sluice-delivery/sluice/metrics/dynatrace"
	"github.com/sluice-delivery/sluice/metrics/externalmetrics"
	"github.com/sluice-delivery/sluice/metrics/graphite"
	"github.com/sluice-delivery/sluice/metrics/influxdb"
	"github.com/sluice-delivery/sluice/metrics/keptn"
	"github.com/sluice-delivery/sluice/metrics/newrelic"
	"github.com/sluice-delivery/sluice/metrics/prometheus"
	"github.com/sluice-delivery/sluice/metrics/skywalking"
	"github.com/sluice-delivery/sluice/metrics/splunk"
	"github.com/sluice-delivery/sluice/metrics/stackdriver"
	"github.com/sluice-delivery/sluice/metrics/web"
)

// Prometheus is the provider of the built-in checks and of inline queries.
const Prometheus = "prometheus"

// constructors are by the type in a MetricTemplate.
var constructors = map[string]func(metrics.Config) (metrics.Provider, error){
	"cloudwatch":      cloudwatch.New,
	"datadog":         datadog.New,
	"dynatrace":       dynatrace.New,
	"externalmetrics": externalmetrics.New,
	"graphite":        graphite.New,
	"influxdb":        influxdb.New,
	"keptn":           keptn.New,
	"newrelic":        newrelic.New,
	Prometheus:        newPrometheus,
	"skywalking":      skywalking.New,
	"splunk":          splunk.New,
	"stackdriver":     stackdriver.New,
	"web":             web.New,
}

// newPrometheus gives one that can answer the queries of many Canaries by one request.
func newPrometheus(c metrics.Config) (metrics.Provider, error) {
	server, err := prometheus.New(c)
	if err != nil {
		return nil, err
	}
	return batch.New(server, c.Clock), nil
}

// New returns the metric provider that c describes. A [*metrics.ConfigError]
// names what is wrong with it, the type included; nobody is asked.
func New(c metrics.Config) (metrics.Provider, error) {
	construct, ok := constructors[c.Type]
	if !ok {
		return nil, &metrics.ConfigError{Field: "type", Message: fmt.Sprintf("unknown metric provider %q: known are %s", c.Type, strings.Join(Names(), ", "))}
	}
	if c.JSONPath != "" && c.Type != "web" {
		return nil, &metrics.ConfigError{Field: "jsonPath", Message: "it is for the type web: a " + c.Type + " provider has one form of answer"}
	}
	return construct(c)
}

// Names returns the known types in order.
func Names() []string { return slices.Sorted(maps.Keys(constructors)) }
