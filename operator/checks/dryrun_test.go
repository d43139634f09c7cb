package checks

import (
	"context"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/operator/release"
)

// TestDryRun asks the metrics once for a request, beside the rounds of a release, and not again for one that was made before.
func TestDryRun(t *testing.T) {
	queries := make(chan string, 100)
	provider := &fakeProvider{answer: func(_ context.Context, q metrics.Query) (metrics.Sample, error) {
		queries <- q.Expr
		return metrics.Sample{Value: 98}, nil
	}}
	k := newTestChecker(provider)
	clk := k.Clock.(*clocktesting.FakePassiveClock)
	c := newCanary("podinfo").with(func(s *v1beta1.CanarySpec) {
		s.Analysis.Metrics = append(s.Analysis.Metrics, v1beta1.CanaryMetric{Name: "nothing"}, v1beta1.CanaryMetric{Name: "latency", Query: "latency", Comparison: &v1beta1.MetricComparison{}})
	})
	asked := start.Add(-time.Second) // a request of the second before
	k.Run(t.Context(), c.Canary, release.CheckID{Step: 1}, nil)
	awaitFinished(t, k)
	receive(t, queries)
	if got := k.DryRun(t.Context(), c.Canary, "a", asked); got != nil {
		t.Fatalf("it knows %v already", got)
	}
	awaitFinished(t, k)
	receive(t, queries)
	got := k.DryRun(t.Context(), c.Canary, "a", asked)
	if len(got) != 3 || got[0].Value != "98" || got[0].Range != ">= 99" || got[0].Query != "health" || got[0].Verdict != v1beta1.CheckFailed || got[0].Message == "" ||
		got[1].Verdict != v1beta1.CheckPassed || got[2].Verdict != v1beta1.CheckSkipped {
		t.Errorf("got %+v", got)
	}
	if round, hooks := k.Results(c.Canary); round.ID.Step != 1 || len(hooks) != 0 {
		t.Errorf("it is taken for a round: %+v, %v", round, hooks)
	}
	for range 3 {
		if k.DryRun(t.Context(), c.Canary, "b", asked) == nil || k.DryRun(t.Context(), c.Canary, "a", asked) == nil {
			t.Error("one that was made before asks again")
		}
	}
	clk.SetTime(start.Add(time.Minute))
	asked = start // perhaps after the run has begun
	if k.DryRun(t.Context(), c.Canary, "a", asked) == nil {
		t.Error("what was answered is asked again")
	}
	if len(queries) != 0 {
		t.Errorf("%d queries more", len(queries))
	}
	if k.DryRun(t.Context(), c.Canary, "b", asked) != nil {
		t.Error("the next one gets what is old")
	}
	awaitFinished(t, k)
	edited := c.DeepCopy()
	edited.Generation++
	if k.DryRun(t.Context(), edited, "c", asked) != nil {
		t.Error("after an edit it gets what was before")
	}
	awaitFinished(t, k)
	k.Forget(keyOf(c.Canary))
	if len(k.dryRuns) != 0 {
		t.Error("a Canary that is gone is remembered")
	}
}

// TestDryRunEnds calls off what is asked of a Canary that is gone, or of another of its name.
func TestDryRunEnds(t *testing.T) {
	g := newGates()
	k := newTestChecker(g)
	c := newCanary("podinfo")
	if k.DryRun(t.Context(), c.Canary, "a", start) != nil || k.DryRun(t.Context(), c.Canary, "b", start) != nil {
		t.Error("it knows what nobody has answered")
	}
	receive(t, g.began)
	again := c.DeepCopy()
	again.UID = "another"
	k.DryRun(t.Context(), again, "a", start)
	receive(t, g.began)
	k.Forget(keyOf(c.Canary))
	if err := receive(t, g.ended); err == nil {
		t.Error("a query ends without an error")
	}
	if g.mostAtOnce() > 2 || len(k.Finished()) != 0 {
		t.Errorf("%d at once, %d ends are told", g.mostAtOnce(), len(k.Finished()))
	}
}
