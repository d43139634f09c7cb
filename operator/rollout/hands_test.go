package rollout_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

// approved notes that a person has opened a gate in the present step, and ended that it was ended.
func (s *scene) approved(kind v1beta1.HookType) *scene {
	s.Canary.Status.Step.Approved = kind
	return s
}

func (s *scene) ended() *scene { s.Canary.Status.Step.Ended = true; return s }

// TestApproveAndAdvance is the table of what people do at gates and with steps.
func TestApproveAndAdvance(t *testing.T) {
	const (
		confirm, pre      = v1beta1.ConfirmRolloutHook, v1beta1.PreRolloutHook
		increase, promote = v1beta1.ConfirmTrafficIncreaseHook, v1beta1.ConfirmPromotionHook
		approve, advance  = v1beta1.ActionApprove, v1beta1.ActionAdvance
	)
	type outcome struct {
		Phase   v1beta1.CanaryPhase
		Weight  int32
		Step    int32 // -1: none
		Gate    v1beta1.HookType
		Refused string // what the refusal begins with
		Events  []string
	}
	refused := []string{release.ReasonActionRefused}
	for name, tc := range map[string]struct {
		scene *scene
		want  outcome
	}{
		"approve confirm-rollout": {
			newScene().step(0, 0, time.Second).phase(v1beta1.PhaseWaiting).targetAt(revB, 0).atGate(confirm).answered(confirm, 0, failed).asked(approve),
			outcome{Phase: v1beta1.PhaseProgressing, Events: []string{release.ReasonGateOpened}},
		},
		"approve confirm-traffic-increase": {
			newScene().step(1, 20, time.Second).atGate(increase).answered(increase, 0, failed).asked(approve),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 40, Step: 2, Events: []string{release.ReasonGateOpened, release.ReasonWeightRaised}},
		},
		"approve confirm-promotion": {
			newScene().step(3, 60, time.Second).atGate(promote).answered(promote, 0, failed).asked(approve),
			outcome{Phase: v1beta1.PhasePromoting, Weight: 60, Events: []string{release.ReasonGateOpened, release.ReasonPromoting}},
		},
		"approve before the hook has answered once more": {
			newScene().step(3, 60, time.Second).atGate(promote).asked(approve),
			outcome{Phase: v1beta1.PhasePromoting, Weight: 60, Events: []string{release.ReasonGateOpened, release.ReasonPromoting}},
		},
		"a gate that was approved stays open where the release can't pass yet": {
			newScene().step(3, 60, 10*time.Second).checked(passed, 0).hooked(promote).answered(promote, 0, failed).approved(promote),
			outcome{Phase: v1beta1.PhasePromoting, Weight: 60, Events: []string{release.ReasonPromoting}},
		},
		"a round that failed at the gate counts more than an approval": {
			newScene().rounds(3, 60, failed).atGate(promote).answered(promote, 0, failed).asked(approve),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 60, Step: 3, Events: []string{release.ReasonGateOpened, release.ReasonCheckFailed}},
		},
		"an approval does not outlast its step": {
			newScene().rounds(2, 40, passed).hooked(increase).answered(increase, 0, failed),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 40, Step: 2, Gate: increase, Events: []string{release.ReasonGateClosed}},
		},
		"an approval is of one type": {
			newScene().rounds(3, 60, passed).hooked(promote).answered(promote, 0, failed).approved(increase),
			outcome{Phase: v1beta1.PhaseWaitingPromotion, Weight: 60, Step: 3, Gate: promote, Events: []string{release.ReasonGateClosed}},
		},
		"an approval waits for a resume": {
			newScene().step(3, 60, time.Second).atGate(promote).answered(promote, 0, failed).paused().asked(approve),
			outcome{Phase: v1beta1.PhaseWaitingPromotion, Weight: 60, Step: 3, Gate: promote, Events: []string{release.ReasonGateOpened}},
		},
		"approve twice": {
			newScene().step(3, 60, time.Second).atGate(promote).answered(promote, 0, failed).approved(promote).paused().asked(approve),
			outcome{Phase: v1beta1.PhaseWaitingPromotion, Weight: 60, Step: 3, Gate: promote, Refused: "the gate was approved already", Events: refused},
		},
		"approve where there is no gate": {
			newScene().step(1, 20, time.Second).asked(approve),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Refused: "the release waits at no gate", Events: refused},
		},
		"approve between releases": {
			newScene().asked(approve), outcome{Phase: v1beta1.PhaseInitialized, Step: -1, Refused: "the release waits at no gate", Events: refused},
		},
		"approve is refused where another release may be meant": {
			newScene().step(3, 60, time.Second).atGate(promote).started(t0.Add(time.Second)).answered(promote, 0, failed).askedAt(approve, "", t0),
			outcome{Phase: v1beta1.PhaseWaitingPromotion, Weight: 60, Step: 3, Gate: promote, Refused: "it was asked for before the release", Events: refused},
		},

		"advance": {
			newScene().step(1, 20, time.Second).asked(advance),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 40, Step: 2, Events: []string{release.ReasonStepEnded, release.ReasonWeightRaised}},
		},
		"advance from the last step": {
			newScene().step(3, 60, time.Second).asked(advance),
			outcome{Phase: v1beta1.PhasePromoting, Weight: 60, Events: []string{release.ReasonStepEnded, release.ReasonPromoting}},
		},
		"advance, and a gate comes before the next step": {
			newScene().step(1, 20, time.Second).hooked(increase).answered(increase, 0, failed).asked(advance),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Gate: increase, Events: []string{release.ReasonStepEnded, release.ReasonGateClosed}},
		},
		"a step that was ended goes on once the gate answers": {
			newScene().step(1, 20, time.Second).hooked(increase).answered(increase, 0, passed).ended(),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 40, Step: 2, Events: []string{release.ReasonWeightRaised}},
		},
		"a round that has failed counts more": {
			newScene().rounds(1, 20, failed).asked(advance),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Events: []string{release.ReasonStepEnded, release.ReasonCheckFailed}},
		},
		"advance at a gate": {
			newScene().step(3, 60, time.Second).atGate(promote).answered(promote, 0, failed).asked(advance),
			outcome{Phase: v1beta1.PhaseWaitingPromotion, Weight: 60, Step: 3, Gate: promote, Refused: "the release waits at the confirm-promotion gate", Events: refused},
		},
		"advance while it is paused": {
			newScene().step(1, 20, time.Second).paused().asked(advance),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Refused: "it is paused", Events: refused},
		},
		"advance before the first step": {
			newScene().step(0, 0, time.Second).targetAvailable(0).hooked(pre).asked(advance),
			outcome{Phase: v1beta1.PhaseProgressing, Refused: "the first step has not begun", Events: refused},
		},
		"advance a canary that is not ready": {
			newScene().step(1, 20, time.Second).targetAvailable(1).asked(advance),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Refused: "the canary is not ready", Events: refused},
		},
		"advance before the mesh has the step": {
			newScene().step(1, 20, time.Second).outOfSync().asked(advance),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Step: 1, Refused: "the mesh does not have the route", Events: refused},
		},
		"advance a promotion": {
			newScene().promoting(60, time.Second).primaryAt(revB).primaryAvailable(1).asked(advance),
			outcome{Phase: v1beta1.PhasePromoting, Weight: 60, Refused: "there is no analysis under way", Events: refused},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			got := outcome{Phase: d.Status.Phase, Weight: d.Status.CanaryWeight, Step: -1}
			if d.Status.Step != nil {
				got.Step = d.Status.Step.Index
			}
			if d.Status.Gate != nil {
				got.Gate = d.Status.Gate.Type
			}
			for _, e := range d.Events {
				got.Events = append(got.Events, e.Reason)
			}
			if last := d.Status.LastAction; last != nil && !last.Done {
				got.Refused = last.Message
				if strings.HasPrefix(last.Message, tc.want.Refused) && tc.want.Refused != "" {
					got.Refused = tc.want.Refused
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(d, rollout.Decide(tc.scene.Observation)); diff != "" {
				t.Errorf("the same observation gave another decision:\n%s", diff)
			}
		})
	}
}

// TestFailedRoundUndoesHands has what a person did count no more after a round that failed.
func TestFailedRoundUndoesHands(t *testing.T) {
	s := newScene().rounds(1, 20, failed).hooked(v1beta1.ConfirmTrafficIncreaseHook).approved(v1beta1.ConfirmTrafficIncreaseHook).ended()
	if step := rollout.Decide(s.Observation).Status.Step; step.Approved != "" || step.Ended {
		t.Errorf("got %+v", step)
	}
}
