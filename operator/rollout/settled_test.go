package rollout_test

import (
	"testing"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

// What is left to wait for after the turn that decides for the last time.
func TestSettled(t *testing.T) {
	inStep := func(s *scene) {
		s.Canary.Status.Phase, s.Canary.Status.LastAppliedSpec, s.Canary.Status.CanaryWeight = v1beta1.PhaseProgressing, revB, 20
		s.Canary.Status.Step = &v1beta1.StepStatus{Index: 1}
		s.Canary.Status.Step.Since.Time = t0.Add(-10 * time.Second)
		s.Target = ready(revB, 2)
		s.Checks = &release.CheckRun{
			ID: release.CheckID{Revision: revB, Step: 1, Window: t0.Add(-10 * time.Second).UnixMicro()}, At: t0,
			Results: []v1beta1.CheckStatus{{Name: "request-success-rate", Verdict: v1beta1.CheckPassed}},
		}
	}
	for name, tc := range map[string]struct {
		change func(s *scene)
		after  func(o *release.Observation) // what has come of the decision
		want   time.Duration
		more   bool
	}{
		"a release begins":              {change: func(s *scene) { s.Target.Revision, s.Target.Ready = revB, false }, want: 15 * time.Second},
		"its canary is ready already":   {change: func(s *scene) { s.Target = ready(revB, 2) }, more: true},
		"a step begins":                 {change: inStep, want: 10 * time.Second},
		"a step begins, seen late":      {change: inStep, after: func(o *release.Observation) { o.Now, o.Route.Since = t0.Add(time.Second), t0.Add(time.Second) }, want: 10 * time.Second},
		"a step begins, written long":   {change: inStep, after: func(o *release.Observation) { o.Now = t0.Add(3 * time.Second) }, want: 7 * time.Second},
		"a step begins, checks are due": {change: inStep, after: func(o *release.Observation) { o.Now = t0.Add(10 * time.Second) }, more: true},
		"a mistake":                     {change: func(s *scene) { s.Mistake = &release.Mistake{Reason: "X", Message: "y"} }},
		"what was desired can't be done": {change: func(s *scene) {
			inStep(s)
			s.Failures = []release.Failure{{Object: "VirtualService podinfo", Message: "no"}}
		}, more: true},
		"somebody asks for something": {change: func(s *scene) { inStep(s); s.Actions = []release.Action{{}} }, more: true},
		"the last step is over": {change: func(s *scene) {
			inStep(s)
			s.Canary.Status.Step.Index, s.Checks.ID.Step = 3, 3
			s.Canary.Status.CanaryWeight = 60
			s.Primary.Revision = revB
		}, more: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene()
			tc.change(s)
			d := rollout.Decide(s.Observation)
			o := s.Observation
			if tc.after != nil {
				tc.after(&o)
			}
			after, ok := rollout.Settled(o, d)
			if ok == tc.more || after != tc.want {
				t.Errorf("again after %s, ok %t; decided %s %d", after, ok, d.Status.Phase, d.Status.CanaryWeight)
			}
		})
	}
}
