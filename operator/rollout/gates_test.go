package rollout_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

const (
	passed = v1beta1.CheckPassed
	failed = v1beta1.CheckFailed
)

// hooked adds a hook of a type to the analysis.
func (s *scene) hooked(kind v1beta1.HookType, change ...func(*v1beta1.CanaryWebhook)) *scene {
	hook := v1beta1.CanaryWebhook{Type: kind, Name: string(kind), URL: "http://tester"}
	for _, f := range change {
		f(&hook)
	}
	a := s.Canary.Spec.Analysis
	a.Webhooks = append(a.Webhooks, hook)
	return s
}

func within(deadline string, then v1beta1.DeadlineAction) func(*v1beta1.CanaryWebhook) {
	return func(h *v1beta1.CanaryWebhook) { h.Deadline, h.OnDeadline = deadline, then }
}

// answered adds answers of the hooks of a type at the present step, given so
// long ago.
func (s *scene) answered(kind v1beta1.HookType, ago time.Duration, verdicts ...v1beta1.CheckVerdict) *scene {
	id := release.CheckID{Hooks: kind, Revision: s.Canary.Status.LastAppliedSpec}
	if step := s.Canary.Status.Step; step != nil {
		id.Step, id.Window = step.Index, step.Since.UnixMicro()
	} else if ended := s.Canary.Status.PostRollout; ended != nil {
		id.Window = ended.UnixMicro()
	}
	if kind == v1beta1.RollbackHook {
		id.Step, id.Window = 0, 0
	}
	if gate := s.Canary.Status.Gate; gate != nil && gate.Type == kind {
		id.Window = gate.Since.UnixMicro()
	}
	run := &release.CheckRun{ID: id, At: t0.Add(-ago)}
	for _, v := range verdicts {
		run.Results = append(run.Results, v1beta1.CheckStatus{Name: string(kind), Verdict: v, Message: "it answered " + string(v)})
	}
	if s.Hooks == nil {
		s.Hooks = map[v1beta1.HookType]*release.CheckRun{}
	}
	s.Hooks[kind] = run
	return s
}

// waiting puts the release at a gate that was found closed so long ago.
func (s *scene) waiting(kind v1beta1.HookType, ago time.Duration) *scene {
	since := metav1.NewMicroTime(t0.Add(-ago))
	switch kind { //nolint:exhaustive // the others are gates
	case v1beta1.PreRolloutHook:
		s.Canary.Status.Step.PreRolloutSince, s.Canary.Status.Step.PreRolloutFailures = &since, 1
		return s
	case v1beta1.PostRolloutHook:
		s.Canary.Status.PostRollout = &since
		return s
	}
	s.Canary.Status.Gate = &v1beta1.GateStatus{Type: kind, Since: since, Message: "it answered Failed"}
	switch kind { //nolint:exhaustive // the others have no phase of their own
	case v1beta1.ConfirmRolloutHook:
		s.phase(v1beta1.PhaseWaiting)
	case v1beta1.ConfirmPromotionHook:
		s.phase(v1beta1.PhaseWaitingPromotion)
	}
	return s
}

func (s *scene) atGate(kind v1beta1.HookType) *scene {
	return s.hooked(kind).waiting(kind, time.Second)
}

// rounds is a step whose checks came to an end now.
func (s *scene) rounds(step, weight int32, verdict v1beta1.CheckVerdict) *scene {
	return s.step(step, weight, 10*time.Second).checked(verdict, 0)
}

