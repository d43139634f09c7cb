package references

import (
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
)

// SeveralSeries warns of a query that may select several series, which is known for sure only
// when a release asks for it.
func SeveralSeries(t *v1beta1.MetricTemplate) string {
	if t.Spec.Provider.Type != "prometheus" || metrics.Aggregates(t.Spec.Query) {
		return ""
	}
	return "; its query aggregates nothing, and a check fails where it selects several series: use sum() or the like, or set policy.severalSeries of the metric"
}
