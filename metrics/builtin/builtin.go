// Package builtin has the queries of the checks that need no query in the spec.
package builtin

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/prometheus/common/model"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
)

// Vars are what a query is about.
type Vars struct {
	// Name and Namespace are the Canary's.
	Name, Namespace string
	// Target is the name of the workload that is released, Kind its kind.
	Target, Kind string
	// Service is the name of the apex Service.
	Service string
	// Interval is how far back to look, as Prometheus writes durations: 1m, 1m30s.
	Interval string
}

// Names returns the names of all built-in metrics, sorted.
func Names() []string {
	names := map[string]bool{}
	for _, queries := range table() {
		for name := range queries {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// Known reports whether any provider has a built-in metric of this name.
func Known(name string) bool { return slices.Contains(Names(), name) }

// Expr returns the query of a built-in metric for a mesh, named as in
// spec.provider. The errors are *metrics.UnknownMetricError, and
// *metrics.QueryError for an interval that Prometheus cannot read.
func Expr(provider, metricName string, v Vars) (string, error) {
	queries := table()[provider]
	query, ok := queries[metricName]
	if !ok {
		return "", &metrics.UnknownMetricError{
			Provider: provider, Metric: metricName, Known: slices.Sorted(maps.Keys(queries)),
		}
	}
	if err := checkInterval(v.Interval); err != nil {
		return "", err
	}
	return query(v), nil
}

// Version is one of the two that a release is about.
type Version string

// Versions.
const (
	Canary  Version = "canary"
	Primary Version = "primary"
)

// Requests returns the query of how many requests a version had in the
// interval; v.Target is the workload of that version. It gives 0 or no value
// where there were none. The errors are those of [Expr]; an unknown metric says
// that nobody counts the requests of this mesh.
func Requests(provider string, of Version, v Vars) (string, error) {
	counted, ok := requests()[provider]
	if !ok {
		return "", &metrics.UnknownMetricError{Provider: provider, Metric: "number of requests"}
	}
	if err := checkInterval(v.Interval); err != nil {
		return "", err
	}
	return counted(of, v), nil
}

// checkInterval keeps out what Prometheus can't read, and what would be more
// than an interval.
func checkInterval(interval string) error {
	if err := CheckInterval(interval); err != nil {
		return &metrics.QueryError{Message: "interval: " + err.Error()}
	}
	return nil
}

func table() map[string]map[string]func(Vars) string {
	istio := map[string]func(Vars) string{
		v1beta1.MetricRequestSuccessRate: istioSuccessRate,
		v1beta1.MetricRequestDuration:    istioDuration,
	}
	return map[string]map[string]func(Vars) string{
		v1beta1.ProviderConsul: {
			v1beta1.MetricRequestSuccessRate: consulSuccessRate,
			v1beta1.MetricRequestDuration:    consulDuration,
		},
		v1beta1.ProviderIstio: istio,
		// As in Flagger: an application behind a Gateway is measured by Istio's proxies.
		v1beta1.ProviderGatewayAPI:        istio,
		v1beta1.ProviderGatewayAPIV1Beta1: istio,
		v1beta1.ProviderGatewayAPIAny:     istio,
		v1beta1.ProviderLinkerd: {
			v1beta1.MetricRequestSuccessRate: linkerdSuccessRate,
			v1beta1.MetricRequestDuration:    linkerdDuration,
		},
		v1beta1.ProviderKubernetes: {
			v1beta1.MetricRequestSuccessRate: httpSuccessRate,
			v1beta1.MetricRequestDuration:    httpDuration,
		},
	}
}

// matcher is one label matcher with an exact value.
func matcher(label, value string) string { return label + "=" + strconv.Quote(value) }

// CheckInterval says why Prometheus, in whose language the built-in checks are, can't read a time span.
func CheckInterval(interval string) error {
	if d, err := model.ParseDuration(interval); err != nil || d <= 0 {
		return fmt.Errorf("%q is no time span of Prometheus; allowed: whole numbers above 0 with w, d, h, m, s or ms, in this order, such as 90s, 1m or 1h30m", interval)
	}
	return nil
}
