package rollout_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

// TestStatusesOfTheVersionBefore takes over statuses as an older version of this operator wrote them in each phase: without who is
// served, without the plan of a step and what a weight is a share of, without identity, and with revisions in another
// format. The release goes on where it stood, and nobody's share changes.
func TestStatusesOfTheVersionBefore(t *testing.T) {
	const older, newer = "s9-a", "s9-b" // what the target and the primary are by this version's format
	raw, err := os.ReadFile(filepath.Join("testdata", "statuses.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		Name     string
		Analysis *v1beta1.CanaryAnalysis
		Status   v1beta1.CanaryStatus
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	type standing struct {
		Phase          v1beta1.CanaryPhase
		Weight, Failed int32
		Step           int32 // -1 for none
		Paused         bool
		Canary, Mirror int32 // what the mesh is asked for
		Matched        bool
		Primary        string // what the primary is to become, where that is another revision
	}
	at := func(phase v1beta1.CanaryPhase, weight, step int32) standing {
		return standing{Phase: phase, Weight: weight, Canary: weight, Step: step}
	}
	with := func(s standing, change func(*standing)) standing { change(&s); return s }
	want := map[string]standing{
		"initializing":                       at(v1beta1.PhaseInitializing, 0, -1),
		"initialized":                        at(v1beta1.PhaseInitialized, 0, -1),
		"waiting":                            at(v1beta1.PhaseWaiting, 0, 0),
		"progressing, canary's pods come up": at(v1beta1.PhaseProgressing, 0, 0),
		"progressing, weights":               with(at(v1beta1.PhaseProgressing, 40, 2), func(s *standing) { s.Failed = 1 }),
		"progressing, A/B":                   with(at(v1beta1.PhaseProgressing, 100, 3), func(s *standing) { s.Matched = true }),
		"progressing, blue/green":            at(v1beta1.PhaseProgressing, 0, 3),
		"progressing, mirror":                with(at(v1beta1.PhaseProgressing, 0, 1), func(s *standing) { s.Mirror = 50 }),
		"progressing, paused":                with(at(v1beta1.PhaseProgressing, 20, 1), func(s *standing) { s.Paused = true }),
		"waiting for promotion":              at(v1beta1.PhaseWaitingPromotion, 60, 3),
		"promoting":                          at(v1beta1.PhasePromoting, 60, 0),
		"finalising":                         at(v1beta1.PhaseSucceeded, 0, -1), // the mesh has weight 0 by now
		"succeeded":                          at(v1beta1.PhaseSucceeded, 0, -1),
		"failed":                             with(at(v1beta1.PhaseFailed, 0, -1), func(s *standing) { s.Failed = 3 }),
		"terminating":                        at(v1beta1.PhaseTerminating, 0, 0),
	}
	for _, tc := range all {
		t.Run(tc.Name, func(t *testing.T) {
			s := newScene().targetAt(older, 2).as("uid", 7)
			c := s.Canary
			c.Spec.Analysis, c.Status = tc.Analysis, tc.Status
			s.Primary.Revision, s.Primary.Images = older, s.Target.Images
			is := want[tc.Name]
			switch c.Status.Phase { //nolint:exhaustive // in the others there is no release
			case v1beta1.PhaseWaiting, v1beta1.PhaseProgressing, v1beta1.PhaseWaitingPromotion, v1beta1.PhaseFailed:
				s.targetAt(newer, 2).as("uid", 7)
			case v1beta1.PhasePromoting, v1beta1.PhaseFinalising, v1beta1.PhaseSucceeded:
				s.targetAt(newer, 2).as("uid", 7)
				s.Primary.Revision, s.Primary.Images = newer, s.Target.Images
				s.Primary.Ready, s.Primary.Available = c.Status.Phase != v1beta1.PhasePromoting, 2
			case v1beta1.PhaseInitializing:
				s.Primary.Ready, s.Primary.Available = false, 0
			case v1beta1.PhaseTerminating:
				c.DeletionTimestamp = new(metav1.NewTime(t0))
				s.targetAvailable(0)
			}
			s.Route = release.Route{InSync: true, Has: &release.Traffic{Canary: is.Canary, Mirror: is.Mirror, Matched: is.Matched}}
			if c.Status.Phase == v1beta1.PhaseInitializing {
				s.Route = release.Route{}
			}
			if c.Status.Phase == v1beta1.PhaseProgressing && is.Step == 0 {
				s.targetAvailable(0)
			}
			s.Now = t0.Add(2 * time.Second)
			d := rollout.Decide(s.Observation)
			got := standing{
				Phase: d.Status.Phase, Weight: d.Status.CanaryWeight, Failed: d.Status.FailedChecks, Step: -1, Paused: d.Status.Paused,
				Canary: d.Desired.Traffic.Canary, Mirror: d.Desired.Traffic.Mirror, Matched: d.Desired.Traffic.Matched, Primary: d.Desired.PrimaryRevision,
			}
			if got.Primary == s.Primary.Revision {
				got.Primary = ""
			}
			if d.Status.Step != nil {
				got.Step = d.Status.Step.Index
			}
			if diff := cmp.Diff(is, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			for _, e := range d.Events {
				if e.Reason == release.ReasonNewRevision || e.Reason == release.ReasonPlanChanged {
					t.Errorf("event %s: %s", e.Reason, e.Message)
				}
			}
		})
	}
	if len(all) != len(want) {
		t.Errorf("%d statuses, want %d", len(all), len(want))
	}
}
