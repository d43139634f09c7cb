// Package builtin has the queries of the checks that need no query in the spec, and
// knows who counts the requests that they are about.
package builtin

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
)

// Vars are what a query is about.
type Vars struct {
	// Name and Namespace are the Canary's.
	Name, Namespace string
	// Target is the name of the workload that is released, Primary that of its copy,
	// Kind the kind of both.
	Target, Primary, Kind string
	// Service is the name of the apex Service.
	Service string
	// Ingress is the name of the Ingress by which requests come.
	Ingress string
	// Route is the name of the user's route by which requests come.
	Route string
	// CanaryRevision and PrimaryRevision are the names of the revisions of a Service of Knative.
	CanaryRevision, PrimaryRevision string
	// Interval is how far back to look, as Prometheus writes durations: 1m, 1m30s.
	Interval string
	// Before is how far before the interval the last value of a counter is looked for; empty is 5m. One that has none there
	// was born in the interval.
	Before string
	// At is the moment that the queries of [Source.Counts] are about, so that they give the same whenever they are evaluated;
	// zero is that moment.
	At time.Time
}

// pin is what pins a selector to At.
func (v Vars) pin() string {
	if v.At.IsZero() {
		return ""
	}
	return fmt.Sprintf(" @ %d.%03d", v.At.Unix(), v.At.UnixMilli()%1000)
}

// Version is one of the two that a release is about.
type Version string

// Versions.
const (
	Canary  Version = "canary"
	Primary Version = "primary"
)

// workload is the name of the workload of a version.
func (v Vars) workload(of Version) string {
	if of == Primary {
		return v.Primary
	}
	return v.Target
}

// service is the name of the Service of a version.
func (v Vars) service(of Version) string { return v.Service + "-" + string(of) }

// Names returns the names of all built-in metrics, sorted.
func Names() []string {
	return []string{v1beta1.MetricRequestDuration, v1beta1.MetricRequestSuccessRate}
}

// Known reports whether there is a built-in metric of this name.
func Known(name string) bool { return slices.Contains(Names(), name) }

// Expr returns the query of a built-in metric of the canary. The errors are
// *metrics.UnknownMetricError, and *metrics.QueryError for an interval that Prometheus
// cannot read and for names by which nobody can tell the pods of the two versions apart.
func (s Source) Expr(metric string, v Vars) (string, error) {
	if err := s.check(v); err != nil {
		return "", err
	}
	switch {
	case metric == v1beta1.MetricRequestSuccessRate:
		return s.successRate(v), nil
	case metric == v1beta1.MetricRequestDuration && s.buckets != "":
		return s.duration(v), nil
	case metric == v1beta1.MetricRequestDuration:
		return "", &metrics.UnknownMetricError{Provider: s.Name, Metric: metric, Known: []string{v1beta1.MetricRequestSuccessRate}}
	default:
		return "", &metrics.UnknownMetricError{Provider: s.Name, Metric: metric, Known: Names()}
	}
}

// Requests returns the query of how many requests a version had in the interval. It has
// no value where no counter of them is known. The errors are those of [Source.Expr].
func (s Source) Requests(of Version, v Vars) (string, error) {
	if err := s.check(v); err != nil {
		return "", err
	}
	return fmt.Sprintf("sum(%s)", s.all(of, v)), nil
}

// Scrapes returns the query of how often the server has scraped, in the interval, what
// tells of the requests of a version, whether there were any or not. It has no value
// where that is never scraped. The errors are those of [Source.Expr].
func (s Source) Scrapes(of Version, v Vars) (string, error) {
	if err := s.check(v); err != nil {
		return "", err
	}
	return s.scrapes(of, v), nil
}

// Which returns the query of which of several sources has scraped series of the
// application in the interval: the number of the first that has, from 1. It has no value
// where none has. The error is a *metrics.QueryError.
func Which(sources []Source, v Vars) (string, error) {
	if err := checkInterval(v.Interval); err != nil {
		return "", err
	}
	var out string
	for i, s := range sources {
		if i > 0 {
			out += " or "
		}
		out += fmt.Sprintf("0 * (%s or %s) + %d", s.known(Primary, v), s.known(Canary, v), i+1)
	}
	return out, nil
}

func (s Source) check(v Vars) error {
	if err := checkInterval(v.Interval); err != nil {
		return err
	}
	if s.refused == nil {
		return nil
	}
	return s.refused(v)
}

// checkInterval keeps out what Prometheus can't read, and what would be more
// than an interval.
func checkInterval(interval string) error {
	if err := CheckInterval(interval); err != nil {
		return &metrics.QueryError{Message: "interval: " + err.Error()}
	}
	return nil
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

// pattern is one label matcher with a regular expression.
func pattern(label, expression string) string { return label + "=~" + strconv.Quote(expression) }
