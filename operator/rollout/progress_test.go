package rollout_test

import (
	"testing"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

func TestOldAnswersDoNotCount(t *testing.T) {
	for name, s := range map[string]*scene{
		"passed eight hours ago, resumed now": newScene().step(1, 20, 8*time.Hour).checked(v1beta1.CheckPassed, 8*time.Hour-10*time.Second).paused().asked(v1beta1.ActionResume),
		"passed eight hours ago, suspended":   newScene().step(1, 20, 8*time.Hour).checked(v1beta1.CheckPassed, 8*time.Hour-10*time.Second),
		"of before the route was there": newScene().step(1, 20, time.Minute).checked(v1beta1.CheckPassed, 15*time.Second).with(func(o *release.Observation) {
			o.Route.Since = t0.Add(-11 * time.Second)
		}),
		"of another window": newScene().step(1, 20, 10*time.Second).checked(v1beta1.CheckPassed, 0).with(func(o *release.Observation) { o.Checks.ID.Window-- }),
		"of another try":    newScene().step(1, 20, 10*time.Second).checked(v1beta1.CheckPassed, 0).with(func(o *release.Observation) { o.Checks.ID.Attempt-- }),
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(s.Observation)
			if d.Status.CanaryWeight != 20 || d.Status.Step.Index != 1 {
				t.Errorf("step %d with weight %d", d.Status.Step.Index, d.Status.CanaryWeight)
			}
		})
	}
}

func TestClockBehind(t *testing.T) {
	s := newScene().step(0, 0, -5*time.Second).hooked(v1beta1.PreRolloutHook)
	calls := 0
	for range 100 {
		d := rollout.Decide(s.Observation)
		for _, id := range d.CallHooks {
			calls++
			s.Hooks = map[v1beta1.HookType]*release.CheckRun{id.Hooks: {ID: id, At: s.Now, Results: []v1beta1.CheckStatus{{Name: "h", Verdict: v1beta1.CheckPassed}}}}
		}
		s.Canary.Status = d.Status
		s.Now = s.Now.Add(2 * time.Millisecond)
	}
	if calls != 1 {
		t.Errorf("the pre-rollout hook, which answers with success, was called %d times in 200 ms", calls)
	}
}

func TestFailedRoundAtAnOpenGate(t *testing.T) {
	s := newScene().rounds(1, 20, failed).atGate(v1beta1.ConfirmTrafficIncreaseHook).answered(v1beta1.ConfirmTrafficIncreaseHook, 0, passed)
	if d := rollout.Decide(s.Observation); d.Status.CanaryWeight > 20 || d.Status.FailedChecks != 1 {
		t.Errorf("weight %d with %d failed checks", d.Status.CanaryWeight, d.Status.FailedChecks)
	}
}

func TestThresholdLowered(t *testing.T) {
	s := newScene().step(1, 20, 10*time.Second).failed(2).persisted()
	s.Canary.Spec.Analysis.Threshold = 2
	s.checked(v1beta1.CheckPassed, 0)
	if d := rollout.Decide(s.Observation); d.Status.Phase != v1beta1.PhaseFailed || d.Status.CanaryWeight != 0 {
		t.Errorf("%s with weight %d", d.Status.Phase, d.Status.CanaryWeight)
	}
}

func TestRollbackDoesNotWait(t *testing.T) {
	for name, s := range map[string]*scene{
		"the last check fails": newScene().step(2, 40, 10*time.Second).failed(2).checked(v1beta1.CheckFailed, 0).primaryAvailable(1),
		"it stood in":          newScene().step(0, 100, time.Second).phase(v1beta1.PhaseFailed).primaryAvailable(1),
	} {
		t.Run(name, func(t *testing.T) {
			s.Primary.Replicas = 10
			if d := rollout.Decide(s.Observation); d.Status.Phase != v1beta1.PhaseFailed || d.Status.CanaryWeight != 0 {
				t.Errorf("%s with weight %d", d.Status.Phase, d.Status.CanaryWeight)
			}
		})
	}
}

func TestNobodyServes(t *testing.T) {
	d := rollout.Decide(newScene().step(2, 40, time.Second).persisted().targetAvailable(0).primaryAvailable(0).Observation)
	if d.Status.CanaryWeight != 40 || d.Status.FailedChecks != 0 || d.Status.Step.Index != 2 {
		t.Errorf("step %d with weight %d, %d failed checks", d.Status.Step.Index, d.Status.CanaryWeight, d.Status.FailedChecks)
	}
}

func TestRoundOfAnotherRoute(t *testing.T) {
	s := newScene().step(1, 20, time.Minute).checked(v1beta1.CheckPassed, 3*time.Second)
	s.Canary.Spec.Analysis.Interval = "1s"
	s.Route.Since = t0.Add(-2 * time.Second)
	if d := rollout.Decide(s.Observation); d.Status.CanaryWeight > 20 {
		t.Errorf("weight %d", d.Status.CanaryWeight)
	}
}

func TestUnansweredRound(t *testing.T) {
	s := newScene().step(1, 20, 30*time.Second).hooked(v1beta1.RolloutHook).checked(v1beta1.CheckUnavailable, 10*time.Second)
	s.Checks.Results = append(s.Checks.Results, v1beta1.CheckStatus{Name: string(v1beta1.RolloutHook), Verdict: v1beta1.CheckPassed})
	d := rollout.Decide(s.Observation)
	if d.RunChecks == nil || *d.RunChecks == s.Checks.ID {
		t.Errorf("it is run again as %+v", d.RunChecks)
	}
	s = newScene().step(1, 20, 10*time.Second).checked(v1beta1.CheckUnavailable, 0).atGate(v1beta1.ConfirmTrafficIncreaseHook).
		answered(v1beta1.ConfirmTrafficIncreaseHook, 0, passed)
	if d := rollout.Decide(s.Observation); d.Status.Gate != nil || d.Status.CanaryWeight != 20 {
		t.Errorf("weight %d at gate %+v", d.Status.CanaryWeight, d.Status.Gate)
	}
}
