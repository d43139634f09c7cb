package rollout_test

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

func (s *scene) persisted() *scene {
	checks, actions := s.Checks, s.Actions
	s.Checks, s.Actions = nil, nil
	s.Canary.Status = rollout.Decide(s.Observation).Status
	s.Checks, s.Actions = checks, actions
	return s
}

func mistake(o *release.Observation) {
	o.Mistake = &release.Mistake{Reason: "InvalidSpec", Message: "spec.analysis.metrics[0].templateRef: there is no MetricTemplate errors"}
}

func suspended(o *release.Observation) { o.Canary.Spec.Suspend = true }

func targetGone(o *release.Observation) {
	o.Target = release.Workload{}
	o.Mistake = &release.Mistake{Reason: "TargetMissing", Message: "there is no Deployment podinfo"}
}

func canaryCrashed(o *release.Observation) { o.Target.Available, o.Target.Ready = 0, false }

func TestHeldReleasesStaySafe(t *testing.T) {
	const deadline = 10 * time.Minute
	for name, tc := range map[string]struct {
		scene      *scene
		wantPhase  v1beta1.CanaryPhase
		wantWeight int32
		wantEvent  string
	}{
		"a mistake":                        {newScene().step(2, 40, time.Second).persisted().with(mistake), v1beta1.PhaseProgressing, 40, "InvalidSpec"},
		"the target is deleted":            {newScene().step(2, 40, time.Second).persisted().with(targetGone), v1beta1.PhaseProgressing, 0, release.ReasonCanaryUnavailable},
		"a mistake and the canary crashes": {newScene().step(2, 40, time.Second).persisted().with(mistake).with(canaryCrashed), v1beta1.PhaseProgressing, 0, release.ReasonCanaryUnavailable},
		"suspended and the canary crashes": {newScene().step(2, 40, time.Second).persisted().with(suspended).with(canaryCrashed), v1beta1.PhaseProgressing, 0, release.ReasonCanaryUnavailable},
		"suspended and the primary is lost": {
			newScene().step(2, 40, time.Second).persisted().with(suspended).primaryAvailable(0), v1beta1.PhaseProgressing, 100, release.ReasonPrimaryUnavailable,
		},
		"a mistake and the primary is lost, at rest": {
			newScene().targetAt(revA, 2).persisted().with(mistake).primaryAvailable(0), v1beta1.PhaseInitialized, 100, release.ReasonPrimaryUnavailable,
		},
		"a mistake in a promotion, and the canary crashes": {
			newScene().promoting(60, time.Second).persisted().with(mistake).with(canaryCrashed), v1beta1.PhasePromoting, 0, release.ReasonCanaryUnavailable,
		},
		"a mistake for longer than the deadline": {newScene().step(2, 40, time.Hour).unwell(deadline).with(mistake), v1beta1.PhaseFailed, 0, release.ReasonDeadlineExceeded},
		"suspended for longer than the deadline": {newScene().step(2, 40, time.Hour).unwell(deadline).with(suspended), v1beta1.PhaseProgressing, 40, release.ReasonSuspended},
		"a rollback hook asks":                   {newScene().step(2, 40, time.Second).hooked(v1beta1.RollbackHook).answered(v1beta1.RollbackHook, 0, passed).with(mistake), v1beta1.PhaseFailed, 0, release.ReasonRollbackAsked},
		"a rollback hook asks, suspended":        {newScene().step(2, 40, time.Second).hooked(v1beta1.RollbackHook).answered(v1beta1.RollbackHook, 0, passed).with(suspended), v1beta1.PhaseFailed, 0, release.ReasonRollbackAsked},
		"somebody aborts":                        {newScene().step(2, 40, time.Second).asked(v1beta1.ActionAbort).with(mistake), v1beta1.PhaseFailed, 0, release.ReasonAborted},
		"somebody wants it promoted":             {newScene().step(2, 40, time.Second).asked(v1beta1.ActionPromote).with(mistake), v1beta1.PhaseProgressing, 40, "InvalidSpec"},
		"the target is set back":                 {newScene().step(2, 40, time.Second).targetAt(revA, 2).with(mistake), v1beta1.PhaseFinalising, 0, release.ReasonReverted},
		"another revision": {
			newScene().step(2, 40, time.Second).persisted().targetAt(revC, 2).with(mistake), v1beta1.PhaseProgressing, 0, release.ReasonNewRevision,
		},
		"another revision, suspended": {
			newScene().step(2, 40, time.Second).persisted().targetAt(revC, 2).with(suspended), v1beta1.PhaseProgressing, 0, release.ReasonNewRevision,
		},
		"another revision at the gate of the promotion": {
			newScene().step(2, 40, time.Second).phase(v1beta1.PhaseWaitingPromotion).persisted().targetAt(revC, 2).with(mistake), v1beta1.PhaseProgressing, 0, release.ReasonNewRevision,
		},
		"another revision in a promotion": {
			newScene().promoting(60, time.Second).persisted().targetAt(revC, 2).with(mistake), v1beta1.PhasePromoting, 0, release.ReasonNewRevision,
		},
		"another revision, and the primary is lost": {
			newScene().promoting(60, time.Second).persisted().targetAt(revC, 2).with(mistake).primaryAvailable(0), v1beta1.PhasePromoting, 100, release.ReasonNewRevision,
		},
		"checks that failed do not count": {newScene().step(2, 40, 10*time.Second).failed(2).checked(v1beta1.CheckFailed, 0).with(mistake), v1beta1.PhaseProgressing, 40, "InvalidSpec"},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			if d.Status.Phase != tc.wantPhase || d.Status.CanaryWeight != tc.wantWeight {
				t.Errorf("%s with weight %d, want %s with %d", d.Status.Phase, d.Status.CanaryWeight, tc.wantPhase, tc.wantWeight)
			}
			if d.Desired.Hold || !d.Desired.Routed || d.Desired.Traffic.Canary != tc.wantWeight {
				t.Errorf("the mesh is asked for %+v (hold %t, routed %t)", d.Desired.Traffic, d.Desired.Hold, d.Desired.Routed)
			}
			if !slices.Contains(outcomeOf(d).Events, tc.wantEvent) {
				t.Errorf("events %v, want %s", outcomeOf(d).Events, tc.wantEvent)
			}
			if d.Desired.PrimaryRevision != "" || d.Desired.TargetReplicas != nil || d.RunChecks != nil {
				t.Errorf("it goes on: %+v, checks %v", d.Desired, d.RunChecks)
			}
			if tc.scene.Mistake == nil {
				return
			}
			if c := d.Status.GetCondition(v1beta1.ConditionStalled); c == nil || c.Reason != tc.scene.Mistake.Reason {
				t.Errorf("Stalled is %+v", c)
			}
		})
	}
}

