package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/operator/telemetry"
)

// registry remembers what is registered.
type registry struct{ all []prometheus.Collector }

func (r *registry) Register(c prometheus.Collector) error    { r.all = append(r.all, c); return nil }
func (r *registry) MustRegister(all ...prometheus.Collector) { r.all = append(r.all, all...) }
func (r *registry) Unregister(prometheus.Collector) bool     { return false }

var description = regexp.MustCompile(`fqName: "([^"]+)", help: ("(?:[^"\\]|\\.)*"), .*variableLabels: \{([^}]*)\}`)

// metricsPage has what the operator itself registers.
func metricsPage() (string, error) {
	r := &registry{}
	telemetry.NewRollouts(r, clock.RealClock{}, "", "")
	telemetry.NewAlerts(r)
	telemetry.NewAnswers(r, clock.RealClock{})
	telemetry.NewSpans(r)
	telemetry.NewQueues(r)
	telemetry.NewPolicies(r)
	var rows [][]string
	for _, c := range r.all {
		descriptions := make(chan *prometheus.Desc, 10)
		c.Describe(descriptions)
		close(descriptions)
		for d := range descriptions {
			m := description.FindStringSubmatch(d.String())
			if m == nil {
				return "", fmt.Errorf("%s is not understood", d)
			}
			labels := strings.Split(m[3], ",")
			for i, label := range labels {
				labels[i] = code(label)
			}
			rows = append(rows, []string{code(m[1]), typeOfMetric(c), strings.Join(labels, ", "), strings.Trim(m[2], `"`)})
		}
	}
	slices.SortFunc(rows, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	var out strings.Builder
	out.WriteString("# Metrics\n\n" + note)
	out.WriteString(`What the operator publishes at ` + "`/metrics`" + `, beside what controller-runtime, client-go and the Go runtime do. How to have it scraped, what the
values of labels mean, dashboards and alert rules: [telemetry](../telemetry.md). What to do when an alert comes: [runbook](../runbook.md).

`)
	head(&out, "metric", "type", "labels", "what it is")
	for _, cells := range rows {
		row(&out, cells...)
	}
	out.WriteString("\nA histogram has the series `_bucket`, `_sum` and `_count`. Names that begin with `flagger_` are Flagger's, so that dashboards and rules go on working.\n")
	return out.String(), nil
}

func typeOfMetric(c prometheus.Collector) string {
	switch c.(type) {
	case *prometheus.CounterVec:
		return "counter"
	case *prometheus.HistogramVec:
		return "histogram"
	}
	return "gauge"
}
