package rollout_test

import (
	"testing"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

func TestPrimaryDeleted(t *testing.T) {
	lost := func(o *release.Observation) {
		o.Canary.Status.PrimaryReplicas = 10
		o.Primary = release.Workload{}
		o.Route.Has = &release.Traffic{Canary: o.Canary.Status.CanaryWeight}
	}
	failedRelease := func() *scene {
		s := newScene().step(0, 0, 0).phase(v1beta1.PhaseFailed).failed(3).targetAt(revB, 0)
		s.Canary.Status.Step = nil
		return s
	}
	for name, tc := range map[string]struct {
		scene       *scene
		wantPhase   v1beta1.CanaryPhase
		wantWeight  int32
		wantPrimary string
		wantStalled string
		wantPods    int32 // of the target; -1: kept
	}{
		"in mid-release": {newScene().step(1, 20, time.Second).persisted().with(lost), v1beta1.PhaseProgressing, 100, "", "", 10},
		"at rest":        {newScene().persisted().with(lost), v1beta1.PhaseInitializing, 0, revA, "", -1},
		"at rest, before the drain": {
			newScene().targetAt(revA, 2).persisted().with(lost), v1beta1.PhaseInitializing, 100, revA, "", -1,
		},
		"after a rollback": {failedRelease().persisted().with(lost), v1beta1.PhaseFailed, 0, "", release.ReasonPrimaryMissing, -1},
		"after a rollback, the target set back": {
			failedRelease().persisted().with(lost).targetAt(revA, 0), v1beta1.PhaseInitializing, 0, revA, "", -1,
		},
		"after a rollback, another revision": {failedRelease().persisted().with(lost).targetAt(revC, 0), v1beta1.PhaseProgressing, 0, "", "", 10},
		"in a promotion":                     {newScene().promoting(60, time.Second).persisted().with(lost), v1beta1.PhasePromoting, 100, revB, "", 10},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			replicas := int32(-1)
			if d.Desired.TargetReplicas != nil {
				replicas = *d.Desired.TargetReplicas
			}
			if d.Status.Phase != tc.wantPhase || d.Desired.Traffic.Canary != tc.wantWeight || d.Desired.PrimaryRevision != tc.wantPrimary || replicas != tc.wantPods {
				t.Errorf("%s, weight %d, primary %q, %d pods; want %s, %d, %q, %d", d.Status.Phase, d.Desired.Traffic.Canary, d.Desired.PrimaryRevision, replicas,
					tc.wantPhase, tc.wantWeight, tc.wantPrimary, tc.wantPods)
			}
			if !d.Desired.Routed {
				t.Error("the route is left alone")
			}
			if n := d.Desired.PrimaryReplicas; n == nil || *n != 10 {
				t.Errorf("the primary is to have %v pods", n)
			}
			stalled := ""
			if c := d.Status.GetCondition(v1beta1.ConditionStalled); c != nil {
				stalled = c.Reason
			}
			if stalled != tc.wantStalled {
				t.Errorf("Stalled for %q, want %q", stalled, tc.wantStalled)
			}
		})
	}
}

func TestStatusLost(t *testing.T) {
	for name, s := range map[string]*scene{
		"all pods up":  newScene().targetAt(revB, 2),
		"one pod up":   newScene().targetAt(revB, 2).primaryAvailable(1),
		"none up yet":  newScene().targetAt(revB, 2).primaryAvailable(0),
		"none is left": newScene().targetAt(revB, 0).primaryAvailable(0),
	} {
		t.Run(name, func(t *testing.T) {
			s.Canary.Status = v1beta1.CanaryStatus{}
			for range 5 {
				d := rollout.Decide(s.Observation)
				if d.Desired.PrimaryRevision == revB {
					t.Fatalf("the primary, %d of 2 pods up, is overwritten with a revision that nobody has judged", s.Primary.Available)
				}
				s.Canary.Status = d.Status
				s.Now = s.Now.Add(time.Second)
			}
			s.Primary = settled(s.Primary)
			for range 5 {
				s.Canary.Status = rollout.Decide(s.Observation).Status
			}
			if st := s.Canary.Status; st.Phase != v1beta1.PhaseProgressing || st.LastPromotedSpec != revA || st.LastAppliedSpec != revB {
				t.Errorf("%s of %q, promoted %q", st.Phase, st.LastAppliedSpec, st.LastPromotedSpec)
			}
		})
	}
}