// TestGates is the table of hooks: where a release stands after their answers.
func TestGates(t *testing.T) {
	const (
		confirm, pre, post = v1beta1.ConfirmRolloutHook, v1beta1.PreRolloutHook, v1beta1.PostRolloutHook
		increase, promote  = v1beta1.ConfirmTrafficIncreaseHook, v1beta1.ConfirmPromotionHook
		back               = v1beta1.RollbackHook
		poll               = 700 * time.Millisecond
		drain              = 10 * time.Second
	)
	type outcome struct {
		Phase   v1beta1.CanaryPhase
		Weight  int32
		Step    int32 // -1: none
		Failed  int32
		Gate    v1beta1.HookType
		Calls   []v1beta1.HookType
		Round   bool // a round of checks is asked for
		Events  []string
		Requeue time.Duration
	}
	begins := func() *scene {
		return newScene().step(0, 0, time.Second).phase(v1beta1.PhaseWaiting).targetAt(revB, 0)
	}
	for name, tc := range map[string]struct {
		scene *scene
		want  outcome
	}{
		"confirm-rollout: a new revision waits": {
			newScene().targetAt(revB, 0).hooked(confirm),
			outcome{Phase: v1beta1.PhaseWaiting, Events: []string{release.ReasonNewRevision}},
		},
		"confirm-rollout: asked": {begins().hooked(confirm), outcome{Phase: v1beta1.PhaseWaiting, Calls: []v1beta1.HookType{confirm}}},
		"confirm-rollout: closed": {
			begins().hooked(confirm).answered(confirm, 0, failed),
			outcome{Phase: v1beta1.PhaseWaiting, Gate: confirm, Events: []string{release.ReasonGateClosed}, Requeue: poll},
		},
		"confirm-rollout: still closed, asked again": {
			begins().hooked(confirm).waiting(confirm, time.Hour).answered(confirm, time.Second, failed),
			outcome{Phase: v1beta1.PhaseWaiting, Gate: confirm, Calls: []v1beta1.HookType{confirm}},
		},
		"confirm-rollout: open": {
			begins().hooked(confirm).waiting(confirm, time.Hour).answered(confirm, 0, passed),
			outcome{Phase: v1beta1.PhaseProgressing, Events: []string{release.ReasonGateOpened}},
		},
		"confirm-rollout: one of two is closed": {
			begins().hooked(confirm).hooked(confirm).answered(confirm, 0, passed, failed),
			outcome{Phase: v1beta1.PhaseWaiting, Gate: confirm, Events: []string{release.ReasonGateClosed}, Requeue: poll},
		},
		"confirm-rollout: the answer of an earlier try": {
			begins().hooked(confirm).answered(confirm, time.Minute, passed).with(func(o *release.Observation) {
				o.Canary.Status.StartedAt = &metav1.MicroTime{Time: t0}
			}),
			outcome{Phase: v1beta1.PhaseWaiting, Calls: []v1beta1.HookType{confirm}},
		},
		"confirm-rollout: the hooks were taken away": {begins().waiting(confirm, time.Hour), outcome{Phase: v1beta1.PhaseProgressing}},
		"confirm-rollout: too late": {
			begins().hooked(confirm, within("1h", "")).waiting(confirm, time.Hour).answered(confirm, 0, failed),
			outcome{Phase: v1beta1.PhaseFailed, Step: -1, Events: []string{release.ReasonGateDeadline}},
		},
		"confirm-rollout: goes on when too late": {
			begins().hooked(confirm, within("1h", v1beta1.DeadlineContinue)).waiting(confirm, time.Hour).answered(confirm, 0, failed),
			outcome{Phase: v1beta1.PhaseProgressing, Events: []string{release.ReasonGateOpened}},
		},
		"confirm-rollout: rolled back meanwhile": {
			begins().hooked(confirm).hooked(back).waiting(confirm, time.Hour).answered(confirm, 0, failed).answered(back, 0, passed),
			outcome{Phase: v1beta1.PhaseFailed, Step: -1, Events: []string{release.ReasonRollbackAsked}},
		},

		"pre-rollout: called": {newScene().step(0, 0, 0).hooked(pre), outcome{Phase: v1beta1.PhaseProgressing, Calls: []v1beta1.HookType{pre}, Requeue: 15 * time.Second}},
		"pre-rollout: passed": {
			newScene().step(0, 0, 0).hooked(pre).answered(pre, 0, passed),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Events: []string{release.ReasonWeightRaised}, Requeue: 10 * time.Second},
		},
		"pre-rollout: failed": {
			newScene().step(0, 0, 0).hooked(pre).answered(pre, 0, failed),
			outcome{Phase: v1beta1.PhaseProgressing, Failed: 1, Gate: pre, Events: []string{release.ReasonCheckFailed}, Requeue: 10 * time.Second},
		},
		"pre-rollout: failed for the last time": {
			newScene().step(0, 0, 0).failed(2).hooked(pre).answered(pre, 0, failed),
			outcome{Phase: v1beta1.PhaseFailed, Step: -1, Failed: 3, Events: []string{release.ReasonAnalysisFailed}, Requeue: drain},
		},
		"pre-rollout: too late": {
			newScene().step(0, 0, 10*time.Second).hooked(pre, within("1m", "")).waiting(pre, time.Minute).answered(pre, 0, failed),
			outcome{Phase: v1beta1.PhaseFailed, Step: -1, Events: []string{release.ReasonGateDeadline}, Requeue: drain},
		},
		"pre-rollout: the canary is not ready": {
			newScene().step(0, 0, 0).hooked(pre).targetAvailable(1),
			outcome{Phase: v1beta1.PhaseProgressing, Requeue: 15 * time.Second},
		},

		"rollout: part of the round": {
			newScene().step(1, 20, 10*time.Second).hooked(""),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Round: true},
		},
		"rollout: without metrics": {
			newScene().step(1, 20, 10*time.Second).hooked("").with(func(o *release.Observation) { o.Canary.Spec.Analysis.Metrics = nil }),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Round: true},
		},

		"confirm-traffic-increase: asked before the first step": {
			newScene().step(0, 0, 0).hooked(increase),
			outcome{Phase: v1beta1.PhaseProgressing, Calls: []v1beta1.HookType{increase}},
		},
		"confirm-traffic-increase: asked when the checks have passed": {
			newScene().rounds(1, 20, passed).hooked(increase),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Calls: []v1beta1.HookType{increase}},
		},
		"confirm-traffic-increase: not asked when they have failed": {
			newScene().rounds(1, 20, failed).hooked(increase),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Failed: 1, Events: []string{release.ReasonCheckFailed}, Requeue: 10 * time.Second},
		},
		"confirm-traffic-increase: closed": {
			newScene().rounds(1, 20, passed).hooked(increase).answered(increase, 0, failed),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Gate: increase, Events: []string{release.ReasonGateClosed}, Requeue: poll},
		},
		"confirm-traffic-increase: open": {
			newScene().rounds(1, 20, passed).hooked(increase).answered(increase, 0, passed),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 40, Step: 2, Events: []string{release.ReasonWeightRaised}, Requeue: 10 * time.Second},
		},
		"confirm-traffic-increase: opened before the interval is over": {
			newScene().step(1, 20, time.Second).atGate(increase).answered(increase, 0, passed),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 40, Step: 2, Events: []string{release.ReasonGateOpened, release.ReasonWeightRaised}, Requeue: 10 * time.Second},
		},
		"confirm-traffic-increase: thresholds count at gates (pain 16)": {
			newScene().rounds(1, 20, failed).atGate(increase).answered(increase, 0, failed),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Failed: 1, Events: []string{release.ReasonCheckFailed}, Requeue: 10 * time.Second},
		},
		"confirm-traffic-increase: rounds go on": {
			newScene().rounds(1, 20, passed).atGate(increase).answered(increase, 0, failed),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Gate: increase, Requeue: poll},
		},
		"confirm-traffic-increase: nobody's rollout waits for ever (pain 17)": {
			newScene().step(1, 20, time.Second).hooked(increase, within("1s", "")).waiting(increase, time.Second).answered(increase, 0, failed),
			outcome{Phase: v1beta1.PhaseFailed, Step: -1, Events: []string{release.ReasonGateDeadline}},
		},
		"confirm-traffic-increase: not for iterations": {
			newScene().iterations(3, false).rounds(1, 0, passed).hooked(increase),
			outcome{Phase: v1beta1.PhaseProgressing, Step: 2, Events: []string{release.ReasonStepStarted}, Requeue: 10 * time.Second},
		},
		"confirm-traffic-increase: not for copies": {
			newScene().mirror(100).step(0, 0, 0).hooked(increase),
			outcome{Phase: v1beta1.PhaseProgressing, Step: 1, Events: []string{release.ReasonStepStarted}, Requeue: 10 * time.Second},
		},

		"confirm-promotion: asked": {
			newScene().rounds(3, 60, passed).hooked(promote),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 60, Step: 3, Calls: []v1beta1.HookType{promote}},
		},
		"confirm-promotion: closed": {
			newScene().rounds(3, 60, passed).hooked(promote).answered(promote, 0, failed),
			outcome{Phase: v1beta1.PhaseWaitingPromotion, Weight: 60, Step: 3, Gate: promote, Events: []string{release.ReasonGateClosed}, Requeue: poll},
		},
		"confirm-promotion: opened": {
			newScene().step(3, 60, time.Second).atGate(promote).answered(promote, 0, passed),
			outcome{Phase: v1beta1.PhasePromoting, Weight: 60, Events: []string{release.ReasonGateOpened, release.ReasonPromoting}},
		},
		"confirm-promotion: checks fail meanwhile": {
			newScene().rounds(3, 60, failed).atGate(promote).answered(promote, 0, failed),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 60, Step: 3, Failed: 1, Events: []string{release.ReasonCheckFailed}, Requeue: 10 * time.Second},
		},
		"confirm-promotion: the canary is lost meanwhile": {
			newScene().step(3, 60, time.Second).atGate(promote).targetAvailable(0),
			outcome{Phase: v1beta1.PhaseProgressing, Failed: 1, Events: []string{release.ReasonCanaryUnavailable}},
		},
		"confirm-promotion: another revision": {
			newScene().step(3, 60, time.Second).atGate(promote).targetAt(revC, 2),
			outcome{Phase: v1beta1.PhaseProgressing, Events: []string{release.ReasonNewRevision}},
		},
		"confirm-promotion: blue/green": {
			newScene().iterations(3, false).rounds(3, 0, passed).hooked(promote).answered(promote, 0, failed),
			outcome{Phase: v1beta1.PhaseWaitingPromotion, Step: 3, Gate: promote, Events: []string{release.ReasonGateClosed}, Requeue: poll},
		},
		"confirm-promotion: skipped with the analysis": {
			newScene().step(0, 0, 0).hooked(promote).with(func(o *release.Observation) { o.Canary.Spec.SkipAnalysis = true }),
			outcome{Phase: v1beta1.PhasePromoting, Events: []string{release.ReasonPromoting}},
		},
		"a pause goes before a gate": {
			newScene().step(3, 60, time.Second).atGate(promote).answered(promote, 0, passed).paused(),
			outcome{Phase: v1beta1.PhaseWaitingPromotion, Weight: 60, Step: 3, Gate: promote},
		},
		"an abort ends the wait": {
			newScene().step(3, 60, time.Second).atGate(promote).asked(v1beta1.ActionAbort),
			outcome{Phase: v1beta1.PhaseFailed, Step: -1, Events: []string{release.ReasonAborted}},
		},
		"a promotion by hand passes the gate": {
			newScene().step(3, 60, time.Second).atGate(promote).asked(v1beta1.ActionPromote),
			outcome{Phase: v1beta1.PhasePromoting, Weight: 60, Events: []string{release.ReasonPromoting}},
		},

		"rollback: asked at any time": {
			newScene().step(1, 20, time.Second).hooked(back),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Calls: []v1beta1.HookType{back}, Requeue: 9 * time.Second},
		},
		"rollback: not now": {
			newScene().step(1, 20, time.Second).hooked(back).answered(back, 0, failed),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Requeue: 2 * time.Second},
		},
		"rollback: asked once more before the weight is raised": {
			newScene().rounds(1, 20, passed).hooked(back).answered(back, time.Second, failed),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Calls: []v1beta1.HookType{back}, Requeue: time.Second},
		},
		"rollback: not wanted when the weight is to be raised": {
			newScene().rounds(1, 20, passed).hooked(back).answered(back, 0, failed),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 40, Step: 2, Events: []string{release.ReasonWeightRaised}, Requeue: 2 * time.Second},
		},
		"pre-rollout: not once more at the gate": {
			newScene().step(0, 0, time.Second).hooked(pre).atGate(increase).answered(increase, 0, failed),
			outcome{Phase: v1beta1.PhaseProgressing, Gate: increase, Requeue: poll},
		},
		"rollback: now": {
			newScene().step(1, 20, time.Second).hooked(back).answered(back, 0, passed),
			outcome{Phase: v1beta1.PhaseFailed, Step: -1, Events: []string{release.ReasonRollbackAsked}},
		},
		"rollback: at the last gate": {
			newScene().step(3, 60, time.Second).atGate(promote).hooked(back).answered(back, 0, passed),
			outcome{Phase: v1beta1.PhaseFailed, Step: -1, Events: []string{release.ReasonRollbackAsked}},
		},
		"rollback: not in a promotion": {
			newScene().promoting(60, 0).hooked(back).answered(back, 0, passed),
			outcome{Phase: v1beta1.PhasePromoting, Weight: 60, Requeue: 15 * time.Second},
		},

		"post-rollout: after a rollback": {
			newScene().rounds(1, 20, failed).failed(2).hooked(post),
			outcome{Phase: v1beta1.PhaseFailed, Step: -1, Failed: 3, Gate: post, Events: []string{release.ReasonAnalysisFailed}, Requeue: time.Millisecond},
		},
		"post-rollout: after a promotion": {
			newScene().phase(v1beta1.PhaseFinalising).hooked(post),
			outcome{Phase: v1beta1.PhaseSucceeded, Step: -1, Gate: post, Events: []string{release.ReasonPromoted}, Requeue: time.Millisecond},
		},
		"post-rollout: called": {
			newScene().phase(v1beta1.PhaseSucceeded).hooked(post).waiting(post, 0),
			outcome{Phase: v1beta1.PhaseSucceeded, Step: -1, Gate: post, Calls: []v1beta1.HookType{post}},
		},
		"post-rollout: passed": {newScene().phase(v1beta1.PhaseSucceeded).hooked(post).waiting(post, 0).answered(post, 0, passed), outcome{Phase: v1beta1.PhaseSucceeded, Step: -1}},
		"post-rollout: failed": {
			newScene().phase(v1beta1.PhaseSucceeded).hooked(post).waiting(post, 0).answered(post, 0, failed),
			outcome{Phase: v1beta1.PhaseSucceeded, Step: -1, Events: []string{release.ReasonHookFailed}},
		},
		"post-rollout: not in between": {newScene().phase(v1beta1.PhaseSucceeded).hooked(post), outcome{Phase: v1beta1.PhaseSucceeded, Step: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			got := outcome{Phase: d.Status.Phase, Weight: d.Status.CanaryWeight, Step: -1, Failed: d.Status.FailedChecks, Round: d.RunChecks != nil, Requeue: d.RequeueAfter}
			if d.Status.Step != nil {
				got.Step = d.Status.Step.Index
			}
			if d.Status.PostRollout != nil {
				got.Gate = post
			}
			if d.Status.Step != nil && d.Status.Step.PreRolloutSince != nil {
				got.Gate = pre
			}
			if d.Status.Gate != nil {
				got.Gate = d.Status.Gate.Type
			}
			for _, id := range d.CallHooks {
				got.Calls = append(got.Calls, id.Hooks)
			}
			for _, e := range d.Events {
				got.Events = append(got.Events, e.Reason)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// Hooks that take longer to answer than a round lasts are called once, their answer counts, and the
// round before is recorded once.
func TestSlowHooks(t *testing.T) {
	const takes = 45 * time.Second
	slow := func(h *v1beta1.CanaryWebhook) { h.Timeout = "60s" }
	for name, tc := range map[string]struct {
		kind   v1beta1.HookType
		answer v1beta1.CheckVerdict
		closed time.Duration // how long the gate has been closed already
	}{
		"the first answer of a gate":          {v1beta1.ConfirmPromotionHook, v1beta1.CheckPassed, 0},
		"a later answer of a gate":            {v1beta1.ConfirmPromotionHook, v1beta1.CheckPassed, time.Minute},
		"what a rollback hook says at a step": {v1beta1.RollbackHook, v1beta1.CheckFailed, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene().rounds(3, 60, v1beta1.CheckPassed).hooked(tc.kind, slow)
			if tc.closed > 0 {
				s.waiting(tc.kind, tc.closed)
			}
			var calls []release.CheckID
			recorded := 0
			for at := time.Duration(0); at < 2*takes && s.Canary.Status.Phase != v1beta1.PhasePromoting; at += time.Second {
				s.Now = t0.Add(at)
				d := rollout.Decide(s.Observation)
				if len(d.Status.History) > len(s.Canary.Status.History) {
					recorded++
				}
				s.Canary.Status = d.Status
				if d.RunChecks != nil {
					s.Checks = &release.CheckRun{ID: *d.RunChecks, At: s.Now, Results: s.Checks.Results}
				}
				for _, id := range d.CallHooks {
					if !slices.Contains(calls, id) {
						calls = append(calls, id)
					}
				}
				if at == takes {
					s.Hooks = map[v1beta1.HookType]*release.CheckRun{tc.kind: {
						ID: calls[0], At: s.Now, Results: []v1beta1.CheckStatus{{Name: string(tc.kind), Verdict: tc.answer}},
					}}
				}
			}
			if s.Canary.Status.Phase != v1beta1.PhasePromoting || len(calls) != 1 {
				t.Errorf("%s after %d calls of other names", s.Canary.Status.Phase, len(calls)-1)
			}
			if most := 1 + int(takes/(10*time.Second)); recorded > most || tc.closed == 0 && recorded > 1 {
				t.Errorf("%d rounds are recorded", recorded)
			}
		})
	}
}

// The canary has no pod while a new revision waits to be let in, and an idle
// one is not woken.
func TestConfirmRolloutWakesNobody(t *testing.T) {
	d := rollout.Decide(newScene().step(0, 0, 0).targetAt(revB, 0).atGate(v1beta1.ConfirmRolloutHook).Observation)
	if n := d.Desired.TargetReplicas; n != nil {
		t.Errorf("the target is to have %d pods", *n)
	}
	d = rollout.Decide(newScene().step(0, 0, 0).targetAt(revB, 0).atGate(v1beta1.ConfirmRolloutHook).answered(v1beta1.ConfirmRolloutHook, 0, passed).Observation)
	if n := d.Desired.TargetReplicas; n == nil || *n != 2 {
		t.Errorf("the target is to have %v pods, want 2", n)
	}
}

// A release that waits says for what, since when, and who holds it.
func TestGateIsTold(t *testing.T) {
	d := rollout.Decide(newScene().rounds(3, 60, passed).hooked(v1beta1.ConfirmPromotionHook).answered(v1beta1.ConfirmPromotionHook, 0, failed).Observation)
	c := d.Status.GetCondition(v1beta1.ConditionPromoted)
	if c == nil || c.Status != "Unknown" || c.Reason != "WaitingPromotion" {
		t.Fatalf("Promoted is %+v", c)
	}
	for _, want := range []string{"confirm-promotion gate", "60% of the traffic", "it answered Failed"} {
		if !strings.Contains(c.Message, want) {
			t.Errorf("message %q lacks %q", c.Message, want)
		}
	}
}

// An event about hooks that want no alert is muted, unless another hook of it
// wants one.
func TestMutedHooks(t *testing.T) {
	const kind = v1beta1.ConfirmPromotionHook
	mute := func(h *v1beta1.CanaryWebhook) { h.MuteAlert = true }
	for name, tc := range map[string]struct {
		scene *scene
		want  bool
	}{
		"muted":  {newScene().rounds(3, 60, passed).hooked(kind, mute).answered(kind, 0, failed), true},
		"one is": {newScene().rounds(3, 60, passed).hooked(kind, mute).hooked(kind).answered(kind, 0, failed, failed), false},
		"none":   {newScene().rounds(3, 60, passed).hooked(kind).answered(kind, 0, failed), false},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			if len(d.Events) != 1 || d.Events[0].Muted != tc.want {
				t.Errorf("events %+v, want muted %t", d.Events, tc.want)
			}
		})
	}
}

