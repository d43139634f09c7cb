package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-delivery/sluice/webhooks/alerts"
)

// Alerts counts alerts. It is an alerts.Counter.
type Alerts struct{ total *prometheus.CounterVec }

// NewAlerts registers the metric.
func NewAlerts(registry prometheus.Registerer) *Alerts {
	a := &Alerts{total: prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "sluice", Name: "alerts_total",
		Help: "Alerts by AlertProvider and by what came of them: sent, failed, lost, or collapsed into a later one. A receiver of the operator's flags has no namespace.",
	}, []string{"namespace", "provider", "outcome"})}
	registry.MustRegister(a.total)
	return a
}

// CountAlert counts one.
func (a *Alerts) CountAlert(to alerts.Destination, outcome alerts.Outcome) {
	a.total.WithLabelValues(to.Namespace, to.Name, string(outcome)).Inc()
}
