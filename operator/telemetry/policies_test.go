package telemetry_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-delivery/sluice/operator/telemetry"
)

// series are the gauges of a registry by name and labels.
func series(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "sluice_release_policy_")
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			out[name] = m.GetGauge().GetValue()
		}
	}
	return out
}

func TestPolicies(t *testing.T) {
	registry := prometheus.NewRegistry()
	telemetry.NewPolicies(registry).Follow(func() []telemetry.PolicyStanding {
		return []telemetry.PolicyStanding{
			{Kind: telemetry.KindOfConfigs, UnderWay: 50, Waiting: 950, Limit: 50},
			{Kind: "ReleasePolicy", Namespace: "shop", Name: "one", UnderWay: 1, Frozen: true},
		}
	})
	// Labels are in the order of their names: kind, namespace, policy.
	want := map[string]float64{
		"under_way ConfigLimit  ": 50, "waiting ConfigLimit  ": 950, "limit ConfigLimit  ": 50, "frozen ConfigLimit  ": 0,
		"under_way ReleasePolicy shop one": 1, "waiting ReleasePolicy shop one": 0, "frozen ReleasePolicy shop one": 1,
	}
	if diff := cmp.Diff(want, series(t, registry)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// Thousands of policies make no thousands of series: what is beyond is summed up.
func TestPoliciesAreBounded(t *testing.T) {
	const all, most = 3000, 500
	registry := prometheus.NewRegistry()
	telemetry.NewPolicies(registry).Follow(func() (out []telemetry.PolicyStanding) {
		for i := range all {
			out = append(out, telemetry.PolicyStanding{Kind: "ReleasePolicy", Namespace: "shop", Name: fmt.Sprintf("p%04d", i), Waiting: 1})
		}
		return out
	})
	n, sum := 0, 0.0
	for name, value := range series(t, registry) {
		if strings.HasPrefix(name, "waiting ") {
			n++
			sum += value
		}
	}
	if n != most+1 || sum != all {
		t.Errorf("%d series, and %.0f wait in all", n, sum)
	}
}
