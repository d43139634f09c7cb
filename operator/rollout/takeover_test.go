package rollout_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

// flagger is a scene in mid-release as Flagger leaves it: hashes without a
// format, no step, and the route in the mesh.
func flagger(phase v1beta1.CanaryPhase, weight int32, has release.Traffic) *scene {
	s := newScene().targetAt(revB, 2).phase(phase)
	st := &s.Canary.Status
	st.LastAppliedSpec, st.LastPromotedSpec, st.CanaryWeight = "5d8f7c9b6", "7c5b8f9d4", weight
	s.Route = release.Route{InSync: weight == has.Canary, Has: &has}
	return s
}

func (s *scene) iterated(n int32) *scene { s.Canary.Status.Iterations = n; return s }

// Traffic stays where Flagger has it, whatever its status says of it, and the
// release goes on from there.
func TestTakeoverFromFlagger(t *testing.T) {
	type result struct {
		Phase   v1beta1.CanaryPhase
		Traffic release.Traffic
		Step    int32 // -1: none
		Primary string
	}
	drained := func(s *scene) *scene { return s.targetAt(s.Target.Revision, 0) }
	for name, tc := range map[string]struct {
		scene *scene
		want  result
	}{
		"Progressing, weighted": {
			flagger(v1beta1.PhaseProgressing, 40, release.Traffic{Canary: 40}),
			result{v1beta1.PhaseProgressing, release.Traffic{Canary: 40}, 2, ""},
		},
		"Progressing, between two of the steps": {
			flagger(v1beta1.PhaseProgressing, 30, release.Traffic{Canary: 30}),
			result{v1beta1.PhaseProgressing, release.Traffic{Canary: 30}, 1, ""},
		},
		"Progressing, the route was set and the status was not": {
			flagger(v1beta1.PhaseProgressing, 20, release.Traffic{Canary: 40}),
			result{v1beta1.PhaseProgressing, release.Traffic{Canary: 40}, 2, ""},
		},
		"Progressing, mirroring before the first weight": {
			flagger(v1beta1.PhaseProgressing, 0, release.Traffic{Mirror: 100}).mirror(100),
			result{v1beta1.PhaseProgressing, release.Traffic{Mirror: 100}, 1, ""},
		},
		"Progressing, A/B testing": {
			flagger(v1beta1.PhaseProgressing, 0, release.Traffic{Canary: 100, Matched: true}).iterations(5, true).iterated(3),
			result{v1beta1.PhaseProgressing, release.Traffic{Canary: 100, Matched: true}, 3, ""},
		},
		"Progressing, blue/green": {
			flagger(v1beta1.PhaseProgressing, 0, release.Traffic{}).iterations(5, false).iterated(3),
			result{v1beta1.PhaseProgressing, release.Traffic{}, 3, ""},
		},
		"Progressing, blue/green with mirroring": {
			flagger(v1beta1.PhaseProgressing, 0, release.Traffic{Mirror: 50}).iterations(5, false).iterated(3).mirror(50),
			result{v1beta1.PhaseProgressing, release.Traffic{Mirror: 50}, 3, ""},
		},
		"Progressing, blue/green, all users moved": {
			flagger(v1beta1.PhaseProgressing, 0, release.Traffic{Canary: 100}).iterations(5, false).iterated(6),
			result{v1beta1.PhasePromoting, release.Traffic{Canary: 100}, 0, ""},
		},
		"Waiting": {
			drained(flagger(v1beta1.PhaseWaiting, 0, release.Traffic{})),
			result{v1beta1.PhaseProgressing, release.Traffic{}, 0, ""},
		},
		"WaitingPromotion, weighted": {
			flagger(v1beta1.PhaseWaitingPromotion, 0, release.Traffic{Canary: 60}),
			result{v1beta1.PhaseProgressing, release.Traffic{Canary: 60}, 3, ""},
		},
		"WaitingPromotion, blue/green": {
			flagger(v1beta1.PhaseWaitingPromotion, 0, release.Traffic{}).iterations(5, false).iterated(4),
			result{v1beta1.PhaseProgressing, release.Traffic{}, 5, ""},
		},
		"Promoting, before the primary is ready": {
			flagger(v1beta1.PhasePromoting, 0, release.Traffic{Canary: 60}).primaryAt(revB).primaryAvailable(1),
			result{v1beta1.PhasePromoting, release.Traffic{Canary: 60}, 0, revB},
		},
		"Promoting, A/B testing": {
			flagger(v1beta1.PhasePromoting, 0, release.Traffic{Canary: 100, Matched: true}).iterations(5, true).primaryAt(revB).primaryAvailable(1),
			result{v1beta1.PhasePromoting, release.Traffic{Canary: 100, Matched: true}, 0, revB},
		},
		"Finalising": {
			flagger(v1beta1.PhaseFinalising, 0, release.Traffic{}).primaryAt(revB),
			result{v1beta1.PhaseSucceeded, release.Traffic{}, -1, revB},
		},
		"Succeeded": {
			drained(flagger(v1beta1.PhaseSucceeded, 0, release.Traffic{}).primaryAt(revB)),
			result{v1beta1.PhaseSucceeded, release.Traffic{}, -1, revB},
		},
		"Initialized": {
			drained(flagger(v1beta1.PhaseInitialized, 0, release.Traffic{}).primaryAt(revB)),
			result{v1beta1.PhaseInitialized, release.Traffic{}, -1, revB},
		},
		"Failed": {
			drained(flagger(v1beta1.PhaseFailed, 0, release.Traffic{})),
			result{v1beta1.PhaseFailed, release.Traffic{}, -1, ""},
		},
		"Failed, as a promotion was, and the canary has everything": {
			flagger(v1beta1.PhaseFailed, 100, release.Traffic{Canary: 100}).primaryAt(revB).primaryAvailable(0),
			result{v1beta1.PhaseFailed, release.Traffic{Canary: 100}, -1, ""},
		},
		"Failed, as a promotion was, and the primary is ready since": {
			flagger(v1beta1.PhaseFailed, 100, release.Traffic{Canary: 100}).primaryAt(revB),
			result{v1beta1.PhaseFailed, release.Traffic{}, -1, ""},
		},
		"no route at all": {
			flagger(v1beta1.PhaseProgressing, 20, release.Traffic{}).with(func(o *release.Observation) { o.Route.Has = nil }),
			result{v1beta1.PhaseProgressing, release.Traffic{Canary: 20}, 1, ""},
		},
		"a status of our own leads the mesh": {
			newScene().step(1, 20, time.Second).with(func(o *release.Observation) { o.Route = release.Route{Has: &release.Traffic{Canary: 60}} }),
			result{v1beta1.PhaseProgressing, release.Traffic{Canary: 20}, 1, ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			got := result{d.Status.Phase, d.Desired.Traffic, -1, d.Desired.PrimaryRevision}
			if d.Status.Step != nil {
				got.Step = d.Status.Step.Index
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			for _, e := range d.Events {
				if e.Reason == release.ReasonNewRevision {
					t.Errorf("a release is begun: %s", e.Message)
				}
			}
			if d.RunChecks != nil {
				t.Error("checks run before an interval was watched")
			}
		})
	}
}

// Users of the canary keep the cookie that Flagger gave them.
func TestTakeoverOfSessions(t *testing.T) {
	s := flagger(v1beta1.PhaseProgressing, 40, release.Traffic{Canary: 40})
	s.Canary.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "flagger-cookie"}
	s.Canary.Status.SessionAffinityCookie = "flagger-cookie=LpsIaLdoNZ"
	want := release.Traffic{Canary: 40, Sessions: release.Sessions{Canary: "LpsIaLdoNZ", Primary: "LpsIaLdoNZ-2"}}
	if diff := cmp.Diff(want, rollout.Decide(s.Observation).Desired.Traffic); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// Pain 5: Flagger writes no revision while it initializes, but what serves by
// then is its primary.
func TestTerminateWhatFlaggerWasInitializing(t *testing.T) {
	s := newScene().phase(v1beta1.PhaseInitializing).with(func(o *release.Observation) {
		o.Canary.DeletionTimestamp = &metav1.Time{Time: t0}
		o.Canary.Status.LastAppliedSpec, o.Canary.Status.LastPromotedSpec = "", ""
	})
	got := outcomeOf(rollout.Decide(s.Observation))
	if got.Finished || got.Released || got.Replicas != 2 {
		t.Errorf("got %+v, want the target to get its pods first", got)
	}
}
