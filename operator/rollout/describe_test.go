package rollout_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

// A status that says the same a second later is the same, times included: it would be written at
// every turn otherwise.
func TestStatusKeepsTimes(t *testing.T) {
	refused := []release.Failure{{Object: "Service podinfo", Message: "denied"}}
	failed := newScene().step(0, 0, 0).phase(v1beta1.PhaseFailed)
	for name, s := range map[string]*scene{
		"a write is refused at rest":      newScene().with(func(o *release.Observation) { o.Failures = refused }),
		"a write is refused in a release": newScene().step(1, 20, time.Second).persisted().with(func(o *release.Observation) { o.Failures = refused }),
		"a rollback has lost its primary": failed.with(func(o *release.Observation) { o.Primary = release.Workload{} }),
		"a mistake, and a write is refused": newScene().with(func(o *release.Observation) {
			o.Failures, o.Mistake = refused, &release.Mistake{Reason: "InvalidSpec", Message: "no"}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			for range 3 {
				s.Canary.Status = rollout.Decide(s.Observation).Status
			}
			s.Now = s.Now.Add(time.Second)
			if diff := cmp.Diff(s.Canary.Status, rollout.Decide(s.Observation).Status); diff != "" {
				t.Error(diff)
			}
		})
	}
}
