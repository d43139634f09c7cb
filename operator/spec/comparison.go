package spec

import (
	"fmt"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics/builtin"
)

// InvalidComparison says what in the comparison of canary and primary can't be carried out, empty if nothing is. What it
// lacks to count requests is told where metrics are looked at.
func InvalidComparison(a *v1beta1.CanaryAnalysis) string {
	if _, err := a.GetMaxDuration(); err != nil {
		return "spec.analysis." + err.Error()
	}
	if a.Judgement != nil && !a.Compares() {
		return "spec.analysis.judgement: it is about metrics with a comparison, and there is none"
	}
	if a.Judgement != nil && a.Judgement.StepEarly && a.Iterations > 0 {
		return fmt.Sprintf("spec.analysis.judgement.stepEarly: it is about steps of weights, and with %d iterations there are none; allowed: false", a.Iterations)
	}
	if n := comparisons(a); n > maxComparisons {
		return fmt.Sprintf("spec.analysis.metrics: %d have a comparison; allowed: %d, as the evidence of each is in the status", n, maxComparisons)
	}
	known := map[string]bool{}
	for i, m := range a.Metrics {
		if m.Comparison == nil {
			continue
		}
		field := fmt.Sprintf("spec.analysis.metrics[%d].", i)
		if known[m.Name] {
			return fmt.Sprintf("%sname: %q is the name of another metric with a comparison; the evidence of each has its name", field, m.Name)
		}
		known[m.Name] = true
		if message := invalidComparison(a, &m); message != "" {
			return field + message
		}
	}
	return ""
}

// maxComparisons is how many metrics may have a comparison.
const maxComparisons = 20

func comparisons(a *v1beta1.CanaryAnalysis) int {
	n := 0
	for _, m := range a.Metrics {
		if m.Comparison != nil {
			n++
		}
	}
	return n
}

func invalidComparison(a *v1beta1.CanaryAnalysis, m *v1beta1.CanaryMetric) string {
	latency := m.IsBuiltIn() && m.Name == v1beta1.MetricRequestDuration
	switch {
	case m.TemplateRef == nil && m.Query != "":
		return "comparison: it needs counts of requests, and a query gives none; write a MetricTemplate with spec.counts"
	case m.IsBuiltIn() && !builtin.Known(m.Name):
		return fmt.Sprintf("comparison: %q is not built in and has no templateRef, so that nothing is counted", m.Name)
	case m.Comparison.Limit == nil && !a.Comparable():
		return "comparison: canary and primary can't be compared, as the canary's requests are others than the primary's: " + others(a) + "; allowed: with a limit, which judges the canary alone"
	case m.Comparison.Limit != nil && latency && (m.ThresholdRange == nil || m.ThresholdRange.Max == nil):
		return "comparison.limit: it is a share of slow requests; set thresholdRange.max, the milliseconds beyond which a request is slow"
	default:
		return ""
	}
}

// others says which requests a canary has that is no fair share.
func others(a *v1beta1.CanaryAnalysis) string {
	if len(a.Match) > 0 {
		return "those that analysis.match chooses"
	}
	return "with iterations and without mirror, those of a load test"
}
