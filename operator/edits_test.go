package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// editIncidents edit the plan of a release that is under way, and the target.
var editIncidents = []incident{
	{"match removed in mid A/B test", testMatchRemoved},
	{"stepWeights edited to stepWeight at 3 percent", testStepWeightsReplaced},
	{"weight 8 edited to 10, 50, 100", testWeightsRaised},
	{"blue/green edited to weights", testBlueGreenToWeights},
	{"threshold lowered below the failed checks", testThresholdLowered},
	{"image and replicas 0 set at once while the write of a drain was lost", testDrainLost},
	{"replicas lowered with a release", testReplicasLowered},
}

func wantShares(t *testing.T, got story, want ...int32) {
	t.Helper()
	if d := cmp.Diff(want, got.shares()); d != "" {
		t.Errorf("the canary's shares (-want +got)\n%s", d)
	}
}

// testMatchRemoved: without match there is no such share any more, and nobody is sent to
// the canary before blue/green, which the analysis is by now, has come to its end.
func testMatchRemoved(s *site) {
	s.begin(nil, func(c *v1beta1.Canary) {
		c.Spec.Analysis.Interval, c.Spec.Analysis.Iterations = "1h", 3
		c.Spec.Analysis.StepWeight, c.Spec.Analysis.MaxWeight = 0, 0
		c.Spec.Analysis.Match = []v1beta1.RawObject{{Raw: []byte(`{"headers": {"x-canary": {"exact": "insider"}}}`)}}
	})
	p := s.probe(app)
	s.release(newImage)
	s.awaitStep(1)
	s.await("the rule for those that match", func(ctx context.Context) error {
		if seen := p.tell(ctx); seen[len(seen)-1].matched != 100 {
			return fmt.Errorf("it is %s", seen[len(seen)-1])
		}
		return nil
	})
	s.edit(func(c *v1beta1.Canary) { c.Spec.Analysis.Match = nil })
	s.await("no rule for those that match", func(ctx context.Context) error {
		if seen := p.tell(ctx); seen[len(seen)-1].matched != 0 {
			return fmt.Errorf("it is %s", seen[len(seen)-1])
		}
		return nil
	})
	s.awaitStep(1)
	wantShares(s.t, p.tell(s.t.Context()), 0)
	s.edit(func(c *v1beta1.Canary) { c.Spec.Analysis.Interval = "1s" })
	s.awaitSettled(v1beta1.PhaseSucceeded)
	wantShares(s.t, p.stop(0), 0, 100, 0)
}

// testStepWeightsReplaced: the step of the new plan is the next above the weight, not the
// one with the same number.
func testStepWeightsReplaced(s *site) {
	s.begin(nil, func(c *v1beta1.Canary) {
		c.Spec.Analysis.Threshold = 100
		c.Spec.Analysis.StepWeight, c.Spec.Analysis.MaxWeight, c.Spec.Analysis.StepWeights = 0, 0, []int32{1, 2, 3}
	})
	p := s.probe(app)
	s.badAt.Store(3)
	s.release(newImage)
	s.awaitRoute(3)
	s.edit(func(c *v1beta1.Canary) { c.Spec.Analysis.StepWeights, c.Spec.Analysis.StepWeight = nil, 25 })
	s.badAt.Store(0)
	s.awaitSettled(v1beta1.PhaseSucceeded)
	seen := p.stop(0)
	if shares := seen.shares(); len(shares) < 6 || !slices.Equal(shares[:6], []int32{0, 1, 2, 3, 25, 50}) {
		s.t.Errorf("the canary's shares were %v", shares)
	}
}

// testWeightsRaised: the only step becomes the first of three lower than which it is.
func testWeightsRaised(s *site) {
	s.begin(nil, atStep(8))
	p := s.probe(app)
	s.release(newImage)
	s.awaitRoute(8)
	s.edit(func(c *v1beta1.Canary) {
		c.Spec.Analysis.StepWeights, c.Spec.Analysis.Interval = []int32{10, 50, 100}, "1s"
	})
	s.awaitSettled(v1beta1.PhaseSucceeded)
	wantShares(s.t, p.stop(0), 0, 8, 10, 50, 100, 0)
}

