package rollout

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

func pods(available, of int32) Workload {
	return Workload{Exists: true, Replicas: of, Available: available, Ready: available == of && of > 0}
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
	at := func(weight int32) split { return split{weight: weight, reason: planned} }
	for name, tc := range map[string]struct {
		of   serving
		want split
	}{
		"both can serve": {serving{planned: at(20), before: at(0), primary: pods(well, 10), canary: pods(2, 2)}, at(20)},
		"the canary has no pod": {
			serving{planned: at(20), before: at(20), primary: pods(well, 10), canary: pods(gone, 2)}, split{reason: noCanary},
		},
		"nor has it a share":       {serving{before: at(0), primary: pods(well, 10), canary: pods(gone, 2)}, at(0)},
		"the canary is deleted":    {serving{planned: at(50), before: at(50), primary: pods(well, 10)}, split{reason: noCanary}},
		"so is the primary's pods": {serving{planned: at(50), before: at(50), primary: pods(gone, 10)}, split{reason: noCanary}},
		"the primary has no pod": {
			serving{planned: at(20), before: at(20), primary: pods(gone, 10), canary: pods(2, 2)}, split{weight: 100, reason: noPrimary},
		},
		"the primary is deleted, at rest": {serving{before: at(0), canary: pods(1, 2)}, split{weight: 100, reason: noPrimary}},
		"nothing is known of either":      {serving{planned: at(40), before: at(40)}, at(40)},
		"nobody can serve":                {serving{planned: at(40), before: at(20), primary: pods(gone, 10), canary: pods(gone, 2)}, at(20)},
		"the canary stands in until the primary is well": {
			serving{planned: at(20), before: split{weight: 100, reason: noPrimary}, primary: pods(9, 10), canary: pods(2, 2)}, split{weight: 100, reason: noPrimary},
		},
		"and gives back then": {
			serving{planned: at(20), before: split{weight: 100, reason: noPrimary}, primary: pods(10, 10), canary: pods(2, 2)}, at(20),
		},
		"but not while its pods are replaced": {
			serving{
				planned: at(20), before: split{weight: 100, reason: noPrimary}, canary: pods(2, 2), changing: true,
				primary: Workload{Exists: true, Replicas: 2, Available: 2},
			}, split{weight: 100, reason: noPrimary},
		},
		"one that was found bad gives back at once": {
			serving{before: split{weight: 100, reason: noPrimary}, primary: pods(1, 10), canary: pods(2, 2), condemned: true}, at(0),
		},
		"a rollback does not wait for the primary's pods": {serving{before: at(50), primary: pods(1, 10), canary: pods(5, 5), condemned: true}, at(0)},
		"the primary has a tenth of its pods": {
			serving{before: at(50), primary: pods(1, 10), canary: pods(10, 10)}, split{weight: 50, reason: tooSmall},
		},
		"it has nearly all": {serving{before: at(50), primary: pods(9, 10), canary: pods(10, 10)}, split{weight: 10, reason: tooSmall}},
		"it has enough for what is planned": {
			serving{planned: at(20), before: at(50), primary: pods(8, 10), canary: pods(10, 10)}, at(20),
		},
		"what is raised needs nothing of the primary": {serving{planned: at(60), before: at(50), primary: pods(1, 10), canary: pods(10, 10)}, at(60)},
		"those that match stay as long": {
			serving{before: split{weight: 100, matched: true, reason: planned}, primary: pods(1, 10), canary: pods(10, 10), matches: true},
			split{weight: 100, matched: true, reason: tooSmall},
		},
		"nobody matches any more": {
			serving{planned: split{weight: 100, matched: true}, before: split{weight: 100, matched: true, reason: planned}, primary: pods(1, 10), canary: pods(10, 10)},
			at(0),
		},
		"nobody matches any more, and nobody can serve": {
			serving{before: split{weight: 100, matched: true, reason: planned}, primary: pods(gone, 10), canary: pods(gone, 10)}, at(0),
		},
		"no mesh moves traffic": {serving{planned: at(100), before: at(100), primary: pods(gone, 10), canary: pods(2, 2), fixed: true}, at(0)},
		"copies":                {serving{planned: split{mirror: 30}, primary: pods(well, 10), canary: pods(2, 2)}, split{mirror: 30, reason: planned}},
		"copies for nobody":     {serving{planned: split{mirror: 30}, primary: pods(well, 10), canary: pods(gone, 2)}, split{reason: noCanary}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.of.effective(); got != tc.want {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
		})
	}
}

// TestEffectiveInvariants holds the decision on who serves against what must hold of it, whatever
// the numbers are.
func TestEffectiveInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weight := func(name string) split {
			return split{
				weight: rapid.Int32Range(0, 100).Draw(t, name), matched: rapid.Bool().Draw(t, name+" matched"),
				reason: rapid.SampledFrom([]v1beta1.TrafficReason{
					v1beta1.TrafficPlanned, v1beta1.TrafficCanaryUnavailable, v1beta1.TrafficPrimaryUnavailable, v1beta1.TrafficPrimaryTooSmall,
				}).Draw(t, name+" reason"),
			}
		}
		side := func(name string) Workload {
			n := rapid.Int32Range(0, 10).Draw(t, name)
			return pods(rapid.Int32Range(0, n).Draw(t, name+" available"), n)
		}
		s := serving{
			planned: weight("planned"), before: weight("before"), primary: side("primary"), canary: side("canary"),
			condemned: rapid.Bool().Draw(t, "condemned"), matches: rapid.Bool().Draw(t, "matches"),
		}
		got := s.effective()
		describe := fmt.Sprintf("%+v gives %+v", s, got)
		switch {
		case got.weight < 0 || got.weight > 100:
			t.Fatal("no share: " + describe)
		case s.canary.Available == 0 && s.primary.Available > 0 && got.weight+got.mirror > 0:
			t.Fatal("traffic for a canary without pods: " + describe)
		case s.primary.Available == 0 && s.canary.Available > 0 && (got.weight < 100 || got.matched):
			t.Fatal("traffic for a primary without pods: " + describe)
		case got.matched && !s.matches:
			t.Fatal("a share of what matches, and nothing does: " + describe)
		case s.primary.Available > 0 && got.weight > max(s.planned.weight, s.before.weight) && got.reason != v1beta1.TrafficPrimaryUnavailable:
			t.Fatal("more than is planned and was there: " + describe)
		case s.condemned && s.primary.Available > 0 && got.weight > s.planned.weight:
			t.Fatal("more than is planned for a canary that was found bad: " + describe)
		}
	})
}
