package rollout_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

// A release of what nobody measures stays where it is, says so in a condition, and is
// rolled back at the deadline with what is missing.
func TestNotMeasured(t *testing.T) {
	const missing = "a: Unmeasured"
	not := measured{metric: metric("a"), verdict: v1beta1.CheckUnmeasured}
	for name, tc := range map[string]struct {
		scene                                *scene
		wantMeasured, wantMessage, wantPhase string
		wantEvent                            string
	}{
		"at first":           {measuring(0, not), "False/NotMeasured", missing, "Progressing", release.ReasonNotMeasured},
		"beside one that is": {measuring(0, not, measured{metric: metric("b"), verdict: passed, value: "1"}), "False/NotMeasured", missing, "Progressing", release.ReasonNotMeasured},
		"at the deadline": {
			measuring(0, not).with(func(o *release.Observation) {
				o.Canary.Status.Unwell = &v1beta1.UnwellStatus{Since: metav1.NewMicroTime(t0.Add(-10 * time.Minute))}
			}), "False/NotMeasured", missing, "Failed", release.ReasonNotMeasured,
		},
		"no answer is another thing":       {measuring(0, measured{metric: metric("a"), verdict: v1beta1.CheckUnavailable}), "", "", "Progressing", release.ReasonChecksUnavailable},
		"not measured, which is a dry run": {measuring(0, measured{metric: metric("a", dryRun), verdict: v1beta1.CheckUnmeasured}), "", "", "Progressing", release.ReasonWeightRaised},
		"measured": {
			measuring(0, measured{metric: metric("a"), verdict: passed, value: "1"}).with(func(o *release.Observation) { o.Checks.Results[0].Source = "traefik" }),
			"True/Measured", "measured: a by traefik", "Progressing", release.ReasonWeightRaised,
		},
		"measured again": {
			measuring(0, measured{metric: metric("a"), verdict: passed, value: "1"}).with(func(o *release.Observation) {
				o.Checks.Results[0].Source = "traefik"
				o.Canary.Status.SetCondition(v1beta1.CanaryCondition{Type: v1beta1.ConditionMeasured, Status: "False", Reason: release.ReasonNotMeasured}, t0)
			}), "True/Measured", "measured: a by traefik", "Progressing", release.ReasonWeightRaised,
		},
		"nothing built in": {measuring(0, measured{metric: metric("a"), verdict: passed, value: "1"}), "", "", "Progressing", release.ReasonWeightRaised},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			got, message := "", ""
			if c := d.Status.GetCondition(v1beta1.ConditionMeasured); c != nil {
				got, message = string(c.Status)+"/"+c.Reason, c.Message
			}
			if got != tc.wantMeasured || message != tc.wantMessage {
				t.Errorf("Measured is %q: %s", got, message)
			}
			if string(d.Status.Phase) != tc.wantPhase || d.Status.FailedChecks > 0 {
				t.Errorf("%s, %d failed", d.Status.Phase, d.Status.FailedChecks)
			}
			if n := len(d.Events); n != 1 || d.Events[0].Reason != tc.wantEvent {
				t.Errorf("told: %+v", d.Events)
			}
		})
	}
}