// testBlueGreenToWeights: what iterations have found out is no share of users.
func testBlueGreenToWeights(s *site) {
	s.begin(nil, func(c *v1beta1.Canary) {
		c.Spec.Analysis.StepWeight, c.Spec.Analysis.MaxWeight, c.Spec.Analysis.Iterations = 0, 0, 100
	})
	p := s.probe(app)
	s.release(newImage)
	s.awaitStep(3)
	s.edit(func(c *v1beta1.Canary) {
		c.Spec.Analysis.StepWeights, c.Spec.Analysis.Iterations = []int32{20, 40, 60}, 0
	})
	s.awaitSettled(v1beta1.PhaseSucceeded)
	wantShares(s.t, p.stop(0), 0, 20, 40, 60, 0)
}

// testThresholdLowered: as many checks as the threshold have failed by now.
func testThresholdLowered(s *site) {
	s.begin(nil, func(c *v1beta1.Canary) {
		c.Spec.Analysis.Threshold, c.Spec.Analysis.StepWeight, c.Spec.Analysis.MaxWeight = 100, 20, 60
	})
	p := s.probe(app)
	s.bad.Store(true)
	s.release(newImage)
	s.await("2 failed checks", func(ctx context.Context) error {
		st, err := s.status(ctx)
		if err == nil && st.FailedChecks < 2 {
			err = errNotYet
		}
		return err
	})
	s.edit(func(c *v1beta1.Canary) { c.Spec.Analysis.Threshold = 2 })
	s.bad.Store(false)
	s.awaitSettled(v1beta1.PhaseFailed)
	if got := s.primaryImage(); got != oldImage {
		s.t.Errorf("the primary has %s", got)
	}
	wantShares(s.t, p.stop(0), 0, 20, 0)
}

// testDrainLost: a target that is to have no pods, and has another image, is a release.
func testDrainLost(s *site) {
	var lose atomic.Bool
	lose.Store(true)
	s.stop()
	s.operateWith(func(direct client.WithWatch) client.Client {
		return interceptor.NewClient(direct, intercept(func(what string, send func() error) error {
			if lose.Load() && what == "apply Deployment "+app {
				return errDisturbed
			}
			return send()
		}))
	})
	s.create(s.deployment(oldImage))
	s.create(s.newCanary(nil))
	s.await("the drain to be recorded", func(ctx context.Context) error {
		st, err := s.status(ctx)
		if err == nil && (st.Phase != v1beta1.PhaseInitialized || st.DrainedGeneration == 0) {
			err = fmt.Errorf("the status is %+v", st)
		}
		return err
	})
	s.stop()
	p := s.probe(app)
	s.release(newImage, func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(0)) })
	s.operate()
	s.awaitSettled(v1beta1.PhaseSucceeded)
	if got := s.primaryImage(); got != newImage {
		s.t.Errorf("the primary has %s", got)
	}
	wantShares(s.t, p.stop(0), 0, 50, 0)
}

// testReplicasLowered has no autoscaler, so that Git's number of pods is the primary's, once
// it was released.
func testReplicasLowered(s *site) {
	s.begin(func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(6)) }, nil)
	p := s.probe(app)
	s.release(newImage, func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(3)) })
	s.awaitSettled(v1beta1.PhaseSucceeded)
	s.awaitPods(app+"-primary", 3)
	p.stop(0).wantNever(s.t, "the primary has fewer pods before the new ones are promoted", func(m moment) bool {
		return m.primary != nil && *m.primary.Spec.Replicas < 6 && m.phase != v1beta1.PhaseFinalising && m.phase != v1beta1.PhaseSucceeded
	})
}
