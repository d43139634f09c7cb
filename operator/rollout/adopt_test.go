package rollout_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

// as names the object that the target is.
func (s *scene) as(uid types.UID, generation int64) *scene {
	s.Target.UID, s.Target.Generation = uid, generation
	return s
}

// applied names the object that the status is about, and its revision.
func (s *scene) applied(uid types.UID, generation int64, revision string) *scene {
	s.Canary.Status.AppliedTarget = &v1beta1.AppliedTarget{UID: uid, Generation: generation}
	s.Canary.Status.LastAppliedSpec = revision
	return s
}

func (s *scene) promoted(revision string) *scene {
	s.Canary.Status.LastPromotedSpec = revision
	return s
}

// Pain 7: however an operator computes revisions, a target that nobody touched
// is not released.
func TestAdoptRevision(t *testing.T) {
	const old = "s0-a"
	type result struct {
		Phase             v1beta1.CanaryPhase
		Applied, Promoted string
	}
	for name, tc := range map[string]struct {
		scene *scene
		want  result
	}{
		"the same generation, another hash": {
			newScene().as("t", 4).applied("t", 4, "s1-before").promoted("s1-before").primaryAt("s1-before"),
			result{v1beta1.PhaseInitialized, revA, revA},
		},
		"the same generation, another format": {
			newScene().as("t", 4).applied("t", 4, old).promoted(old).primaryAt(""),
			result{v1beta1.PhaseInitialized, revA, revA},
		},
		"the same generation that failed": {
			newScene().as("t", 4).targetAt(revB, 0).as("t", 4).applied("t", 4, "s0-b").promoted(old).phase(v1beta1.PhaseFailed),
			result{v1beta1.PhaseFailed, revB, old},
		},
		"the same generation in mid-analysis": {
			newScene().step(1, 20, time.Second).as("t", 4).applied("t", 4, "s0-b").promoted(old),
			result{v1beta1.PhaseProgressing, revB, old},
		},
		"another generation, another hash": {
			newScene().targetAt(revB, 0).as("t", 5).applied("t", 4, revA),
			result{v1beta1.PhaseProgressing, revB, revA},
		},
		"an object made anew": {
			newScene().targetAt(revB, 0).as("u", 4).applied("t", 4, revA),
			result{v1beta1.PhaseProgressing, revB, revA},
		},
		"another generation and format, the primary runs it": {
			newScene().as("t", 5).applied("t", 4, old).promoted(old),
			result{v1beta1.PhaseInitialized, revA, revA},
		},
		"nothing is known of generations": {
			newScene().targetAt(revB, 0).applied("", 0, revA),
			result{v1beta1.PhaseProgressing, revB, revA},
		},
	} {
		t.Run(name, func(t *testing.T) {
			st := rollout.Decide(tc.scene.Observation).Status
			if diff := cmp.Diff(tc.want, result{st.Phase, st.LastAppliedSpec, st.LastPromotedSpec}); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// written is a scene whose status has been written as it is to be.
func written(s *scene) *scene {
	s.Canary.Status = rollout.Decide(s.Observation).Status
	return s
}

func (s *scene) drained(generation int64) *scene {
	s.Canary.Status.DrainedGeneration = generation
	return s
}

func TestRememberTarget(t *testing.T) {
	is := func(uid types.UID, generation int64) *v1beta1.AppliedTarget {
		return &v1beta1.AppliedTarget{UID: uid, Generation: generation}
	}
	for name, tc := range map[string]struct {
		scene *scene
		want  *v1beta1.AppliedTarget
	}{
		"at rest":                        {newScene().as("t", 4), is("t", 4)},
		"scaled at rest":                 {written(newScene()).as("t", 5).applied("t", 4, revA), is("t", 4)},
		"scaled, and something is news":  {newScene().as("t", 5).applied("t", 4, revA), is("t", 5)},
		"its pods were removed by us":    {newScene().drained(4).as("t", 5).applied("t", 4, revA), is("t", 4)},
		"made anew":                      {newScene().as("u", 1).applied("t", 4, revA), is("u", 1)},
		"a release begins":               {newScene().targetAt(revB, 0).as("t", 5).applied("t", 4, revA), is("t", 5)},
		"scaled in mid-analysis":         {written(newScene().step(1, 20, time.Second)).as("t", 6).applied("t", 5, revB), is("t", 5)},
		"not yet known, in mid-analysis": {newScene().step(1, 20, time.Second).as("t", 6), is("t", 6)},
		"a target without generations":   {newScene(), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, rollout.Decide(tc.scene.Observation).Status.AppliedTarget); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// A primary that turns out to serve before it has become what the target is by now keeps what it is,
// and the target is a release: it must not be taken for what the status was about.
func TestFirstPrimaryServesBeforeAnotherTarget(t *testing.T) {
	s := newScene().phase(v1beta1.PhaseInitializing).targetAt(revB, 2)
	s.Target.UID, s.Target.Generation = "u", 2
	s.Canary.Status.LastAppliedSpec, s.Canary.Status.LastPromotedSpec = revB, ""
	s.Canary.Status.AppliedTarget = &v1beta1.AppliedTarget{UID: "u", Generation: 2}
	for range 5 {
		d := rollout.Decide(s.Observation)
		if d.Desired.PrimaryRevision == revB {
			t.Fatalf("in %s the primary gets what nobody has judged", d.Status.Phase)
		}
		s.Canary.Status = d.Status
	}
	if st := s.Canary.Status; st.Phase != v1beta1.PhaseProgressing || st.LastAppliedSpec != revB || st.LastPromotedSpec != revA {
		t.Errorf("%s of %q after %q", st.Phase, st.LastAppliedSpec, st.LastPromotedSpec)
	}
}
