package telemetry

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sluice-delivery/sluice/webhooks/alerts"
)

func TestAlerts(t *testing.T) {
	registry := prometheus.NewRegistry()
	a := NewAlerts(registry)
	a.CountAlert(alerts.Destination{Namespace: "test", Name: "team"}, alerts.Sent)
	a.CountAlert(alerts.Destination{Namespace: "test", Name: "team"}, alerts.Sent)
	a.CountAlert(alerts.Destination{Name: "slack"}, alerts.Lost)
	const want = `
		# HELP sluice_alerts_total Alerts by AlertProvider and by what came of them: sent, failed, lost, or collapsed into a later one. A receiver of the operator's flags has no namespace.
		# TYPE sluice_alerts_total counter
		sluice_alerts_total{namespace="",outcome="lost",provider="slack"} 1
		sluice_alerts_total{namespace="test",outcome="sent",provider="team"} 2
	`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
