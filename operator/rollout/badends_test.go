package rollout_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

// What people are told of the ends that nobody wishes for.
func TestEventsOfBadEnds(t *testing.T) {
	late := func() *scene {
		return newScene().promoting(100, time.Hour).unwell(time.Hour).primaryAt(revB).primaryAvailable(0)
	}
	for name, tc := range map[string]struct {
		scene         *scene
		reason, parts string // of the message, with | between them
		not           string
	}{
		"a route that is left behind": {
			newScene().step(0, 0, 20*time.Minute).phase(v1beta1.PhaseTerminating).with(deleted).outOfSync().
				with(func(o *release.Observation) { o.Outage = "Consul can't be asked" }),
			release.ReasonLeftBehind, "The route could not be taken back|Consul can't be asked", "",
		},
		"a promotion that is late":                        {late(), release.ReasonPromotionHalted, "the canary goes on serving", ""},
		"one in which no request ever went to the canary": {late().with(func(o *release.Observation) { o.Route.Fixed = true }), release.ReasonPromotionHalted, "promotion is halted", "goes on serving"},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			i := slices.IndexFunc(d.Events, func(e release.Event) bool { return e.Reason == tc.reason })
			if i < 0 {
				t.Fatalf("no event %s among %+v", tc.reason, d.Events)
			}
			e := d.Events[i]
			for part := range strings.SplitSeq(tc.parts, "|") {
				if !strings.Contains(e.Message, part) {
					t.Errorf("%q lacks %q", e.Message, part)
				}
			}
			if !e.Warning || tc.not != "" && strings.Contains(e.Message, tc.not) {
				t.Errorf("told: %+v", e)
			}
		})
	}
}

// A release that ended well is told to its post-rollout hooks although its primary is gone since,
// and waits for none that the spec no longer has.
func TestPostRolloutOfWhatIsLost(t *testing.T) {
	ended := func() *scene {
		return newScene().phase(v1beta1.PhaseSucceeded).targetAt(revB, 0).with(func(o *release.Observation) { o.Canary.Status.LastAppliedSpec = revB }).
			waiting(v1beta1.PostRolloutHook, time.Second)
	}
	gone := ended().hooked(v1beta1.PostRolloutHook).with(func(o *release.Observation) { o.Primary = release.Workload{} })
	if d := rollout.Decide(gone.Observation); len(d.CallHooks) != 1 || d.CallHooks[0].Hooks != v1beta1.PostRolloutHook {
		t.Errorf("called: %+v", d.CallHooks)
	}
	d := rollout.Decide(ended().primaryAt(revB).Observation)
	if d.Status.PostRollout != nil || len(d.CallHooks) > 0 {
		t.Errorf("post-rollout at %v, called: %+v", d.Status.PostRollout, d.CallHooks)
	}
}

// Nothing begins while it is paused, whatever its gate says, and no hook of that is asked.
func TestPausedBeforeItBegins(t *testing.T) {
	s := newScene().step(0, 0, time.Minute).phase(v1beta1.PhaseWaiting).hooked(v1beta1.ConfirmRolloutHook).answered(v1beta1.ConfirmRolloutHook, 0, v1beta1.CheckPassed)
	if d := rollout.Decide(s.Observation); d.Status.Phase != v1beta1.PhaseProgressing {
		t.Fatalf("its gate is open, and it is %s", d.Status.Phase)
	}
	d := rollout.Decide(s.paused().Observation)
	if c := d.Status.GetCondition(v1beta1.ConditionReady); d.Status.Phase != v1beta1.PhaseWaiting || !strings.Contains(c.Message, "aused") {
		t.Errorf("%s: %s", d.Status.Phase, c.Message)
	}
}

// A check that failed has been measured.
func TestMeasuredAndFailed(t *testing.T) {
	s := measuring(0, measured{metric: metric("a"), verdict: v1beta1.CheckFailed, value: "1"})
	s.Checks.Results[0].Source = "traefik"
	d := rollout.Decide(s.Observation)
	if c := d.Status.GetCondition(v1beta1.ConditionMeasured); c == nil || c.Status != "True" || c.Message != "measured: a by traefik" {
		t.Errorf("%+v", c)
	}
}

// A promotion that one operator has found to have failed has failed for the next one, whose clock may be behind: nobody is
// told twice, and no hook is called again.
func TestFailedPromotionIsNotInTimeAgain(t *testing.T) {
	s := newScene().promoting(100, time.Hour).unwell(10 * time.Minute).primaryAt(revB).primaryAvailable(0).hooked(v1beta1.PostRolloutHook)
	first := rollout.Decide(s.Observation)
	if !release.PromotionFailed(&first.Status) || first.Status.PostRollout == nil {
		t.Fatalf("it has not failed: %+v", first.Status.Conditions)
	}
	s.Canary.Status = first.Status
	s.Canary.Status.PostRollout = nil // they have answered
	for _, off := range []time.Duration{-9 * time.Second, 0} {
		s.Now = t0.Add(off)
		d := rollout.Decide(s.Observation)
		if !release.PromotionFailed(&d.Status) || d.Status.PostRollout != nil || len(d.Events) > 0 {
			t.Errorf("%s off: calls %v, events %+v, conditions %+v", off, d.Status.PostRollout, d.Events, d.Status.Conditions)
		}
		s.Canary.Status = d.Status
	}
	s.Primary = settled(s.Primary)
	if d := rollout.Decide(s.Observation); release.PromotionFailed(&d.Status) {
		t.Errorf("it has failed with a primary that is ready: %+v", d.Status.Conditions)
	}
}