// A canary is no other revision because an older version of the operator has named it otherwise, nor because nothing is known
// of it.
func TestHeldRevisionsAreTakenOver(t *testing.T) {
	for name, tc := range map[string]struct{ recorded, observed, want string }{
		"an older format": {"d41d8cd98f", revB, revB},
		"not known":       {revB, "", revB},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene().step(2, 40, time.Second).persisted().with(mistake)
			s.Canary.Status.LastAppliedSpec, s.Canary.Status.AppliedTarget, s.Target.Revision = tc.recorded, nil, tc.observed
			d := rollout.Decide(s.Observation)
			if d.Status.CanaryWeight != 40 || d.Status.LastAppliedSpec != tc.want {
				t.Errorf("weight %d, revision %q", d.Status.CanaryWeight, d.Status.LastAppliedSpec)
			}
		})
	}
}

// Where the status is lost while the mesh can't be asked, what that has is taken over once it can.
func TestStatusLostInAnOutage(t *testing.T) {
	s := newScene().targetAt(revB, 2).primaryAvailable(0)
	s.Canary.Status = v1beta1.CanaryStatus{}
	s.Outage, s.Route = "the mesh can't be asked", release.Route{Unreachable: true}
	s.Canary.Status = rollout.Decide(s.Observation).Status
	s.primaryAvailable(1)
	s.Outage, s.Route = "", release.Route{Has: &release.Traffic{Canary: 100}}
	if d := rollout.Decide(s.Observation); d.Status.CanaryWeight != 100 {
		t.Errorf("the canary has %d%%, where the mesh has 100%% and the primary is not well", d.Status.CanaryWeight)
	}
}

