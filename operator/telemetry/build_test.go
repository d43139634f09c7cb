package telemetry_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/telemetry"
)

// desk is what a Prometheus would scrape, on a fake clock.
type desk struct {
	*telemetry.Rollouts

	registry *prometheus.Registry
	clock    *clocktesting.FakePassiveClock
}

func newDesk() *desk {
	d := &desk{registry: prometheus.NewRegistry(), clock: clocktesting.NewFakePassiveClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))}
	d.Rollouts = telemetry.NewRollouts(d.registry, d.clock, "1.2.3", "istio")
	return d
}

// scrape is what a Prometheus would read of the named metrics, of all if none
// is named: sorted lines of the exposition format without HELP.
func (d *desk) scrape(t *testing.T, metrics ...string) []string {
	t.Helper()
	families, err := d.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, family := range families {
		if len(metrics) > 0 && !slices.Contains(metrics, family.GetName()) {
			continue
		}
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			t.Fatal(err)
		}
	}
	return slices.DeleteFunc(strings.Split(text.String(), "\n"), func(line string) bool {
		return line == "" || strings.HasPrefix(line, "# HELP")
	})
}

// want compares what scrape gives with these lines.
func (d *desk) want(t *testing.T, lines string, metrics ...string) {
	t.Helper()
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(lines), "\n"), d.scrape(t, metrics...)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// canary builds a Canary "release" of Deployment podinfo. Each change gives it
// another resource version, as a write would.
type canary struct{ *v1beta1.Canary }

func newCanary() canary {
	return canary{&v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "release", ResourceVersion: "1"},
		Spec:       v1beta1.CanarySpec{TargetRef: v1beta1.TargetReference{Kind: "Deployment", Name: "podinfo"}},
	}}
}

func (c canary) phase(phase v1beta1.CanaryPhase) canary {
	c.Status.Phase, c.Status.LastAppliedSpec = phase, "s1-a"
	c.ResourceVersion += "0"
	return c
}

func (c canary) weight(weight int32) canary {
	c.Status.CanaryWeight = weight
	return c
}

func (c canary) named(name, target string) canary {
	c.Name, c.Spec.TargetRef.Name = name, target
	return c
}

func (c canary) skipAnalysis() canary {
	c.Spec.SkipAnalysis = true
	return c
}

// moves publishes a status and the change of phase that it is, as the operator
// does in one turn.
func (d *desk) moves(c canary, phase v1beta1.CanaryPhase) {
	d.Observe(c.Canary)
	before := c.Status.DeepCopy()
	d.Transition(c.phase(phase).Canary, before)
	d.Observe(c.Canary)
}
