package turns_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/turns"
)

// What a release was let begin by stays until it ends, and what it waits for goes as soon as it does not wait.
func TestForgotten(t *testing.T) {
	waits := func() *v1beta1.AdmissionStatus { return &v1beta1.AdmissionStatus{} }
	admitted := func() *v1beta1.AdmissionStatus {
		return &v1beta1.AdmissionStatus{Admitted: new(metav1.NewMicroTime(time.Unix(1, 0)))}
	}
	for name, tc := range map[string]struct {
		phase     v1beta1.CanaryPhase
		admission *v1beta1.AdmissionStatus
		forget    func(*v1beta1.CanaryStatus)
		wantKept  bool
	}{
		"withdrawn while it waits":       {v1beta1.PhaseWaiting, waits(), turns.Withdraw, false},
		"withdrawn after it was let in":  {v1beta1.PhaseWaiting, admitted(), turns.Withdraw, true},
		"done while it waits":            {v1beta1.PhaseWaiting, waits(), turns.Done, true},
		"done without having waited":     {v1beta1.PhaseProgressing, waits(), turns.Done, false},
		"done in a release":              {v1beta1.PhaseProgressing, admitted(), turns.Done, true},
		"done in a promotion":            {v1beta1.PhasePromoting, admitted(), turns.Done, true},
		"done with a release":            {v1beta1.PhaseSucceeded, admitted(), turns.Done, false},
		"done with one that failed":      {v1beta1.PhaseFailed, admitted(), turns.Done, false},
		"done with one that never began": {v1beta1.PhaseInitialized, waits(), turns.Done, false},
	} {
		t.Run(name, func(t *testing.T) {
			st := &v1beta1.CanaryStatus{Phase: tc.phase, Admission: tc.admission}
			tc.forget(st)
			if kept := st.Admission != nil; kept != tc.wantKept {
				t.Errorf("kept: %t", kept)
			}
		})
	}
}

// What begins a release stays known for as long as it goes on, so that it counts among those that the same has begun.
func TestCauses(t *testing.T) {
	one, two := []string{"configmap/a"}, []string{"configmap/b", "secret/c"}
	for name, tc := range map[string]struct {
		phase       v1beta1.CanaryPhase
		was, change []string
		want        []string
	}{
		"a config":                                  {v1beta1.PhaseSucceeded, nil, one, one},
		"an image":                                  {v1beta1.PhaseSucceeded, nil, nil, nil},
		"an image, after a config":                  {v1beta1.PhaseSucceeded, one, nil, nil},
		"a config, after another has failed":        {v1beta1.PhaseFailed, one, two, two},
		"another config while it waits":             {v1beta1.PhaseWaiting, one, two, []string{"configmap/a", "configmap/b", "secret/c"}},
		"the same once more":                        {v1beta1.PhaseProgressing, one, one, one},
		"another in a release":                      {v1beta1.PhaseProgressing, one, two, []string{"configmap/a", "configmap/b", "secret/c"}},
		"a config in a release of an image":         {v1beta1.PhaseProgressing, nil, one, nil},
		"an image in a release that a config began": {v1beta1.PhaseProgressing, one, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := turns.Causes(&release.Observation{ChangedConfigs: tc.change}, &v1beta1.CanaryStatus{Phase: tc.phase, ChangedConfigs: tc.was})
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// The place of a release that waits is written when it has to be told anew, and not as the queue moves on.
func TestPlaceIsWritten(t *testing.T) {
	for name, tc := range map[string]struct {
		was, is int
		want    int32
	}{
		"first":                       {0, 40, 40},
		"one has begun":               {40, 39, 40},
		"more than a quarter is left": {40, 11, 40},
		"a quarter is left":           {40, 10, 10},
		"others came first":           {10, 12, 12},
		"the first":                   {5, 1, 1},
		"it does not wait for one":    {5, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			st := &v1beta1.CanaryStatus{Phase: v1beta1.PhaseWaiting, Admission: &v1beta1.AdmissionStatus{
				Reason: release.ReasonMaximumReached, Policy: "ConfigMap/a", Place: int32(tc.was), Waiting: 50,
			}}
			o := &release.Observation{Canary: &v1beta1.Canary{}, Turn: &release.Turn{
				Reason: release.ReasonMaximumReached, Policy: "ConfigMap/a", Message: "it is full", Place: tc.is, Waiting: 60,
			}}
			o.Primary.Exists = true
			a := turns.Take(o, st)
			if st.Admission.Place != tc.want {
				t.Errorf("it is written to be number %d, want %d", st.Admission.Place, tc.want)
			}
			if says := strings.Contains(a.Waiting, "; number "); says != (tc.want > 0) {
				t.Errorf("it says %q", a.Waiting)
			}
		})
	}
}