// A promotion that does not get ready is a failed release for whoever waits for its end: the post-rollout hooks are called once
// when it has failed, as with Flagger, and once more when it has succeeded after all.
func TestFailedPromotionCallsPostRollout(t *testing.T) {
	const post = v1beta1.PostRolloutHook
	s := newScene().promoting(60, time.Hour).unwell(time.Hour).primaryAt(revB).primaryAvailable(1).hooked(post)
	called := func(d release.Decision) bool { return len(d.CallHooks) == 1 && d.CallHooks[0].Hooks == post }
	d := rollout.Decide(s.Observation)
	if d.Status.PostRollout == nil || d.Status.Phase != v1beta1.PhasePromoting {
		t.Fatalf("%s, post-rollout %v", d.Status.Phase, d.Status.PostRollout)
	}
	s.Canary.Status = d.Status
	d = rollout.Decide(s.Observation)
	if !called(d) {
		t.Fatalf("the hooks are not called: %+v", d.CallHooks)
	}
	s.Hooks = map[v1beta1.HookType]*release.CheckRun{post: {ID: d.CallHooks[0], At: t0, Results: []v1beta1.CheckStatus{{Name: string(post), Verdict: passed}}}}
	failed := d.CallHooks[0]
	for turn := range 5 {
		if s.Mistake = nil; turn == 2 {
			mistake(&s.Observation) // it is not the promotion that fails by that, nor does it once that is mended
		}
		d = rollout.Decide(s.Observation)
		if d.Status.PostRollout != nil || len(d.CallHooks) > 0 {
			t.Fatalf("they are called again: %v, %+v", d.Status.PostRollout, d.CallHooks)
		}
		s.Canary.Status = d.Status
	}

	s.Now = t0.Add(time.Minute)
	s.Primary.Available, s.Primary.Ready = 2, true
	for range 5 {
		d = rollout.Decide(s.Observation)
		s.Canary.Status = d.Status
		s.Route.Since = s.Now
	}
	if d.Status.Phase != v1beta1.PhaseSucceeded || !called(d) || d.CallHooks[0] == failed {
		t.Errorf("%s, hooks called: %+v", d.Status.Phase, d.CallHooks)
	}
}

