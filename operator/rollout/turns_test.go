package rollout_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

// turn is what the release policies say.
func (s *scene) turn(t release.Turn) *scene { s.Turn = &t; return s }

// awaitsTurn has a release wait for its turn for so long.
func (s *scene) awaitsTurn(ago time.Duration) *scene {
	s.step(0, 0, ago).phase(v1beta1.PhaseWaiting)
	s.Canary.Status.Admission = &v1beta1.AdmissionStatus{Since: metav1.NewMicroTime(t0.Add(-ago))}
	return s
}

// admitted has it been let begin so long ago.
func (s *scene) admitted(ago time.Duration) *scene {
	s.Canary.Status.Admission = &v1beta1.AdmissionStatus{
		Since: metav1.NewMicroTime(t0.Add(-time.Hour)), Admitted: new(metav1.NewMicroTime(t0.Add(-ago))),
	}
	return s
}

var frozen = release.Turn{
	Reason: release.ReasonFrozen, Policy: "ReleasePolicy/nights", Message: "ReleasePolicy/nights is frozen by alice: Black Friday",
	Until: t0.Add(time.Hour), Detail: "2 under way",
}

func TestTurns(t *testing.T) {
	type result struct {
		Phase    v1beta1.CanaryPhase
		Admitted string // no: it waits, yes: it was let begin; empty where it did not ask
		Events   string
		Requeue  time.Duration
		Weight   int32
	}
	for name, tc := range map[string]struct {
		scene *scene
		want  result
	}{
		"no policy": {newScene().targetAt(revB, 0), result{v1beta1.PhaseProgressing, "", "NewRevision", 0, 0}},
		"a policy":  {newScene().targetAt(revB, 0).turn(release.Turn{}), result{v1beta1.PhaseWaiting, "no", "NewRevision", 0, 0}},
		"a policy, after a gate": {
			newScene().hooked(v1beta1.ConfirmRolloutHook).targetAt(revB, 0).turn(release.Turn{}), result{v1beta1.PhaseWaiting, "", "NewRevision", 0, 0},
		},
		"the primary is gone": {
			newScene().targetAt(revB, 2).turn(frozen).with(func(o *release.Observation) { o.Primary = release.Workload{} }),
			result{v1beta1.PhaseProgressing, "", "NewRevision PrimaryUnavailable", 0, 100},
		},
		"the primary goes while it waits": {
			newScene().awaitsTurn(time.Minute).turn(frozen).with(func(o *release.Observation) { o.Primary = release.Workload{} }),
			result{v1beta1.PhaseProgressing, "", "PrimaryUnavailable", 0, 100},
		},
		"it is not its turn":         {newScene().awaitsTurn(time.Minute).turn(frozen), result{v1beta1.PhaseWaiting, "no", "Frozen", time.Hour, 0}},
		"nobody has said yet":        {newScene().awaitsTurn(0).turn(release.Turn{}), result{v1beta1.PhaseWaiting, "no", "", time.Millisecond, 0}},
		"nobody has said for long":   {newScene().awaitsTurn(time.Minute).turn(release.Turn{}), result{v1beta1.PhaseWaiting, "no", "", time.Second, 0}},
		"it is its turn":             {newScene().awaitsTurn(time.Minute).turn(release.Turn{May: true}), result{v1beta1.PhaseProgressing, "yes", "", 0, 0}},
		"no policy is left":          {newScene().awaitsTurn(time.Minute), result{v1beta1.PhaseProgressing, "", "", 0, 0}},
		"approved":                   {newScene().awaitsTurn(time.Minute).turn(frozen).asked(v1beta1.ActionApprove), result{v1beta1.PhaseProgressing, "yes", "Approved", 0, 0}},
		"promoted":                   {newScene().awaitsTurn(time.Minute).turn(frozen).asked(v1beta1.ActionPromote), result{v1beta1.PhasePromoting, "", "Promoting", 0, 0}},
		"aborted":                    {newScene().awaitsTurn(time.Minute).turn(frozen).asked(v1beta1.ActionAbort), result{v1beta1.PhaseFailed, "", "Aborted", 10 * time.Second, 0}},
		"paused":                     {newScene().awaitsTurn(time.Minute).turn(release.Turn{May: true}).paused(), result{v1beta1.PhaseWaiting, "no", "", 0, 0}},
		"set back":                   {newScene().awaitsTurn(time.Minute).turn(frozen).targetAt(revA, 0), result{v1beta1.PhaseFinalising, "", "Reverted", 0, 0}},
		"another revision meanwhile": {newScene().awaitsTurn(time.Minute).turn(frozen).targetAt(revC, 0), result{v1beta1.PhaseWaiting, "no", "NewRevision", 0, 0}},
		"a rollback hook": {
			newScene().hooked(v1beta1.RollbackHook).awaitsTurn(time.Minute).turn(frozen).answered(v1beta1.RollbackHook, 0, passed),
			result{v1beta1.PhaseFailed, "", "RollbackAsked", 10 * time.Second, 0},
		},
		"its gate is closed again": {
			newScene().hooked(v1beta1.ConfirmRolloutHook).awaitsTurn(time.Minute).turn(release.Turn{May: true}).answered(v1beta1.ConfirmRolloutHook, 0, failed),
			result{v1beta1.PhaseWaiting, "", "GateClosed", 700 * time.Millisecond, 0},
		},
		"its gate was open an hour ago": {
			newScene().hooked(v1beta1.ConfirmRolloutHook).awaitsTurn(time.Hour).turn(release.Turn{May: true}).answered(v1beta1.ConfirmRolloutHook, time.Hour, passed),
			result{v1beta1.PhaseWaiting, "no", "", 0, 0},
		},
		"its gate was open just now": {
			newScene().hooked(v1beta1.ConfirmRolloutHook).awaitsTurn(time.Hour).turn(release.Turn{May: true}).answered(v1beta1.ConfirmRolloutHook, time.Second, passed),
			result{v1beta1.PhaseProgressing, "yes", "", 0, 0},
		},
		"a freeze in the middle of a release": {
			newScene().step(1, 20, 10*time.Second).admitted(time.Minute).turn(frozen).checked(passed, 0), result{v1beta1.PhaseProgressing, "yes", "WeightRaised", 10 * time.Second, 40},
		},
		"a rollback in a freeze": {
			newScene().step(1, 20, 10*time.Second).admitted(time.Minute).turn(frozen).failed(2).checked(failed, 0), result{v1beta1.PhaseFailed, "", "AnalysisFailed", 0, 0},
		},
		"a promotion in a freeze":   {newScene().promoting(60, time.Second).admitted(time.Minute).turn(frozen), result{v1beta1.PhasePromoting, "yes", "", 14 * time.Second, 60}},
		"one too many":              {newScene().step(0, 0, time.Second).admitted(time.Minute).turn(release.Turn{Yield: true}), result{v1beta1.PhaseWaiting, "no", "AdmissionRevoked", 0, 0}},
		"one too many, and traffic": {newScene().step(1, 20, time.Second).admitted(time.Minute).turn(release.Turn{Yield: true}), result{v1beta1.PhaseProgressing, "yes", "", 9 * time.Second, 20}},
		"a new revision in a release waits for its own turn": {
			newScene().step(1, 20, time.Second).admitted(time.Minute).turn(release.Turn{}).targetAt(revC, 2), result{v1beta1.PhaseWaiting, "no", "NewRevision", 0, 0},
		},
		"the first initialization": {
			newScene().phase(v1beta1.PhaseInitializing).turn(frozen), result{v1beta1.PhaseInitialized, "", "Initialized", 0, 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			got := result{Phase: d.Status.Phase, Requeue: d.RequeueAfter, Weight: d.Status.CanaryWeight, Events: strings.Join(outcomeOf(d).Events, " ")}
			if a := d.Status.Admission; a != nil {
				got.Admitted = map[bool]string{true: "yes", false: "no"}[a.Admitted != nil]
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if d.Status.Phase == v1beta1.PhaseWaiting && d.Desired.TargetReplicas != nil {
				t.Errorf("a release that waits gets %d pods", *d.Desired.TargetReplicas)
			}
		})
	}
}

// Why a release waits is told once, and until when is in the status.
func TestTurnIsTold(t *testing.T) {
	s := newScene().awaitsTurn(time.Minute).turn(frozen)
	d := rollout.Decide(s.Observation)
	if want := []release.Event{{Reason: "Frozen", Message: "The release of Deployment/podinfo waits for its turn: " + frozen.Message + "; 2 under way"}}; !slices.Equal(d.Events, want) {
		t.Errorf("events: %+v", d.Events)
	}
	s.Canary.Status = d.Status
	again := rollout.Decide(s.Observation)
	if diff := cmp.Diff(d.Status, again.Status); diff != "" || len(again.Events) > 0 {
		t.Errorf("it is told again: %v %s", again.Events, diff)
	}
	s.Turn.Detail = "7 under way"
	if other := rollout.Decide(s.Observation); len(other.Events) > 0 || cmp.Diff(d.Status, other.Status) != "" {
		t.Errorf("others' releases are told of: %v", other.Events)
	}
	s.Turn.Policy = "ReleasePolicy/others"
	if other := outcomeOf(rollout.Decide(s.Observation)).Events; !slices.Equal(other, []string{"Frozen"}) {
		t.Errorf("that another policy holds it is not told: %v", other)
	}
	s.Turn.Policy = frozen.Policy
	a, c := d.Status.Admission, d.Status.GetCondition(v1beta1.ConditionAdmitted)
	if a.Reason != "Frozen" || a.Policy != frozen.Policy || !a.Until.Time.Equal(frozen.Until) {
		t.Errorf("%+v", a)
	}
	if c == nil || c.Status != corev1.ConditionFalse || c.Reason != "Frozen" || c.Message != "Waiting for its turn, as "+frozen.Message {
		t.Errorf("%+v", c)
	}
	s.turn(release.Turn{May: true})
	begun := rollout.Decide(s.Observation)
	if got := outcomeOf(begun).Events; !slices.Equal(got, []string{"Admitted"}) || begun.Status.GetCondition(v1beta1.ConditionAdmitted).Status != corev1.ConditionTrue {
		t.Errorf("%v %+v", got, begun.Status.Conditions)
	}
}

// Whoever waits keeps its place when its target changes once more.
func TestTurnIsKept(t *testing.T) {
	s := newScene().awaitsTurn(time.Hour).turn(frozen).targetAt(revC, 0)
	if got := rollout.Decide(s.Observation).Status.Admission.Since; !got.Time.Equal(t0.Add(-time.Hour)) {
		t.Errorf("it waits since %s", got)
	}
}
