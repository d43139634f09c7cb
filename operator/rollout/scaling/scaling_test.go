package scaling_test

import (
	"testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/scaling"
)

// Pain 12: a paused autoscaler must not be left behind in any phase in which
// the target serves or is to serve. Between releases it is paused from their end on, as with Flagger: at the pods that the
// target has, and at zero when those are removed.
func TestPauseTarget(t *testing.T) {
	between := map[v1beta1.CanaryPhase]bool{v1beta1.PhaseInitialized: true, v1beta1.PhaseSucceeded: true, v1beta1.PhaseFailed: true}
	never := int32(-1)
	for _, phase := range allPhases {
		for name, tc := range map[string]struct {
			exists           bool
			replicas         int32
			want             *int32 // TargetReplicas
			serves           bool
			between, atAGate int32
		}{
			"it is being drained":           {exists: true, replicas: 2, between: 2, atAGate: never},
			"it serves":                     {exists: true, replicas: 2, serves: true, between: never, atAGate: never},
			"it is to lose its pods":        {exists: true, replicas: 2, want: new(int32(0))},
			"it has none":                   {exists: true, replicas: 0},
			"it has none and nobody serves": {exists: true, replicas: 0, serves: true},
			"it is woken":                   {exists: true, replicas: 0, want: new(int32(3)), between: never, atAGate: never},
			"there is no target":            {between: never, atAGate: never},
		} {
			t.Run(string(phase)+"/"+name, func(t *testing.T) {
				target := release.Workload{Exists: tc.exists, Replicas: tc.replicas}
				got := scaling.PauseTarget(phase, target, release.Workload{Exists: true, Replicas: 4}, release.Desired{TargetReplicas: tc.want}, !tc.serves)
				want := never
				switch {
				case between[phase]:
					want = tc.between
				case phase == v1beta1.PhaseWaiting:
					want = tc.atAGate
				case release.Analysing(phase) && tc.want != nil && *tc.want == 0:
					want = 0 // they are replaced
				}
				if at := valueOr(got, never); at != want {
					t.Errorf("paused at %d, want %d", at, want)
				}
			})
		}
	}
}

// A target that its autoscaler would take all pods from while it is checked, as it has nothing to do, has as many as the
// primary meanwhile.
func TestTargetThatScalesToZeroFollowsThePrimary(t *testing.T) {
	never := int32(-1)
	for name, tc := range map[string]struct {
		target, primary int32
		want            *int32 // TargetReplicas
		release         int32  // until the promotion has ended
		finalising      int32
	}{
		"as many":                  {target: 2, primary: 2, release: 2, finalising: 2},
		"the primary has grown":    {target: 2, primary: 5, release: 5, finalising: 2},
		"the canary has more":      {target: 4, primary: 2, release: 4, finalising: 4},
		"both have none":           {want: new(int32(1)), release: 1},
		"both have none, unasked":  {release: 1},
		"it has none and is woken": {primary: 3, want: new(int32(3)), release: 3},
	} {
		for phase, at := range map[v1beta1.CanaryPhase]int32{
			v1beta1.PhaseProgressing: tc.release, v1beta1.PhaseWaitingPromotion: tc.release, v1beta1.PhasePromoting: tc.release,
			v1beta1.PhaseFinalising: tc.finalising, v1beta1.PhaseTerminating: never, v1beta1.PhaseInitializing: never,
		} {
			t.Run(name+"/"+string(phase), func(t *testing.T) {
				target := release.Workload{Exists: true, Replicas: tc.target, ScalesToZero: true}
				got := scaling.PauseTarget(phase, target, release.Workload{Exists: true, Replicas: tc.primary}, release.Desired{TargetReplicas: tc.want}, false)
				if got := valueOr(got, never); got != at {
					t.Errorf("paused at %d, want %d", got, at)
				}
			})
		}
	}
}

func valueOr(n *int32, missing int32) int32 {
	if n == nil {
		return missing
	}
	return *n
}

var allPhases = []v1beta1.CanaryPhase{
	"", v1beta1.PhaseInitializing, v1beta1.PhaseInitialized, v1beta1.PhaseProgressing, v1beta1.PhaseWaiting,
	v1beta1.PhaseWaitingPromotion, v1beta1.PhasePromoting, v1beta1.PhaseFinalising, v1beta1.PhaseSucceeded, v1beta1.PhaseFailed,
	v1beta1.PhaseTerminating, v1beta1.PhaseTerminated, "AnotherOne",
}

// A primary that gets no requests while the canary stands in for it is made smaller by its autoscaler: that is no measure
// of what it needs to have everything back.
func TestNeeded(t *testing.T) {
	for name, tc := range map[string]struct {
		replicas, upper, canary, had int32
		standsIn                     bool
		want                         int32
	}{
		"it serves":                            {replicas: 3, upper: 20, canary: 10, had: 10, want: 3},
		"its autoscaler has made it small":     {replicas: 1, upper: 20, canary: 4, had: 10, standsIn: true, want: 10},
		"it was scaled to none":                {upper: 20, canary: 4, had: 10, standsIn: true, want: 10},
		"the canary has grown since":           {replicas: 1, upper: 20, canary: 12, had: 10, standsIn: true, want: 12},
		"it may not have as many any more":     {replicas: 1, upper: 4, canary: 12, had: 10, standsIn: true, want: 4},
		"it has more than it may have":         {replicas: 10, upper: 4, canary: 12, had: 10, standsIn: true, want: 10},
		"a person has made it small":           {replicas: 1, canary: 10, had: 10, standsIn: true, want: 1},
		"it has grown while the canary served": {replicas: 12, upper: 20, canary: 4, had: 10, standsIn: true, want: 12},
	} {
		t.Run(name, func(t *testing.T) {
			primary := release.Workload{Exists: true, Replicas: tc.replicas, MaxReplicas: tc.upper}
			if got := scaling.Needed(primary, release.Workload{Available: tc.canary}, tc.had, tc.standsIn); got != tc.want {
				t.Errorf("%d pods, want %d", got, tc.want)
			}
		})
	}
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