func TestNoJumpAfterHold(t *testing.T) {
	for name, s := range map[string]*scene{
		"analysis":  newScene().step(3, 60, time.Second),
		"promotion": newScene().promoting(60, time.Second),
	} {
		t.Run(name, func(t *testing.T) {
			s.persisted().with(mistake).with(canaryCrashed).persisted()
			s.Target = ready(revB, 2)
			s.Mistake = nil
			if d := rollout.Decide(s.Observation); d.Status.CanaryWeight > 20 {
				t.Errorf("weight %d at once", d.Status.CanaryWeight)
			}
		})
	}
}

func TestTargetChanges(t *testing.T) {
	known := func(generation int64) func(*release.Observation) {
		return func(o *release.Observation) {
			o.Canary.Status.AppliedTarget = &v1beta1.AppliedTarget{UID: "u", Generation: 7}
			o.Target.UID, o.Target.Generation = "u", generation
		}
	}
	for name, tc := range map[string]struct {
		scene     *scene
		wantPhase v1beta1.CanaryPhase
	}{
		"a cache that is older than the status": {newScene().step(2, 40, time.Second).targetAt(revA, 0).with(known(6)), v1beta1.PhaseProgressing},
		"an image and no replicas at once, in place of the drain": {
			newScene().phase(v1beta1.PhaseSucceeded).targetAt(revC, 0).with(known(8)).with(func(o *release.Observation) { o.Canary.Status.DrainedGeneration = 7 }),
			v1beta1.PhaseProgressing,
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			if d.Status.Phase != tc.wantPhase {
				t.Errorf("%s, want %s; %v", d.Status.Phase, tc.wantPhase, d.Events)
			}
			if d.Desired.PrimaryRevision == tc.scene.Target.Revision {
				t.Errorf("the primary gets %s", d.Desired.PrimaryRevision)
			}
		})
	}
}

func TestAdoptedPostRollout(t *testing.T) {
	s := newScene().phase(v1beta1.PhaseSucceeded).hooked(v1beta1.PostRolloutHook)
	s.Canary.Status.Gate = &v1beta1.GateStatus{Type: v1beta1.PostRolloutHook, Since: metav1.NewMicroTime(t0)}
	if d := rollout.Decide(s.Observation); len(d.CallHooks) != 1 || d.Status.Gate != nil || d.Status.PostRollout == nil {
		t.Errorf("calls %v, gate %+v, pending since %v", d.CallHooks, d.Status.Gate, d.Status.PostRollout)
	}
}

// A primary that is gone while its rollout is held is made again from what it was made from, with as many pods as it had: the
// target may have none to stand in with.
func TestHeldPrimaryIsMadeAgain(t *testing.T) {
	lost := func(o *release.Observation) { o.Primary, o.Canary.Status.PrimaryReplicas = release.Workload{}, 10 }
	foreign := func(o *release.Observation) { o.Mistake = &release.Mistake{Reason: "ObjectConflict", Foreign: true} }
	outage := func(o *release.Observation) { o.Outage, o.Route.Unreachable = "the mesh can't be asked", true }
	for name, tc := range map[string]struct {
		scene *scene
		want  string
	}{
		"by a mistake":              {newScene().with(mistake), revA},
		"by a suspension":           {newScene().with(suspended), revA},
		"by an outage":              {newScene().with(outage), revA},
		"by objects of another":     {newScene().with(foreign), ""},
		"the target is another":     {newScene().targetAt(revC, 0).with(mistake), ""},
		"the target is gone":        {newScene().with(targetGone), ""},
		"in mid-release":            {newScene().step(2, 40, time.Second).with(mistake), ""},
		"in a promotion":            {newScene().promoting(60, time.Second).with(mistake), revB},
		"after a rollback":          {newScene().step(0, 0, 0).phase(v1beta1.PhaseFailed).targetAt(revB, 0).with(mistake), ""},
		"after one, it is set back": {newScene().step(0, 0, 0).phase(v1beta1.PhaseFailed).targetAt(revA, 0).with(mistake), revA},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.persisted().with(lost).Observation)
			if d.Desired.PrimaryRevision != tc.want || d.Desired.Hold || d.Desired.TargetReplicas != nil {
				t.Errorf("%+v", d.Desired)
			}
			if n := d.Desired.PrimaryReplicas; tc.want != "" && (n == nil || *n != 10) {
				t.Errorf("it is to have %v pods", n)
			}
			there := newScene().with(mistake).persisted()
			if d := rollout.Decide(there.Observation); d.Desired.PrimaryRevision != "" {
				t.Errorf("one that is there gets %q", d.Desired.PrimaryRevision)
			}
		})
	}
}
