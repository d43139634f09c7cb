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

// TestWithoutMesh has the primary keep all traffic whatever happens, and be
// promoted all the same.
func TestWithoutMesh(t *testing.T) {
	fixed := func(s *scene) *scene {
		s.iterations(2, false)
		s.Route.Fixed = true
		return s
	}
	passed := func() *scene { return newScene().step(2, 0, 20*time.Second).checked(v1beta1.CheckPassed, 0) }
	for name, tc := range map[string]struct {
		scene       *scene
		wantPhase   v1beta1.CanaryPhase
		wantPrimary string
		wantEvent   string // a reason, then a part of the message
	}{
		"promotion moves no traffic": {
			fixed(passed()), v1beta1.PhasePromoting, revB, "Promoting copying Deployment/podinfo",
		},
		"a primary that will be interrupted is promoted": {
			fixed(newScene().promoting(0, 0).with(func(o *release.Observation) { o.Primary.Interrupted = true })), v1beta1.PhasePromoting, revB, "",
		},
		"a primary without pods is not replaced by the canary": {
			fixed(newScene().step(1, 0, time.Second).primaryAvailable(0)), v1beta1.PhaseProgressing, "", "",
		},
		"nor when its promotion is late": {
			fixed(newScene().promoting(0, time.Hour).unwell(time.Hour).primaryAt(revB).primaryAvailable(0)), v1beta1.PhasePromoting, revB, "PromotionHalted ",
		},
		"a rollback leaves everything where it is": {
			fixed(newScene().step(1, 0, 20*time.Second).failed(2).checked(v1beta1.CheckFailed, 0).primaryAvailable(0)), v1beta1.PhaseFailed, "", "AnalysisFailed podinfo-primary serves all traffic",
		},
		"what another mesh did is over": {
			fixed(newScene().step(1, 60, time.Second).takeover()), v1beta1.PhaseProgressing, "", "",
		},
		"a promoted primary ends the release": {
			fixed(newScene().promoting(0, time.Second).primaryAt(revB)), v1beta1.PhaseFinalising, revB, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := tc.scene.Canary.DeepCopy()
			d := rollout.Decide(tc.scene.Observation)
			if d.Status.Phase != tc.wantPhase || d.Desired.PrimaryRevision != tc.wantPrimary {
				t.Errorf("%s with a primary of %q, want %s with %q", d.Status.Phase, d.Desired.PrimaryRevision, tc.wantPhase, tc.wantPrimary)
			}
			if d.Status.CanaryWeight != 0 || d.Desired.Traffic.Canary != 0 || d.Status.Step != nil && d.Status.Step.Takeover {
				t.Errorf("traffic %+v, status %+v", d.Desired.Traffic, d.Status)
			}
			reason, message, _ := strings.Cut(tc.wantEvent, " ")
			seen := slices.ContainsFunc(d.Events, func(e release.Event) bool { return e.Reason == reason && strings.Contains(e.Message, message) })
			if reason != "" && !seen {
				t.Errorf("events %+v, want %s", d.Events, tc.wantEvent)
			}
			for _, e := range d.Events {
				if strings.Contains(e.Message, "canary takes") || strings.Contains(e.Message, "goes to the canary") {
					t.Errorf("event %+v", e)
				}
			}
			if tc.scene.Canary.Status.CanaryWeight != before.Status.CanaryWeight {
				t.Error("the observation was changed")
			}
		})
	}
}
