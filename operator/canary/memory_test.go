package canary

import (
	"slices"
	"testing"

	"github.com/sluice-delivery/sluice/operator/release"
)

func TestFailures(t *testing.T) {
	r := &Reconciler{}
	c := newCanary("podinfo").Canary
	for i, tc := range []struct {
		failures   []release.Failure
		wantTimes  int
		wantMended bool
	}{
		{},
		{failures: []release.Failure{{Object: "a"}}, wantTimes: 1},
		{failures: []release.Failure{{Object: "b"}}, wantTimes: 2},
		{wantMended: true},
		{},
		{failures: []release.Failure{{Object: "b"}}, wantTimes: 1},
	} {
		times, mended := r.failed(c, tc.failures)
		if times != tc.wantTimes || mended != tc.wantMended {
			t.Errorf("%d: failed %d times, mended %v", i, times, mended)
		}
		if last, _ := r.failures.Get(c); !slices.Equal(last.failures, tc.failures) {
			t.Errorf("%d: remembered %v", i, last.failures)
		}
	}
}
