package telemetry_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// The names, labels and values below are what people's dashboards and alert
// rules on Flagger ask for. The label name is that of the target.
func TestNamesAndLabels(t *testing.T) {
	d := newDesk()
	c := newCanary()
	d.moves(c, v1beta1.PhaseProgressing)
	d.Observe(c.weight(20).phase(v1beta1.PhaseProgressing).Canary)
	d.Check(c.Canary, v1beta1.CanaryMetric{Name: "request-success-rate"}, 99.5)
	d.want(t, `
# TYPE flagger_canary_metric_analysis gauge
flagger_canary_metric_analysis{metric="request-success-rate",name="podinfo",namespace="test"} 99.5
# TYPE flagger_canary_status gauge
flagger_canary_status{name="podinfo",namespace="test"} 0
# TYPE flagger_canary_total gauge
flagger_canary_total{namespace="test"} 1
# TYPE flagger_canary_weight gauge
flagger_canary_weight{namespace="test",workload="podinfo"} 20
flagger_canary_weight{namespace="test",workload="podinfo-primary"} 80
# TYPE flagger_info gauge
flagger_info{mesh_provider="istio",version="1.2.3"} 1`)

	d.Round(c.Canary, 1500*time.Millisecond)
	d.clock.SetTime(d.clock.Now().Add(45 * time.Second))
	d.moves(c, v1beta1.PhaseSucceeded)
	d.want(t, `
# TYPE flagger_canary_duration_seconds histogram
flagger_canary_duration_seconds_bucket{name="podinfo",namespace="test",le="0.005"} 0
flagger_canary_duration_seconds_bucket{name="podinfo",namespace="test",le="0.01"} 0
flagger_canary_duration_seconds_bucket{name="podinfo",namespace="test",le="0.025"} 0
flagger_canary_duration_seconds_bucket{name="podinfo",namespace="test",le="0.05"} 0
flagger_canary_duration_seconds_bucket{name="podinfo",namespace="test",le="0.1"} 0
flagger_canary_duration_seconds_bucket{name="podinfo",namespace="test",le="0.25"} 0
flagger_canary_duration_seconds_bucket{name="podinfo",namespace="test",le="0.5"} 0
flagger_canary_duration_seconds_bucket{name="podinfo",namespace="test",le="1"} 0
flagger_canary_duration_seconds_bucket{name="podinfo",namespace="test",le="2.5"} 1
flagger_canary_duration_seconds_bucket{name="podinfo",namespace="test",le="5"} 1
flagger_canary_duration_seconds_bucket{name="podinfo",namespace="test",le="10"} 1
flagger_canary_duration_seconds_bucket{name="podinfo",namespace="test",le="+Inf"} 1
flagger_canary_duration_seconds_sum{name="podinfo",namespace="test"} 1.5
flagger_canary_duration_seconds_count{name="podinfo",namespace="test"} 1
# TYPE flagger_canary_successes_total counter
flagger_canary_successes_total{analysis_status="completed",deployment_strategy="canary",name="podinfo",namespace="test"} 1
# TYPE sluice_release_duration_seconds histogram
sluice_release_duration_seconds_bucket{name="podinfo",namespace="test",le="10"} 0
sluice_release_duration_seconds_bucket{name="podinfo",namespace="test",le="30"} 0
sluice_release_duration_seconds_bucket{name="podinfo",namespace="test",le="60"} 1
sluice_release_duration_seconds_bucket{name="podinfo",namespace="test",le="120"} 1
sluice_release_duration_seconds_bucket{name="podinfo",namespace="test",le="300"} 1
sluice_release_duration_seconds_bucket{name="podinfo",namespace="test",le="600"} 1
sluice_release_duration_seconds_bucket{name="podinfo",namespace="test",le="1200"} 1
sluice_release_duration_seconds_bucket{name="podinfo",namespace="test",le="1800"} 1
sluice_release_duration_seconds_bucket{name="podinfo",namespace="test",le="3600"} 1
sluice_release_duration_seconds_bucket{name="podinfo",namespace="test",le="7200"} 1
sluice_release_duration_seconds_bucket{name="podinfo",namespace="test",le="+Inf"} 1
sluice_release_duration_seconds_sum{name="podinfo",namespace="test"} 45
sluice_release_duration_seconds_count{name="podinfo",namespace="test"} 1`,
		"flagger_canary_duration_seconds", "sluice_release_duration_seconds", "flagger_canary_successes_total", "flagger_canary_failures_total")
}

