package checks

import (
	"fmt"
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics/builtin"
)

// neverChecked names the metrics that are never checked: they have neither a query nor a
// template, and no built-in check has their name. Flagger passes them over, so manifests
// have them.
func neverChecked(a *v1beta1.CanaryAnalysis) []string {
	var out []string
	for i, m := range a.Metrics {
		if unknown(m) {
			out = append(out, fmt.Sprintf("spec.analysis.metrics[%d]: %q is never checked: it has neither templateRef nor query, and is not built in; built in are %s",
				i, m.Name, strings.Join(builtin.Names(), ", ")))
		}
	}
	return out
}

// shadowed names what a metric says beside its template or query without effect.
func shadowed(a *v1beta1.CanaryAnalysis) []string {
	var out []string
	for i, m := range a.Metrics {
		field := fmt.Sprintf("spec.analysis.metrics[%d]", i)
		beside := "query"
		if m.TemplateRef != nil {
			beside = "templateRef"
		}
		if !m.IsBuiltIn() && builtin.Known(m.Name) {
			out = append(out, fmt.Sprintf("%s.name has no effect: %s is set, so the built-in check %s is not run; for both, write a metric of its own for it", field, beside, m.Name))
		}
		if m.TemplateRef != nil && m.Query != "" {
			out = append(out, field+".query has no effect: templateRef is set")
		}
	}
	return out
}
