package scaling_test

import (
	"testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/scaling"
)

// Pain 12: a paused autoscaler must not be left behind in any phase in which
// the target serves or is to serve.
func TestPauseTarget(t *testing.T) {
	resting := map[v1beta1.CanaryPhase]bool{v1beta1.PhaseInitialized: true, v1beta1.PhaseSucceeded: true, v1beta1.PhaseFailed: true, v1beta1.PhaseWaiting: true}
	for _, phase := range allPhases {
		for name, tc := range map[string]struct {
			exists     bool
			replicas   int32
			want       *int32 // TargetReplicas
			wantAtRest bool
		}{
			"it serves or is being drained": {exists: true, replicas: 2},
			"it is to lose its pods":        {exists: true, replicas: 2, want: new(int32(0)), wantAtRest: true},
			"it has none":                   {exists: true, replicas: 0, wantAtRest: true},
			"it is woken":                   {exists: true, replicas: 0, want: new(int32(3))},
			"there is no target":            {},
		} {
			t.Run(string(phase)+"/"+name, func(t *testing.T) {
				target := release.Workload{Exists: tc.exists, Replicas: tc.replicas}
				got := scaling.PauseTarget(phase, target, release.Desired{TargetReplicas: tc.want})
				if want := tc.wantAtRest && resting[phase]; got != want {
					t.Errorf("paused: %t, want %t", got, want)
				}
			})
		}
	}
}

var allPhases = []v1beta1.CanaryPhase{
	"", v1beta1.PhaseInitializing, v1beta1.PhaseInitialized, v1beta1.PhaseProgressing, v1beta1.PhaseWaiting,
	v1beta1.PhaseWaitingPromotion, v1beta1.PhasePromoting, v1beta1.PhaseFinalising, v1beta1.PhaseSucceeded, v1beta1.PhaseFailed,
	v1beta1.PhaseTerminating, v1beta1.PhaseTerminated, "AnotherOne",
}

// Pain 2: the primary must not be flattened by the traffic that comes back.
func TestPrimaryFloor(t *testing.T) {
	for name, tc := range map[string]struct {
		primary, target int32
		leaving         int32 // pods of a target at zero that are not gone yet
		want            map[v1beta1.CanaryPhase]int32
	}{
		"larger canary": {primary: 2, target: 5, want: map[v1beta1.CanaryPhase]int32{
			"": 5, v1beta1.PhaseInitializing: 5, v1beta1.PhaseInitialized: 5,
			v1beta1.PhaseProgressing: 2, v1beta1.PhaseWaiting: 2,
			v1beta1.PhasePromoting: 5, v1beta1.PhaseWaitingPromotion: 5, v1beta1.PhaseFinalising: 5, v1beta1.PhaseSucceeded: 5,
			v1beta1.PhaseFailed: 2,
		}},
		"smaller canary": {primary: 5, target: 2, want: map[v1beta1.CanaryPhase]int32{
			"": 5, v1beta1.PhaseInitializing: 5, v1beta1.PhaseInitialized: 5,
			v1beta1.PhaseProgressing: 5, v1beta1.PhaseWaiting: 5,
			v1beta1.PhasePromoting: 5, v1beta1.PhaseWaitingPromotion: 5, v1beta1.PhaseFinalising: 5, v1beta1.PhaseSucceeded: 5,
			v1beta1.PhaseFailed: 5,
		}},
		"canary that is drained": {primary: 5, leaving: 1, want: map[v1beta1.CanaryPhase]int32{
			"": 5, v1beta1.PhaseInitializing: 5, v1beta1.PhaseInitialized: 5,
			v1beta1.PhaseProgressing: 5, v1beta1.PhaseWaiting: 5,
			v1beta1.PhasePromoting: 5, v1beta1.PhaseWaitingPromotion: 5, v1beta1.PhaseFinalising: 5, v1beta1.PhaseSucceeded: 5,
			v1beta1.PhaseFailed: 5,
		}},
		"no canary": {primary: 5, want: map[v1beta1.CanaryPhase]int32{
			v1beta1.PhaseProgressing: 5,
			v1beta1.PhasePromoting:   5, v1beta1.PhaseWaitingPromotion: 5, v1beta1.PhaseFinalising: 5,
		}},
	} {
		for _, phase := range allPhases {
			t.Run(name+"/"+string(phase), func(t *testing.T) {
				got := scaling.PrimaryFloor(phase, tc.primary, tc.target, tc.target+tc.leaving == 0)
				if got != tc.want[phase] {
					t.Errorf("%d pods, want %d", got, tc.want[phase])
				}
			})
		}
	}
}