// A primary that is gone is not made again from a revision that it may not have run, as long as
// a mesh can have the target stand in.
func TestStatusLostWithPrimary(t *testing.T) {
	for name, tc := range map[string]struct {
		promoted, applied string
		services, fixed   bool
		wantPhase         v1beta1.CanaryPhase
		wantPrimary       string
	}{
		"the first time":                       {"", "", false, false, v1beta1.PhaseInitializing, revB},
		"the status is lost":                   {"", "", true, false, v1beta1.PhaseProgressing, ""},
		"the status is lost, without a mesh":   {"", "", true, true, v1beta1.PhaseInitializing, revB},
		"the first primary is not there yet":   {"", revB, true, false, v1beta1.PhaseInitializing, revB},
		"it is made again":                     {revB, revB, true, false, v1beta1.PhaseInitializing, revB},
		"the target changes before it is made": {revA, revA, true, false, v1beta1.PhaseProgressing, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene().targetAt(revB, 2)
			s.Canary.Status = v1beta1.CanaryStatus{LastPromotedSpec: tc.promoted, LastAppliedSpec: tc.applied}
			if tc.applied != "" {
				s.Canary.Status.Phase = v1beta1.PhaseInitializing
			}
			s.Primary, s.HasServices, s.Route.Fixed = release.Workload{}, tc.services, tc.fixed
			d := rollout.Decide(s.Observation)
			if d.Status.Phase != tc.wantPhase || d.Desired.PrimaryRevision != tc.wantPrimary {
				t.Errorf("%s, primary %q; want %s, %q", d.Status.Phase, d.Desired.PrimaryRevision, tc.wantPhase, tc.wantPrimary)
			}
			if d.Status.Phase == v1beta1.PhaseProgressing && d.Desired.Traffic.Canary != 100 {
				t.Errorf("the canary has %d%% meanwhile", d.Desired.Traffic.Canary)
			}
		})
	}
}

func TestInitializedWithAllTraffic(t *testing.T) {
	s := newScene().phase(v1beta1.PhaseInitializing).targetAt(revA, 2)
	s.Canary.Status.CanaryWeight = 100
	s.Route.Has = &release.Traffic{Canary: 100}
	d := rollout.Decide(s.Observation)
	if d.Status.Phase != v1beta1.PhaseInitializing || d.Status.CanaryWeight != 0 {
		t.Errorf("%s with weight %d", d.Status.Phase, d.Status.CanaryWeight)
	}
}

// Whoever calls the application is led to the first primary when that is ready and nothing holds the rollout, and
// in any case where nobody else has pods. By what he is led is on record before he is.
func TestTakeover(t *testing.T) {
	first := func() *scene {
		s := newScene().phase(v1beta1.PhaseInitializing).targetAt(revA, 2).outOfSync()
		s.Canary.Status.LastPromotedSpec = ""
		s.Identity = &v1beta1.IdentityStatus{Apex: "podinfo", Provider: "istio"}
		return s
	}
	recorded := func(o *release.Observation) { o.Canary.Status.Identity = &v1beta1.IdentityStatus{Apex: "podinfo"} }
	noPrimary := func(o *release.Observation) { o.Primary = release.Workload{} }
	for name, tc := range map[string]struct {
		scene          *scene
		routed         bool
		weight         int32
		hold, recorded bool
	}{
		"the primary is ready":                 {first(), true, 0, false, true},
		"it is not":                            {first().primaryAvailable(1), false, 0, false, false},
		"it is not, and the target is at zero": {first().primaryAvailable(1).targetAt(revA, 0), true, 0, false, true},
		"it is not, and the target crashes":    {first().primaryAvailable(1).targetAvailable(0), true, 0, false, true},
		"neither has a pod":                    {first().primaryAvailable(0).targetAt(revA, 0), false, 0, false, false},
		"a mistake":                            {first().with(mistake), false, 0, false, false},
		"suspended":                            {first().with(suspended), false, 0, false, false},
		"a mistake, and the target crashes":    {first().targetAvailable(0).with(mistake), true, 0, false, true},
		"a mistake, and both start":            {first().targetAvailable(0).primaryAvailable(1).with(mistake), false, 0, false, false},
		"a mistake, and the target is at zero": {first().targetAt(revA, 0).with(mistake), true, 0, false, true},
		"the target is gone":                   {first().with(targetGone), true, 0, false, true},
		"a mistake, once they are led":         {first().with(recorded).with(mistake), true, 0, false, true},
		"a mistake, and no primary yet":        {first().with(mistake).with(noPrimary), false, 0, true, false},
		"a mistake, and the primary is lost":   {first().with(recorded).with(mistake).with(noPrimary), true, 100, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			if d.Desired.Routed != tc.routed || d.Status.CanaryWeight != tc.weight || d.Desired.Hold != tc.hold {
				t.Errorf("routed %t, weight %d, hold %t; want %t, %d, %t", d.Desired.Routed, d.Status.CanaryWeight, d.Desired.Hold, tc.routed, tc.weight, tc.hold)
			}
			if recorded := d.Status.Identity != nil; recorded != tc.recorded {
				t.Errorf("recorded: %t", recorded)
			}
		})
	}
}

