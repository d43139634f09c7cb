package serving

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

func pods(available, of int32) release.Workload {
	return release.Workload{Exists: true, Replicas: of, Available: available, Ready: available == of && of > 0}
}

func unconfirmed(n int32) release.Workload {
	w := pods(n, n)
	w.Ready, w.Unconfirmed = false, true
	return w
}

func leaving(n int32) release.Workload {
	w := pods(n, n)
	w.Ready, w.Interrupted = false, true
	return w
}

// TestEffective is the table of who serves.
func TestEffective(t *testing.T) {
	const (
		planned    = v1beta1.TrafficPlanned
		noCanary   = v1beta1.TrafficCanaryUnavailable
		noPrimary  = v1beta1.TrafficPrimaryUnavailable
		tooSmall   = v1beta1.TrafficPrimaryTooSmall
		well, gone = int32(10), int32(0)
	)
	at := func(weight int32) Split { return Split{Weight: weight, Reason: planned} }
	for name, tc := range map[string]struct {
		of   Situation
		want Split
	}{
		"both can serve": {Situation{Planned: at(20), Before: at(0), Primary: pods(well, 10), Canary: pods(2, 2)}, at(20)},
		"the canary has no pod": {
			Situation{Planned: at(20), Before: at(20), Primary: pods(well, 10), Canary: pods(gone, 2)}, Split{Reason: noCanary},
		},
		"nor has it a share":    {Situation{Before: at(0), Primary: pods(well, 10), Canary: pods(gone, 2)}, at(0)},
		"the canary is deleted": {Situation{Planned: at(50), Before: at(50), Primary: pods(well, 10)}, Split{Reason: noCanary}},
		// Pods that a target has left may still serve.
		"so are the primary's pods": {Situation{Planned: at(50), Before: at(50), Primary: pods(gone, 10)}, at(50)},
		"the primary has no pod": {
			Situation{Planned: at(20), Before: at(20), Primary: pods(gone, 10), Canary: pods(2, 2)}, Split{Weight: 100, Reason: noPrimary},
		},
		"the primary is deleted, at rest": {Situation{Before: at(0), Canary: pods(1, 2)}, Split{Weight: 100, Reason: noPrimary}},
		"nothing is known of either":      {Situation{Planned: at(40), Before: at(40)}, at(40)},
		"nobody can serve":                {Situation{Planned: at(40), Before: at(20), Primary: pods(gone, 10), Canary: pods(gone, 2)}, at(20)},
		"the canary stands in until the primary is well": {
			Situation{Planned: at(20), Before: Split{Weight: 100, Reason: noPrimary}, Primary: pods(9, 10), Canary: pods(2, 2)}, Split{Weight: 100, Reason: noPrimary},
		},
		"and gives back then": {
			Situation{Planned: at(20), Before: Split{Weight: 100, Reason: noPrimary}, Primary: pods(10, 10), Canary: pods(2, 2)}, at(20),
		},
		"but not to a part of the pods that it had": {
			Situation{Planned: at(20), Before: Split{Weight: 100, Reason: noPrimary}, Primary: pods(1, 1), Needed: 10, Canary: pods(10, 10)},
			Split{Weight: 100, Reason: noPrimary},
		},
		"but not before its pods can be reached": {
			Situation{Planned: at(20), Before: Split{Weight: 100, Reason: noPrimary}, Primary: unconfirmed(10), Canary: pods(10, 10)},
			Split{Weight: 100, Reason: noPrimary},
		},
		"nor gets it more before": {Situation{Before: at(50), Primary: unconfirmed(10), Canary: pods(10, 10)}, Split{Weight: 50, Reason: tooSmall}},
		"but a canary that was found bad keeps nothing": {
			Situation{Before: at(50), Primary: unconfirmed(10), Canary: pods(10, 10), Condemned: true}, at(0),
		},
		"nor does it lose any": {Situation{Planned: at(20), Before: at(20), Primary: unconfirmed(10), Canary: pods(2, 2)}, at(20)},
		"but not while its pods are replaced": {
			Situation{
				Planned: at(20), Before: Split{Weight: 100, Reason: noPrimary}, Canary: pods(2, 2), Changing: true,
				Primary: release.Workload{Exists: true, Replicas: 2, Available: 2},
			}, Split{Weight: 100, Reason: noPrimary},
		},
		"one that was found bad gives back at once": {
			Situation{Before: Split{Weight: 100, Reason: noPrimary}, Primary: pods(1, 10), Canary: pods(2, 2), Condemned: true}, at(0),
		},
		"a rollback does not wait for the primary's pods": {Situation{Before: at(50), Primary: pods(1, 10), Canary: pods(5, 5), Condemned: true}, at(0)},
		"the primary has a tenth of its pods": {
			Situation{Before: at(50), Primary: pods(1, 10), Canary: pods(10, 10)}, Split{Weight: 50, Reason: tooSmall},
		},
		"its pods are all about to go": {
			Situation{Before: at(100), Primary: leaving(10), Canary: pods(10, 10)}, Split{Weight: 100, Reason: tooSmall},
		},
		"and the canary was found bad": {Situation{Before: at(100), Primary: leaving(10), Canary: pods(10, 10), Condemned: true}, at(0)},
		"and the canary stands in": {
			Situation{Before: Split{Weight: 100, Reason: noPrimary}, Primary: leaving(10), Canary: pods(10, 10)}, Split{Weight: 100, Reason: noPrimary},
		},
		"it has nearly all": {Situation{Before: at(50), Primary: pods(9, 10), Canary: pods(10, 10)}, Split{Weight: 10, Reason: tooSmall}},
		"it has enough for what is planned": {
			Situation{Planned: at(20), Before: at(50), Primary: pods(8, 10), Canary: pods(10, 10)}, at(20),
		},
		"what is raised needs nothing of the primary": {Situation{Planned: at(60), Before: at(50), Primary: pods(1, 10), Canary: pods(10, 10)}, at(60)},
		"those that match stay as long": {
			Situation{Before: Split{Weight: 100, Matched: true, Reason: planned}, Primary: pods(1, 10), Canary: pods(10, 10), Matches: true},
			Split{Weight: 100, Matched: true, Reason: tooSmall},
		},
		"from all requests to those that match": {
			Situation{Planned: Split{Weight: 20, Matched: true, Reason: planned}, Before: at(50), Primary: pods(1, 10), Canary: pods(10, 10), Matches: true},
			Split{Weight: 50, Reason: tooSmall},
		},
		"from all requests to those that match, with enough for all others": {
			Situation{Planned: Split{Weight: 20, Matched: true, Reason: planned}, Before: at(50), Primary: pods(10, 10), Canary: pods(10, 10), Matches: true},
			Split{Weight: 20, Matched: true, Reason: planned},
		},
		"from none to those that match": {
			Situation{Planned: Split{Weight: 100, Matched: true, Reason: planned}, Before: at(0), Primary: pods(1, 10), Canary: pods(10, 10), Matches: true},
			Split{Weight: 100, Matched: true, Reason: planned},
		},
		"from those that match to a part of all": {
			Situation{Planned: at(20), Before: Split{Weight: 100, Matched: true, Reason: planned}, Primary: pods(1, 10), Canary: pods(10, 10), Matches: true}, at(20),
		},
		"nobody matches any more": {
			Situation{Planned: Split{Weight: 100, Matched: true}, Before: Split{Weight: 100, Matched: true, Reason: planned}, Primary: pods(1, 10), Canary: pods(10, 10)},
			at(0),
		},
		"nobody matches any more, and nobody can serve": {
			Situation{Before: Split{Weight: 100, Matched: true, Reason: planned}, Primary: pods(gone, 10), Canary: pods(gone, 10)}, at(0),
		},
		"the mesh can't be told that the primary has no pod": {
			Situation{Planned: at(20), Before: at(20), Primary: pods(gone, 10), Canary: pods(2, 2), Unreachable: true}, at(20),
		},
		"the mesh can't be told that the canary has no pod": {
			Situation{Planned: at(0), Before: at(20), Primary: pods(10, 10), Canary: pods(gone, 2), Unreachable: true}, at(20),
		},
		"no mesh moves traffic": {Situation{Planned: at(100), Before: at(100), Primary: pods(gone, 10), Canary: pods(2, 2), Fixed: true}, at(0)},
		"copies":                {Situation{Planned: Split{Mirror: 30}, Primary: pods(well, 10), Canary: pods(2, 2)}, Split{Mirror: 30, Reason: planned}},
		"copies for nobody":     {Situation{Planned: Split{Mirror: 30}, Primary: pods(well, 10), Canary: pods(gone, 2)}, Split{Reason: noCanary}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.of.Effective(); got != tc.want {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
		})
	}
}

