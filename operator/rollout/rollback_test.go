package rollout_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

// revZ is what the primary had before it had revA.
const revZ = "s1-z"

// back asks for a rollback.
func (s *scene) back(to string) *scene {
	s.Actions = append(s.Actions, release.Action{Name: "x", Type: v1beta1.ActionRollback, By: "alice", Reason: "for a test", To: to})
	return s
}

// unavailable says of the rollback that is asked for that no template is stored for it.
func (s *scene) unavailable(why string) *scene { s.Actions[0].Unavailable = why; return s }

// goingBack is a release that was rolled back to an earlier revision of the primary, which does not have it yet.
func goingBack() *scene {
	s := newScene().phase(v1beta1.PhaseFailed).promoted(revA)
	s.Canary.Status.Rollback = &v1beta1.RollbackStatus{Revision: revZ, Since: metav1.NewMicroTime(t0.Add(-time.Second))}
	return s
}

// TestRollback is the table of what becomes of a primary that people set back to an earlier revision.
func TestRollback(t *testing.T) {
	type outcome struct {
		Phase    v1beta1.CanaryPhase
		Weight   int32
		Applied  string
		Promoted string
		Back     string // what the primary is to have again, by the status
		Stored   string // what it must be given now
		Primary  string // what it must be a copy of
		Refused  string // what the refusal begins with
		Events   []string
	}
	refused := []string{release.ReasonActionRefused}
	began := []string{release.ReasonRolledBack}
	for name, tc := range map[string]struct {
		scene *scene
		want  outcome
	}{
		"between releases": {
			newScene().back(revZ),
			outcome{Phase: v1beta1.PhaseFailed, Applied: revA, Promoted: revA, Back: revZ, Stored: revZ, Events: began},
		},
		"after a release that has failed": {
			newScene().phase(v1beta1.PhaseFailed).targetAt(revB, 0).with(func(o *release.Observation) { o.Canary.Status.LastAppliedSpec = revB }).back(revZ),
			outcome{Phase: v1beta1.PhaseFailed, Applied: revB, Promoted: revA, Back: revZ, Stored: revZ, Events: began},
		},
		"in an analysis the traffic goes first": {
			newScene().step(2, 40, time.Second).back(revZ),
			outcome{Phase: v1beta1.PhaseFailed, Applied: revB, Promoted: revA, Back: revZ, Events: began},
		},
		"before the analysis has given any traffic": {
			newScene().step(0, 0, time.Second).back(revZ),
			outcome{Phase: v1beta1.PhaseFailed, Applied: revB, Promoted: revA, Back: revZ, Stored: revZ, Events: began},
		},
		"at a gate": {
			newScene().step(3, 60, time.Second).atGate(v1beta1.ConfirmPromotionHook).back(revZ),
			outcome{Phase: v1beta1.PhaseFailed, Applied: revB, Promoted: revA, Back: revZ, Events: began},
		},
		"while it is paused": {
			newScene().step(1, 20, time.Second).paused().back(revZ),
			outcome{Phase: v1beta1.PhaseFailed, Applied: revB, Promoted: revA, Back: revZ, Events: began},
		},
		"with a primary of which no pod serves": {
			newScene().primaryAvailable(0).back(revZ),
			outcome{Phase: v1beta1.PhaseFailed, Applied: revA, Promoted: revA, Back: revZ, Stored: revZ, Events: began},
		},

		"in a promotion": {
			newScene().promoting(60, time.Second).primaryAt(revB).primaryAvailable(1).back(revZ),
			outcome{Phase: v1beta1.PhasePromoting, Weight: 60, Applied: revB, Promoted: revA, Primary: revB, Refused: "podinfo-primary is getting revision s1-b", Events: refused},
		},
		"before anything was promoted": {
			newScene().phase(v1beta1.PhaseInitializing).promoted("").primaryAvailable(1).back(revZ),
			outcome{Phase: v1beta1.PhaseInitializing, Applied: revA, Primary: revA, Refused: "nothing was promoted yet", Events: refused},
		},
		"to what serves": {
			newScene().step(1, 20, time.Second).back(revA),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Applied: revB, Promoted: revA, Refused: "podinfo-primary runs it already", Events: refused},
		},
		"to what is analysed": {
			newScene().step(1, 20, time.Second).back(revB),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Applied: revB, Promoted: revA, Refused: "Deployment/podinfo is that revision", Events: refused},
		},
		"to what has no template": {
			newScene().back(revZ).unavailable("no template of it is kept"),
			outcome{Phase: v1beta1.PhaseInitialized, Applied: revA, Promoted: revA, Primary: revA, Refused: "no template of it is kept", Events: refused},
		},
		"where the primary is gone": {
			newScene().step(1, 20, time.Second).with(func(o *release.Observation) { o.Primary = release.Workload{} }).back(revZ),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 100, Applied: revB, Promoted: revA, Refused: "there is no podinfo-primary", Events: append(refused, release.ReasonPrimaryUnavailable)},
		},
		"of a primary that would be without a pod": {
			newScene().with(func(o *release.Observation) { o.Primary.Interrupted = true }).back(revZ),
			outcome{Phase: v1beta1.PhaseInitialized, Applied: revA, Promoted: revA, Primary: revA, Refused: "podinfo-primary would be without a pod", Events: refused},
		},
		"of a primary that would be without a pod, where nobody can stand in anyway": {
			newScene().with(func(o *release.Observation) { o.Primary.Interrupted, o.Route.Fixed = true, true }).back(revZ),
			outcome{Phase: v1beta1.PhaseFailed, Applied: revA, Promoted: revA, Back: revZ, Stored: revZ, Events: began},
		},
		"with other contents of configs": {
			newScene().targetAt("s2-a-2", 2).primaryAt("s2-a-2").promoted("s2-a-2").with(func(o *release.Observation) { o.Canary.Status.LastAppliedSpec = "s2-a-2" }).back("s2-z-1"),
			outcome{Phase: v1beta1.PhaseInitialized, Applied: "s2-a-2", Promoted: "s2-a-2", Primary: "s2-a-2", Refused: "revision s2-z-1 was released with other contents", Events: refused},
		},
		"with the same contents of configs": {
			newScene().targetAt("s2-a-1", 2).primaryAt("s2-a-1").promoted("s2-a-1").with(func(o *release.Observation) { o.Canary.Status.LastAppliedSpec = "s2-a-1" }).back("s2-z-1"),
			outcome{Phase: v1beta1.PhaseFailed, Applied: "s2-a-1", Promoted: "s2-a-1", Back: "s2-z-1", Stored: "s2-z-1", Events: began},
		},
		"to what had no configs": {
			newScene().targetAt("s2-a-1", 2).primaryAt("s2-a-1").promoted("s2-a-1").with(func(o *release.Observation) { o.Canary.Status.LastAppliedSpec = "s2-a-1" }).back("s2-z"),
			outcome{Phase: v1beta1.PhaseFailed, Applied: "s2-a-1", Promoted: "s2-a-1", Back: "s2-z", Stored: "s2-z", Events: began},
		},
		"twice": {
			goingBack().back(revZ),
			outcome{Phase: v1beta1.PhaseFailed, Applied: revA, Promoted: revA, Back: revZ, Stored: revZ, Refused: "podinfo-primary is going back to it already", Events: refused},
		},
		"to another one meanwhile": {
			goingBack().back("s1-y"),
			outcome{Phase: v1beta1.PhaseFailed, Applied: revA, Promoted: revA, Back: "s1-y", Stored: "s1-y", Events: began},
		},
		"asked for before the release began": {
			newScene().step(1, 20, time.Second).started(t0).with(func(o *release.Observation) {
				o.Actions = []release.Action{{Name: "x", Type: v1beta1.ActionRollback, To: revZ, Created: t0.Add(-time.Minute)}}
			}),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Applied: revB, Promoted: revA, Refused: "it was asked for before the release", Events: refused},
		},

		"the mesh must lead to the primary before it changes": {
			goingBack().outOfSync(), outcome{Phase: v1beta1.PhaseFailed, Applied: revA, Promoted: revA, Back: revZ},
		},
		"until the primary has it": {
			goingBack(), outcome{Phase: v1beta1.PhaseFailed, Applied: revA, Promoted: revA, Back: revZ, Stored: revZ},
		},
		"once the primary has it": {
			goingBack().primaryAt(revZ).primaryAvailable(1),
			outcome{Phase: v1beta1.PhaseFailed, Applied: revA, Promoted: revZ, Back: revZ},
		},
		"once the primary is ready": {
			goingBack().primaryAt(revZ), outcome{Phase: v1beta1.PhaseFailed, Applied: revA, Promoted: revZ, Events: []string{release.ReasonPrimaryRestored}},
		},
		"a primary whose change is not observed says nothing": {
			goingBack().primaryAt(revZ).with(func(o *release.Observation) { o.Primary.Unobserved, o.Primary.Ready = true, false }),
			outcome{Phase: v1beta1.PhaseFailed, Applied: revA, Promoted: revA, Back: revZ},
		},
		"a suspension leaves it for later": {
			goingBack().with(func(o *release.Observation) { o.Canary.Spec.Suspend = true }),
			outcome{Phase: v1beta1.PhaseFailed, Applied: revA, Promoted: revA, Back: revZ, Events: []string{release.ReasonSuspended}},
		},
		"a primary that does not become ready": {
			goingBack().primaryAt(revZ).primaryAvailable(1).unwell(time.Hour),
			outcome{Phase: v1beta1.PhaseFailed, Applied: revA, Promoted: revZ, Back: revZ, Events: []string{release.ReasonRollbackHalted}},
		},
		"a new revision is analysed meanwhile": {
			goingBack().targetAt(revB, 2),
			outcome{Phase: v1beta1.PhaseProgressing, Applied: revB, Promoted: revA, Back: revZ, Stored: revZ, Events: []string{release.ReasonNewRevision}},
		},
		"it goes on in an analysis": {
			goingBack().step(1, 20, time.Second),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20, Applied: revB, Promoted: revA, Back: revZ, Stored: revZ},
		},
		"what serves until then is no revision to be set back to": {
			goingBack().with(func(o *release.Observation) { o.Canary.Status.LastAppliedSpec = revB }),
			outcome{Phase: v1beta1.PhaseProgressing, Applied: revA, Promoted: revA, Back: revZ, Stored: revZ, Events: []string{release.ReasonNewRevision}},
		},
		"the target is set to what the primary has again": {
			goingBack().primaryAt(revZ).targetAt(revZ, 2),
			outcome{Phase: v1beta1.PhaseFinalising, Applied: revZ, Promoted: revZ, Primary: revZ, Events: []string{release.ReasonPrimaryRestored, release.ReasonReverted}},
		},
		"the undone revision is not healed, nor promoted": {
			newScene().phase(v1beta1.PhaseFailed).promoted(revZ).primaryAt(revZ),
			outcome{Phase: v1beta1.PhaseFailed, Applied: revA, Promoted: revZ},
		},
		"it is tried again when somebody asks": {
			newScene().phase(v1beta1.PhaseFailed).promoted(revZ).primaryAt(revZ).asked(v1beta1.ActionRetry),
			outcome{Phase: v1beta1.PhaseProgressing, Applied: revA, Promoted: revZ, Events: []string{release.ReasonRetried}},
		},
		"the primary is deleted meanwhile": {
			goingBack().with(func(o *release.Observation) { o.Primary = release.Workload{} }),
			outcome{Phase: v1beta1.PhaseInitializing, Applied: revA, Promoted: revA, Primary: revA, Events: []string{release.ReasonPrimaryMissing}},
		},
		"a promotion is the later word": {
			goingBack().step(3, 60, 10*time.Second).checked(passed, 0),
			outcome{Phase: v1beta1.PhasePromoting, Weight: 60, Applied: revB, Promoted: revA, Primary: revB, Events: []string{release.ReasonPromoting}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			got := outcome{
				Phase: d.Status.Phase, Weight: d.Status.CanaryWeight, Applied: d.Status.LastAppliedSpec, Promoted: d.Status.LastPromotedSpec,
				Stored: d.Desired.StoredRevision, Primary: d.Desired.PrimaryRevision,
			}
			if r := d.Status.Rollback; r != nil {
				got.Back = r.Revision
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
