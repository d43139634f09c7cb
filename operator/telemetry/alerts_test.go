package telemetry

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-delivery/sluice/webhooks/alerts"
)

func TestAlerts(t *testing.T) {
	registry := prometheus.NewRegistry()
	a := NewAlerts(registry)
	a.CountAlert(alerts.Destination{Namespace: "test", Name: "team"}, alerts.Sent)
	a.CountAlert(alerts.Destination{Namespace: "test", Name: "team"}, alerts.Sent)
	a.CountAlert(alerts.Destination{Name: "slack"}, alerts.Lost)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, l := range m.GetLabel() {
				key += " " + l.GetName() + "=" + l.GetValue()
			}
			got[key] = m.GetCounter().GetValue()
		}
	}
	want := map[string]float64{
		"sluice_alerts_total namespace= outcome=lost provider=slack":    1,
		"sluice_alerts_total namespace=test outcome=sent provider=team": 2,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
