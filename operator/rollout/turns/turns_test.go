package turns_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
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
