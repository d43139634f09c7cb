package canary

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// A Canary has what Headlamp's plugin for Flux shows of one, from when it has a status: the phase, of which it colours three, the
// canary's weight, of which it makes the progress with spec.analysis.maxWeight, and conditions with type, status, reason, message and
// time.
func TestHeadlamp(t *testing.T) {
	s := newScene(t, newCanary("podinfo").with(func(spec *v1beta1.CanarySpec) {
		spec.Analysis.StepWeights, spec.Analysis.StepWeight, spec.Analysis.MaxWeight = nil, 20, 40
	}).Canary, newTarget())
	var shown []string
	var progress []float64
	look := func() {
		t.Helper()
		raw, err := json.Marshal(s.now())
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Spec struct {
				Analysis  struct{ MaxWeight float64 }
				TargetRef struct{ Kind, Name, APIVersion string }
			}
			Status *struct {
				Phase        string
				CanaryWeight *float64
				Conditions   []struct{ Type, Status, Reason, Message, LastTransitionTime string }
			}
		}
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		st := got.Status
		if st == nil || st.Phase == "" {
			return // nobody has looked at it yet
		}
		if st.CanaryWeight == nil || len(st.Conditions) == 0 || got.Spec.TargetRef.Kind == "" || got.Spec.TargetRef.Name == "" {
			t.Fatalf("it lacks a field: %s", raw)
		}
		for _, c := range st.Conditions {
			if c.Type == "" || c.Status == "" || c.Reason == "" || c.LastTransitionTime == "" {
				t.Errorf("in phase %s a condition is %+v", st.Phase, c)
			}
		}
		if !slices.Contains(shown, st.Phase) {
			shown = append(shown, st.Phase)
		}
		if at := 100 * *st.CanaryWeight / got.Spec.Analysis.MaxWeight; len(progress) == 0 || progress[len(progress)-1] != at {
			progress = append(progress, at)
		}
	}
	see := func() {
		t.Helper()
		for range 200 {
			before := len(s.writes) + s.router.Writes()
			result := s.mustTurn()
			look()
			if checked, changed := s.awaitChecks(), s.rollOut(); checked || changed || len(s.writes)+s.router.Writes() != before {
				continue
			}
			if result.RequeueAfter == 0 {
				return
			}
			s.wait(result)
		}
		t.Fatalf("no end: %v", shown)
	}
	see()
	s.release("podinfo:2")
	see()
	s.provider.value(50)
	s.release("podinfo:3")
	see()
	if diff := cmp.Diff([]string{"Initializing", "Initialized", "Progressing", "Promoting", "Finalising", "Succeeded", "Failed"}, shown); diff != "" {
		t.Errorf("phases: -want +got\n%s", diff)
	}
	if diff := cmp.Diff([]float64{0, 50, 100, 0, 50, 0}, progress); diff != "" {
		t.Errorf("progress: -want +got\n%s", diff)
	}
}