// TestEffectiveInvariants holds the decision on who serves against what must hold of it, whatever
// the numbers are.
func TestEffectiveInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weight := func(name string) Split {
			return Split{
				Weight: rapid.Int32Range(0, 100).Draw(t, name), Matched: rapid.Bool().Draw(t, name+" matched"),
				Reason: rapid.SampledFrom([]v1beta1.TrafficReason{
					v1beta1.TrafficPlanned, v1beta1.TrafficCanaryUnavailable, v1beta1.TrafficPrimaryUnavailable, v1beta1.TrafficPrimaryTooSmall,
				}).Draw(t, name+" reason"),
			}
		}
		side := func(name string) release.Workload {
			n := rapid.Int32Range(0, 10).Draw(t, name)
			return pods(rapid.Int32Range(0, n).Draw(t, name+" available"), n)
		}
		s := Situation{
			Planned: weight("planned"), Before: weight("before"), Primary: side("primary"), Canary: side("canary"),
			Condemned: rapid.Bool().Draw(t, "condemned"), Matches: rapid.Bool().Draw(t, "matches"),
		}
		got := s.Effective()
		ofPrimary := func(x Split) int32 {
			if x.Matched {
				return 100
			}
			return 100 - x.Weight
		}
		describe := fmt.Sprintf("%+v gives %+v", s, got)
		switch {
		case got.Weight < 0 || got.Weight > 100:
			t.Fatal("no share: " + describe)
		case s.Canary.Available == 0 && s.Primary.Available > 0 && got.Weight+got.Mirror > 0:
			t.Fatal("traffic for a canary without pods: " + describe)
		case s.Primary.Available == 0 && s.Canary.Available > 0 && (got.Weight < 100 || got.Matched):
			t.Fatal("traffic for a primary without pods: " + describe)
		case got.Matched && !s.Matches:
			t.Fatal("a share of what matches, and nothing does: " + describe)
		case s.Primary.Available > 0 && got.Weight > max(s.Planned.Weight, s.Before.Weight) && got.Reason != v1beta1.TrafficPrimaryUnavailable:
			t.Fatal("more than is planned and was there: " + describe)
		case !s.Condemned && s.Primary.Available > 0 && s.Canary.Available > 0 && ofPrimary(got) > max(ofPrimary(s.Before), (100*s.Primary.Available+s.Primary.Replicas-1)/s.Primary.Replicas):
			t.Fatal("more for a primary than it has and than it can carry: " + describe)
		case s.Condemned && s.Primary.Available > 0 && got.Weight > s.Planned.Weight:
			t.Fatal("more than is planned for a canary that was found bad: " + describe)
		}
	})
}
