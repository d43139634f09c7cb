package gates

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// clockOf is that of a release held at a gate, and with failed pre-rollout hooks, for so long.
func clockOf(kind v1beta1.HookType, held time.Duration) Clock {
	st := &v1beta1.CanaryStatus{Step: &v1beta1.StepStatus{}}
	since := metav1.NewMicroTime(now.Add(-held))
	if kind == v1beta1.PreRolloutHook {
		st.Step.PreRolloutSince = &since
	} else {
		st.Gate = &v1beta1.GateStatus{Type: kind, Since: since}
	}
	return Clock{Status: st, Elapsed: now.Sub}
}

func hook(kind v1beta1.HookType, deadline string, on v1beta1.DeadlineAction) v1beta1.CanaryWebhook {
	return v1beta1.CanaryWebhook{Name: "h", Type: kind, Deadline: deadline, OnDeadline: on}
}

func TestClock(t *testing.T) {
	const promote, before = v1beta1.ConfirmPromotionHook, v1beta1.PreRolloutHook
	for name, tc := range map[string]struct {
		at                     v1beta1.HookType // where the release is held
		held                   time.Duration
		hook                   v1beta1.CanaryWebhook
		verdict                v1beta1.CheckVerdict
		wantShut, wantsOverdue bool
		wantLeft               []time.Duration
	}{
		"it is open":                       {promote, time.Hour, hook(promote, "1m", ""), v1beta1.CheckPassed, false, false, nil},
		"it was not asked":                 {promote, time.Hour, hook(promote, "1m", ""), v1beta1.CheckSkipped, false, false, nil},
		"it is shut":                       {promote, 20 * time.Second, hook(promote, "1m", ""), v1beta1.CheckFailed, true, false, []time.Duration{40 * time.Second}},
		"it gives no answer":               {promote, 20 * time.Second, hook(promote, "1m", ""), v1beta1.CheckUnavailable, true, false, []time.Duration{40 * time.Second}},
		"for ever":                         {promote, time.Hour, hook(promote, "", ""), v1beta1.CheckFailed, true, false, nil},
		"until the deadline":               {promote, time.Minute, hook(promote, "1m", ""), v1beta1.CheckFailed, true, true, []time.Duration{0}},
		"and goes on then":                 {promote, time.Minute, hook(promote, "1m", v1beta1.DeadlineContinue), v1beta1.CheckFailed, false, false, nil},
		"and goes on then, a moment later": {promote, time.Minute - 1, hook(promote, "1m", v1beta1.DeadlineContinue), v1beta1.CheckFailed, true, false, []time.Duration{1}},
		"at another gate":                  {promote, time.Hour, hook(v1beta1.ConfirmRolloutHook, "1m", ""), v1beta1.CheckFailed, true, false, nil},
		"before the rollout":               {before, 50 * time.Second, hook(before, "1m", ""), v1beta1.CheckFailed, true, false, []time.Duration{10 * time.Second}},
		"before the rollout, for too long": {before, 2 * time.Minute, hook(before, "1m", ""), v1beta1.CheckFailed, true, true, []time.Duration{-time.Minute}},
	} {
		t.Run(name, func(t *testing.T) {
			c := clockOf(tc.at, tc.held)
			shut := c.Shut([]v1beta1.CanaryWebhook{tc.hook}, []v1beta1.CheckStatus{{Verdict: tc.verdict, Message: "no"}})
			if len(shut) > 0 != tc.wantShut {
				t.Errorf("shut by %v", shut)
			}
			if a := c.Overdue(shut); (a != nil) != tc.wantsOverdue || a != nil && a.Result.Message != "no" {
				t.Errorf("overdue is %v", a)
			}
			if got := c.Left(shut); fmt.Sprint(got) != fmt.Sprint(tc.wantLeft) {
				t.Errorf("left are %v, want %v", got, tc.wantLeft)
			}
		})
	}
}

// TestNobodyHolds: without a step, or a gate, no deadline runs.
func TestNobodyHolds(t *testing.T) {
	c := Clock{Status: &v1beta1.CanaryStatus{}, Elapsed: now.Sub}
	for _, kind := range []v1beta1.HookType{v1beta1.PreRolloutHook, v1beta1.ConfirmPromotionHook} {
		shut := c.Shut([]v1beta1.CanaryWebhook{hook(kind, "1m", v1beta1.DeadlineContinue)}, []v1beta1.CheckStatus{{Verdict: v1beta1.CheckFailed}})
		if len(shut) != 1 || c.Overdue(shut) != nil || len(c.Left(shut)) > 0 || At(c.Status, kind) {
			t.Errorf("%s: %v", kind, shut)
		}
	}
}

func TestTakesOver(t *testing.T) {
	stops, passes := v1beta1.CanaryWebhook{Name: "b"}, v1beta1.CanaryWebhook{Name: "b", OnDeadline: v1beta1.DeadlineContinue}
	for name, tc := range map[string]struct {
		sequential bool
		last       *v1beta1.CanaryWebhook
		before     string
		holder     string
		now        bool
	}{
		"after another":                  {true, &stops, "a", "b", true},
		"still":                          {true, &stops, "b", "b", false},
		"the first":                      {true, &stops, "", "b", false},
		"one that stops none after it":   {true, &passes, "a", "b", false},
		"nobody holds":                   {true, nil, "a", "", false},
		"all of them are called at once": {false, &stops, "a", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			var shut []Answer
			if tc.last != nil {
				shut = []Answer{{Hook: v1beta1.CanaryWebhook{Name: "a"}}, {Hook: *tc.last}}
			}
			if holder, now := TakesOver(tc.sequential, shut, tc.before); holder != tc.holder || now != tc.now {
				t.Errorf("%q takes over: %t", holder, now)
			}
		})
	}
}

func TestMuted(t *testing.T) {
	loud, quiet := v1beta1.CanaryWebhook{}, v1beta1.CanaryWebhook{MuteAlert: true}
	if Muted([]v1beta1.CanaryWebhook{quiet, loud}) || !Muted([]v1beta1.CanaryWebhook{quiet, quiet}) {
		t.Error("one alert is wanted, and of the others none")
	}
}
