package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/rig"
)

// TestOperatorRestart kills the operator in the middle of releases. The next
// one goes on where it was: no step is skipped or taken twice, no failed check
// is forgotten or counted twice, and users notice nothing.
func TestOperatorRestart(t *testing.T) {
	const interval = 3 * time.Second
	a := newApp(t, "restart")
	a.deploy()
	requests := a.call(100)
	before := requests.report()
	a.apply(func(c *v1beta1.Canary) {
		c.Spec.Analysis.Interval = interval.String()
		c.Spec.DrainDelaySeconds = new(int32(2))
	})
	a.awaitPhase(v1beta1.PhaseInitialized)
	h, err := a.Watch(t.Context())
	a.must(err)

	restart := func() {
		t.Helper()
		a.killOperator()
		a.must(a.startOperator(t.Context()))
	}
	a.release("6.0.1")
	a.awaitWeight(20)
	restart() // with the step just begun, perhaps without its route
	a.awaitWeight(40)
	requests.awaitMore(100)
	restart() // in the middle of a step
	a.awaitPhase(v1beta1.PhasePromoting)
	restart()
	a.awaitPhase(v1beta1.PhaseSucceeded)
	restart() // before the canary's pods are gone
	a.awaitDrained()
	requests.awaitMore(200)
	requests.wantNoFailure("a release with four restarts", before)
	wantWeights(t, h, 0, 10, 20, 30, 40, 50, 0)
	wantEachStepOnce(t, h, 5)
	wantEachStepLong(t, h, interval)
	a.wantPrimary("6.0.1")

	h, err = a.Watch(t.Context())
	a.must(err)
	a.release("6.0.2", corev1.EnvVar{Name: "SLUICE_ERROR_PERCENT", Value: "50"})
	a.await("the first failed check", func(ctx context.Context) error {
		c, err := a.Canary(ctx)
		if err == nil && c.Status.FailedChecks == 0 {
			err = fmt.Errorf("it is %s", c.Status.Phase)
		}
		return err
	})
	restart()
	a.awaitPhase(v1beta1.PhaseFailed)
	var failed []int32
	for _, m := range moments(t, h) {
		if n := m.Status.FailedChecks; len(failed) == 0 || failed[len(failed)-1] != n {
			failed = append(failed, n)
		}
	}
	if diff := cmp.Diff([]int32{0, 1, 2, 3}, failed); diff != "" {
		t.Errorf("failed checks (-want +got):\n%s", diff)
	}
	a.awaitEvent(rig.Name, "AnalysisFailed", "failed check 3 of 3")
	a.wantPrimary("6.0.1")
}

// wantEachStepOnce makes sure that the steps of the analysis were 1, 2, ... n.
func wantEachStepOnce(t *testing.T, h *rig.History, n int32) {
	t.Helper()
	var want, got []int32
	for i := int32(1); i <= n; i++ {
		want = append(want, i)
	}
	last := time.Time{}
	for _, m := range moments(t, h) {
		s := m.Status.Step
		if m.Status.Phase != v1beta1.PhaseProgressing || s == nil || s.Index == 0 || s.Since.Time.Equal(last) {
			continue
		}
		last = s.Since.Time
		got = append(got, s.Index)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// wantEachStepLong makes sure that each step lasted an interval, by the times that the operator notes: those
// at which they are seen are later by what a busy machine takes.
func wantEachStepLong(t *testing.T, h *rig.History, interval time.Duration) {
	t.Helper()
	var step *v1beta1.StepStatus
	steps := 0
	for _, m := range moments(t, h) {
		next := m.Status.Step
		if next == nil || step != nil && next.Since.Equal(&step.Since) {
			continue
		}
		if step != nil && step.Index > 0 {
			steps++
			if lasted := next.Since.Sub(step.Since.Time); lasted < interval {
				t.Errorf("step %d lasted %v, want at least the interval of %v", step.Index, lasted, interval)
			}
		}
		step = next
	}
	if steps == 0 {
		t.Error("there were no steps")
	}
}
