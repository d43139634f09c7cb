package rollout_test

import (
	"testing"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

// Pain 9: whatever the release is at, another revision of the target begins an
// analysis of that one, from the start and at weight 0, and setting the target back
// to what the primary runs ends it without one.
func TestAnotherRevisionInEveryPhase(t *testing.T) {
	for _, phase := range []v1beta1.CanaryPhase{
		v1beta1.PhaseInitialized, v1beta1.PhaseWaiting, v1beta1.PhaseProgressing, v1beta1.PhaseWaitingPromotion,
		v1beta1.PhasePromoting, v1beta1.PhaseFinalising, v1beta1.PhaseSucceeded, v1beta1.PhaseFailed,
	} {
		at := func() *scene {
			s := newScene().step(2, 40, time.Second).failed(2).phase(phase)
			s.Canary.Status.Iterations = 2
			s.Canary.Status.Checks = []v1beta1.CheckStatus{{Name: "old"}}
			return s
		}
		t.Run(string(phase)+"/another", func(t *testing.T) {
			st := rollout.Decide(at().targetAt(revC, 2).Observation).Status
			if st.Phase != v1beta1.PhaseProgressing || st.LastAppliedSpec != revC || st.CanaryWeight != 0 || st.Step == nil || st.Step.Index != 0 ||
				st.FailedChecks != 0 || st.Iterations != 0 || st.Checks != nil {
				t.Errorf("got %+v", st)
			}
		})
		t.Run(string(phase)+"/back", func(t *testing.T) {
			st := rollout.Decide(at().targetAt(revA, 2).Observation).Status
			if st.Phase != v1beta1.PhaseFinalising || st.LastAppliedSpec != revA || st.CanaryWeight != 0 || st.Step != nil || st.FailedChecks != 0 {
				t.Errorf("got %+v", st)
			}
		})
		t.Run(string(phase)+"/back, while it may be getting another", func(t *testing.T) {
			s := at().targetAt(revA, 2)
			s.Primary.Unobserved = true
			for _, held := range []func(*release.Observation){func(*release.Observation) {}, suspended} {
				s.with(held)
				if d := rollout.Decide(s.Observation); d.Status.LastAppliedSpec != revB || phase != v1beta1.PhaseFinalising && d.Status.Phase == v1beta1.PhaseFinalising {
					t.Errorf("%s of %s", d.Status.Phase, d.Status.LastAppliedSpec)
				}
			}
		})
	}
}

// The thresholds of readiness are applied by package workload; here it counts
// that no phase goes on without the readiness that it needs, and that none waits
// longer than the deadline without saying so.
func TestDeadlineInEveryPhase(t *testing.T) {
	const deadline = 10 * time.Minute
	long := func(s *scene) *scene { return s.with(func(o *release.Observation) { o.Now = o.Now.Add(2 * deadline) }) }
	for name, tc := range map[string]struct {
		scene     *scene
		wantPhase v1beta1.CanaryPhase
		wantEvent string
	}{
		"the first primary is not ready": {
			newScene().phase(v1beta1.PhaseInitializing).targetAt(revA, 2).primaryAvailable(1), v1beta1.PhaseInitializing, release.ReasonDeadlineExceeded,
		},
		"the canary is not ready":       {newScene().step(0, 0, 0).targetAvailable(1), v1beta1.PhaseFailed, release.ReasonDeadlineExceeded},
		"the canary is unwell":          {newScene().step(2, 40, 0).targetAvailable(1), v1beta1.PhaseFailed, release.ReasonDeadlineExceeded},
		"the mesh does not follow":      {newScene().step(1, 20, 0).outOfSync(), v1beta1.PhaseFailed, release.ReasonDeadlineExceeded},
		"the primary is not ready":      {newScene().promoting(40, 0).primaryAt(revB).primaryAvailable(1), v1beta1.PhasePromoting, release.ReasonPromotionHalted},
		"the primary was not even told": {newScene().promoting(40, 0).outOfSync(), v1beta1.PhasePromoting, release.ReasonPromotionHalted},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(long(tc.scene.unwell(0)).Observation)
			if d.Status.Phase != tc.wantPhase || len(d.Events) == 0 || d.Events[0].Reason != tc.wantEvent {
				t.Errorf("%s with events %v, want %s with %s", d.Status.Phase, d.Events, tc.wantPhase, tc.wantEvent)
			}
			if c := d.Status.GetCondition(v1beta1.ConditionStalled); c == nil || c.Status != "True" {
				t.Errorf("Stalled is %+v", c)
			}
		})
	}
}