// Releases are told apart by their strategy, and how they ended, by the values that Flagger has for it.
func TestStrategyLabels(t *testing.T) {
	for strategy, analysis := range map[string]*v1beta1.CanaryAnalysis{
		"canary":     {StepWeight: 10, Match: make([]v1beta1.RawObject, 1)},
		"blue-green": {Iterations: 10},
		"ab-testing": {Iterations: 10, Match: make([]v1beta1.RawObject, 1)},
	} {
		t.Run(strategy, func(t *testing.T) {
			d := newDesk()
			c := newCanary().skipAnalysis()
			c.Spec.Analysis = analysis
			for _, end := range []v1beta1.CanaryPhase{v1beta1.PhaseSucceeded, v1beta1.PhaseFailed} {
				d.moves(c, v1beta1.PhaseProgressing)
				d.moves(c, end)
			}
			d.want(t, fmt.Sprintf(`
# TYPE flagger_canary_failures_total counter
flagger_canary_failures_total{analysis_status="completed",deployment_strategy=%q,name="podinfo",namespace="test"} 1
# TYPE flagger_canary_successes_total counter
flagger_canary_successes_total{analysis_status="skipped",deployment_strategy=%q,name="podinfo",namespace="test"} 1`, strategy, strategy),
				"flagger_canary_successes_total", "flagger_canary_failures_total")
		})
	}
}

// A promotion that fails goes on here. An alert rule on flagger_canary_status > 1 fires all the same, and the failure is counted
// once.
func TestFailedPromotion(t *testing.T) {
	d := newDesk()
	c := newCanary()
	d.moves(c, v1beta1.PhaseProgressing)
	d.moves(c, v1beta1.PhasePromoting)
	for range 3 {
		before := c.Status.DeepCopy()
		c.Status.SetCondition(v1beta1.CanaryCondition{Type: v1beta1.ConditionPromoted, Status: corev1.ConditionFalse, Reason: release.ReasonPromotionHalted}, d.clock.Now())
		d.Transition(c.phase(v1beta1.PhasePromoting).Canary, before)
		d.Observe(c.Canary)
	}
	d.want(t, `
# TYPE flagger_canary_failures_total counter
flagger_canary_failures_total{analysis_status="completed",deployment_strategy="canary",name="podinfo",namespace="test"} 1
# TYPE flagger_canary_status gauge
flagger_canary_status{name="podinfo",namespace="test"} 2`, "flagger_canary_status", "flagger_canary_failures_total")
	c.Status.Conditions = nil
	d.moves(c, v1beta1.PhaseSucceeded)
	d.want(t, `
# TYPE flagger_canary_status gauge
flagger_canary_status{name="podinfo",namespace="test"} 1`, "flagger_canary_status")
}

func TestStatusOfPhases(t *testing.T) {
	for phase, want := range map[v1beta1.CanaryPhase]int{
		v1beta1.PhaseInitializing:     1,
		v1beta1.PhaseInitialized:      1,
		v1beta1.PhaseWaiting:          1,
		v1beta1.PhaseProgressing:      0,
		v1beta1.PhaseWaitingPromotion: 1,
		v1beta1.PhasePromoting:        1,
		v1beta1.PhaseFinalising:       1,
		v1beta1.PhaseSucceeded:        1,
		v1beta1.PhaseFailed:           2,
		v1beta1.PhaseTerminating:      1,
	} {
		t.Run(string(phase), func(t *testing.T) {
			d := newDesk()
			d.Observe(newCanary().phase(phase).Canary)
			d.want(t, fmt.Sprintf(`
# TYPE flagger_canary_status gauge
flagger_canary_status{name="podinfo",namespace="test"} %d`, want), "flagger_canary_status")
		})
	}
}

func TestEndsAreCounted(t *testing.T) {
	const (
		successes = "flagger_canary_successes_total"
		failures  = "flagger_canary_failures_total"
		duration  = "sluice_release_duration_seconds"
	)
	type phases = []v1beta1.CanaryPhase
	for name, tc := range map[string]struct {
		canary canary
		phases phases
		want   []string // metrics that have series
	}{
		"promotion":                             {newCanary(), phases{v1beta1.PhaseProgressing, v1beta1.PhasePromoting, v1beta1.PhaseFinalising, v1beta1.PhaseSucceeded}, []string{successes, duration}},
		"rollback":                              {newCanary(), phases{v1beta1.PhaseProgressing, v1beta1.PhaseFailed}, []string{failures, duration}},
		"a phase that stays is no transition":   {newCanary().phase(v1beta1.PhaseFailed), phases{v1beta1.PhaseFailed}, nil},
		"the first primary is no release":       {newCanary(), phases{v1beta1.PhaseInitializing, v1beta1.PhaseInitialized}, nil},
		"begun under another process":           {newCanary().phase(v1beta1.PhaseFinalising), phases{v1beta1.PhaseSucceeded}, []string{successes}},
		"promotion and rollback one by one":     {newCanary(), phases{v1beta1.PhaseProgressing, v1beta1.PhaseSucceeded, v1beta1.PhaseProgressing, v1beta1.PhaseFailed}, []string{successes, failures, duration}},
		"without analysis, in a series apart":   {newCanary().skipAnalysis(), phases{v1beta1.PhaseProgressing, v1beta1.PhaseSucceeded}, []string{successes, duration}},
		"deletion in mid-analysis ends nothing": {newCanary(), phases{v1beta1.PhaseProgressing, v1beta1.PhaseTerminating}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk()
			for _, phase := range tc.phases {
				d.moves(tc.canary, phase)
			}
			for _, metric := range []string{successes, failures, duration} {
				if got := d.scrape(t, metric); slices.Contains(tc.want, metric) != (len(got) > 0) {
					t.Errorf("series of %s: %v", metric, got)
				}
			}
		})
	}
}