// One gate after the other: the deadline of each begins when it comes to hold the release, and a closed one says which it
// is. A gate that was not asked holds nothing.
func TestGatesOneAfterTheOther(t *testing.T) {
	const (
		kind, skipped = v1beta1.ConfirmPromotionHook, v1beta1.CheckSkipped
		pre           = v1beta1.PreRolloutHook
	)
	named := func(name, deadline string, then v1beta1.DeadlineAction) func(*v1beta1.CanaryWebhook) {
		return func(h *v1beta1.CanaryWebhook) { h.Name, h.Deadline, h.OnDeadline = name, deadline, then }
	}
	heldBy := func(hook string) func(*release.Observation) {
		return func(o *release.Observation) {
			if gate := o.Canary.Status.Gate; gate != nil {
				gate.Hook = hook
			}
			if step := o.Canary.Status.Step; step.PreRolloutSince != nil {
				step.PreRolloutHook = hook
			}
		}
	}
	at := func(qa, boss v1beta1.CheckVerdict, held string) *scene {
		return newScene().rounds(3, 60, passed).
			hooked(kind, named("qa", "48h", "")).hooked(kind, named("boss", "1h", "")).
			waiting(kind, 2*time.Hour).with(heldBy(held)).answered(kind, 0, qa, boss)
	}
	before := func(migrate, test v1beta1.CheckVerdict, held string) *scene {
		return newScene().step(0, 0, 10*time.Second).
			hooked(pre, named("migrate", "48h", "")).hooked(pre, named("test", "1h", "")).
			waiting(pre, 2*time.Hour).with(heldBy(held)).answered(pre, 0, migrate, test)
	}
	for name, tc := range map[string]struct {
		scene *scene
		phase v1beta1.CanaryPhase
		hook  string
		since time.Duration
	}{
		"the first is closed":                        {at(failed, skipped, "qa"), v1beta1.PhaseWaitingPromotion, "qa", 2 * time.Hour},
		"the first has opened, the second is closed": {at(passed, failed, "qa"), v1beta1.PhaseWaitingPromotion, "boss", 0},
		"the second is closed for too long":          {at(passed, failed, "boss"), v1beta1.PhaseFailed, "", 0},
		"closed by an older version":                 {at(failed, skipped, ""), v1beta1.PhaseWaitingPromotion, "qa", 2 * time.Hour},
		"both are open":                              {at(passed, passed, "boss"), v1beta1.PhasePromoting, "", 0},
		"pre-rollout: the first fails":               {before(failed, skipped, "migrate"), v1beta1.PhaseProgressing, "migrate", 2 * time.Hour},
		"pre-rollout: the second fails by now":       {before(passed, failed, "migrate"), v1beta1.PhaseProgressing, "test", 0},
		"pre-rollout: the second fails for too long": {before(passed, failed, "test"), v1beta1.PhaseFailed, "", 0},
		"at once, all deadlines begin with the gate": {at(failed, failed, "").with(func(o *release.Observation) {
			o.Canary.Spec.Analysis.WebhookOrder = v1beta1.WebhooksParallel
		}), v1beta1.PhaseFailed, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			st := rollout.Decide(tc.scene.Observation).Status
			hook, since := "", t0
			if st.Step != nil && st.Step.PreRolloutSince != nil {
				hook, since = st.Step.PreRolloutHook, st.Step.PreRolloutSince.Time
			}
			if st.Gate != nil {
				hook, since = st.Gate.Hook, st.Gate.Since.Time
			}
			if st.Phase != tc.phase || hook != tc.hook || t0.Sub(since) != tc.since {
				t.Errorf("%s, held by %q since %v; want %s, %q, %v", st.Phase, hook, t0.Sub(since), tc.phase, tc.hook, tc.since)
			}
		})
	}
}

// A second try of a revision must not be judged by a round of the first.
func TestRetryForgetsRounds(t *testing.T) {
	s := newScene().step(1, 20, 10*time.Second).checked(failed, 0)
	s.Canary.Status.StartedAt = &metav1.MicroTime{Time: t0.Add(-time.Minute)}
	d := rollout.Decide(s.Observation)
	if d.RunChecks == nil || d.Status.FailedChecks != 0 {
		t.Errorf("the round of a minute ago was taken for this one: %+v", d.Status)
	}
}