// Until the first primary is ready it follows the target, but for one that serves already and would be without a
// pod while it changes.
func TestFirstRevisionFollowsTarget(t *testing.T) {
	for name, tc := range map[string]struct {
		interrupted, routed bool
		available           int32
		want                string
	}{
		"it starts":                      {false, false, 1, revB},
		"it starts, one after the other": {true, false, 1, revB},
		"it serves":                      {false, true, 1, revB},
		"it serves, one after the other": {true, true, 1, revA},
		"it has no pod any more":         {true, true, 0, revB},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene().phase(v1beta1.PhaseInitializing).primaryAvailable(tc.available).targetAt(revB, 2)
			s.Canary.Status.LastPromotedSpec = ""
			s.Primary.Interrupted = tc.interrupted
			if tc.routed {
				s.Route.Has = &release.Traffic{}
			}
			if d := rollout.Decide(s.Observation); d.Desired.PrimaryRevision != tc.want {
				t.Errorf("the primary gets %s", d.Desired.PrimaryRevision)
			}
		})
	}
}

// A primary that is made again, and that a cache does not show yet, is not replaced by what the target became
// meanwhile: nobody has judged that, with a mesh or without.
func TestAnotherRevisionIsNotMadeThePrimaryThatWasLost(t *testing.T) {
	for name, without := range map[string]bool{"with a mesh": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			s := newScene().phase(v1beta1.PhaseInitializing).targetAt(revB, 2).with(func(o *release.Observation) {
				o.Primary, o.Route.Fixed = release.Workload{}, without
			})
			d := rollout.Decide(s.Observation)
			if d.Status.Phase != v1beta1.PhaseProgressing || d.Desired.PrimaryRevision != "" {
				t.Errorf("%s, and the primary gets %q", d.Status.Phase, d.Desired.PrimaryRevision)
			}
		})
	}
}

// A primary that was there before the status was lost, and does not become well, is no reason to have nobody judge what the
// target is meanwhile: that may mend it, and may have a share that it does not deserve.
func TestReleaseOntoAnUnwellPrimary(t *testing.T) {
	const deadline = 10 * time.Minute
	for name, tc := range map[string]struct {
		target    string
		available int32
		unwell    time.Duration
		want      v1beta1.CanaryPhase
	}{
		"for longer than the deadline": {revB, 1, deadline, v1beta1.PhaseProgressing},
		"for a moment":                 {revB, 1, deadline - time.Second, v1beta1.PhaseInitializing},
		"it serves nobody":             {revB, 0, deadline, v1beta1.PhaseInitializing},
		"it is what the target is":     {revA, 1, deadline, v1beta1.PhaseInitializing},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene().phase(v1beta1.PhaseInitializing).targetAt(tc.target, 2).primaryAvailable(tc.available).unwell(tc.unwell)
			s.Canary.Status.LastPromotedSpec, s.Canary.Status.LastAppliedSpec = revA, revA
			d := rollout.Decide(s.Observation)
			if d.Status.Phase != tc.want || d.Status.LastPromotedSpec != revA || d.Desired.PrimaryRevision == revB {
				t.Errorf("%s of %q, promoted %q, primary %q", d.Status.Phase, d.Status.LastAppliedSpec, d.Status.LastPromotedSpec, d.Desired.PrimaryRevision)
			}
		})
	}
}