func TestSkippedAnalysis(t *testing.T) {
	d := newDesk()
	c := newCanary().skipAnalysis()
	d.moves(c, v1beta1.PhaseProgressing)
	d.moves(c, v1beta1.PhaseSucceeded)
	d.want(t, `
# TYPE flagger_canary_successes_total counter
flagger_canary_successes_total{analysis_status="skipped",deployment_strategy="canary",name="podinfo",namespace="test"} 1`,
		"flagger_canary_successes_total")
}

func TestCheckValues(t *testing.T) {
	for name, tc := range map[string]struct {
		metric v1beta1.CanaryMetric
		value  float64
		want   string
	}{
		"as it is":                         {v1beta1.CanaryMetric{Name: "request-success-rate"}, 98.5, "98.5"},
		"built-in durations in seconds":    {v1beta1.CanaryMetric{Name: "request-duration"}, 250, "0.25"},
		"a query of that name as it is":    {v1beta1.CanaryMetric{Name: "request-duration", Query: "x"}, 250, "250"},
		"a template of that name as it is": {v1beta1.CanaryMetric{Name: "request-duration", TemplateRef: &v1beta1.CrossNamespaceObjectReference{Name: "x"}}, 250, "250"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk()
			c := newCanary().phase(v1beta1.PhaseProgressing)
			d.Observe(c.Canary)
			d.Check(c.Canary, tc.metric, tc.value)
			d.want(t, fmt.Sprintf(`
# TYPE flagger_canary_metric_analysis gauge
flagger_canary_metric_analysis{metric=%q,name="podinfo",namespace="test"} %s`, tc.metric.Name, tc.want), "flagger_canary_metric_analysis")
		})
	}
}

// wantNothingOf fails if any series but the operator's own is left.
func (d *desk) wantNothingOf(t *testing.T) {
	t.Helper()
	d.want(t, `
# TYPE flagger_canary_total gauge
flagger_canary_total{namespace="test"} 0
# TYPE flagger_info gauge
flagger_info{mesh_provider="istio",version="1.2.3"} 1`)
}

// The series of a Canary that is deleted go with it, of whatever kind, so that none alerts for ever and one that is made
// again begins anew. Flagger has them until it is started again.
func TestForget(t *testing.T) {
	d := newDesk()
	c := newCanary()
	for _, end := range []v1beta1.CanaryPhase{v1beta1.PhaseSucceeded, v1beta1.PhaseFailed} {
		d.moves(c, v1beta1.PhaseProgressing)
		d.moves(c, end)
	}
	metric := v1beta1.CanaryMetric{Name: "request-success-rate"}
	d.Check(c.Canary, metric, 1)
	d.Forget(client.ObjectKeyFromObject(c))
	d.wantNothingOf(t)

	d.Check(c.Canary, metric, 1) // a check that was under way
	d.Round(c.Canary, time.Second)
	d.Transition(c.phase(v1beta1.PhaseProgressing).Canary, &v1beta1.CanaryStatus{Phase: v1beta1.PhaseFailed})
	d.Forget(client.ObjectKeyFromObject(c))
	d.Forget(client.ObjectKey{Namespace: "test", Name: "never-seen"})
	d.wantNothingOf(t)
}

// A Canary that may not have its target, as another one has it, must not speak
// for it: neither when it is seen nor when it goes.
func TestTargetOfAnother(t *testing.T) {
	d := newDesk()
	d.Observe(newCanary().phase(v1beta1.PhaseFailed).Canary)
	second := newCanary().named("second", "podinfo")
	second.Status.Phase = v1beta1.PhaseInitializing
	d.Observe(second.Canary)
	d.Check(second.Canary, v1beta1.CanaryMetric{Name: "x"}, 1)
	d.Forget(client.ObjectKeyFromObject(second))
	d.want(t, `
# TYPE flagger_canary_status gauge
flagger_canary_status{name="podinfo",namespace="test"} 2
# TYPE flagger_canary_total gauge
flagger_canary_total{namespace="test"} 1`, "flagger_canary_status", "flagger_canary_total", "flagger_canary_metric_analysis")
}

func TestAnotherTarget(t *testing.T) {
	d := newDesk()
	d.Observe(newCanary().phase(v1beta1.PhaseFailed).Canary)
	d.Observe(newCanary().named("release", "other").phase(v1beta1.PhaseProgressing).phase(v1beta1.PhaseProgressing).Canary)
	d.want(t, `
# TYPE flagger_canary_status gauge
flagger_canary_status{name="other",namespace="test"} 0
# TYPE flagger_canary_weight gauge
flagger_canary_weight{namespace="test",workload="other"} 0
flagger_canary_weight{namespace="test",workload="other-primary"} 100`, "flagger_canary_status", "flagger_canary_weight")
}
