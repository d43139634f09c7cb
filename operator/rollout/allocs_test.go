package rollout_test

import (
	"testing"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

// A decision is taken in every turn of every Canary, so what it allocates is counted and held.
func TestDecisionAllocates(t *testing.T) {
	for name, tc := range map[string]struct {
		scene *scene
		most  float64
	}{
		"at rest":            {newScene(), 25},
		"at a step":          {newScene().step(2, 20, 10*time.Second), 60},
		"with checks passed": {newScene().step(2, 20, 10*time.Second).checked(v1beta1.CheckPassed, 0), 110},
		"rollback":           {newScene().step(2, 20, 10*time.Second).checked(v1beta1.CheckFailed, 10), 110},
	} {
		n := testing.AllocsPerRun(100, func() { rollout.Decide(tc.scene.Observation) })
		t.Logf("%s: %.0f", name, n)
		if n > tc.most {
			t.Errorf("%s: a decision takes %.0f allocations, more than %.0f", name, n, tc.most)
		}
	}
}
