package rollout_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

func TestDeadlinesStandStill(t *testing.T) {
	const deadline = 10 * time.Minute
	gated := func(s *scene) *scene {
		s.atGate(v1beta1.ConfirmTrafficIncreaseHook)
		s.Canary.Status.Gate.Since = metav1.NewMicroTime(t0.Add(-time.Hour))
		return s
	}
	for name, tc := range map[string]struct {
		scene    *scene
		wantBack bool
	}{
		"unready for the deadline": {newScene().step(1, 20, time.Hour).unwell(deadline).targetAvailable(1), true},
		"unready for less":         {newScene().step(1, 20, time.Hour).unwell(deadline - time.Second).targetAvailable(1), false},
		"unready since now":        {newScene().step(1, 20, time.Hour).targetAvailable(1), false},
		"paused":                   {newScene().step(1, 20, time.Hour).unwell(deadline).targetAvailable(1).paused(), false},
		"resumed after two hours with one pod unready": {newScene().step(1, 20, 2*time.Hour).unwell(2 * time.Hour).targetAvailable(1).paused().asked(v1beta1.ActionResume), false},
		"resumed, and Prometheus was mended meanwhile": {
			newScene().step(1, 20, 20*time.Minute).unwell(20*time.Minute).checked(v1beta1.CheckUnavailable, 19*time.Minute).paused().asked(v1beta1.ActionResume), false,
		},
		"at a gate for an hour, then a pod moves": {gated(newScene().step(0, 0, time.Hour)).targetAvailable(1), false},
		"somebody has touched the route":          {newScene().step(1, 20, time.Hour).outOfSync(), false},
		"no operator was there": {newScene().step(1, 20, time.Hour).unwell(time.Hour).targetAvailable(1).with(func(o *release.Observation) {
			o.Absence = release.Absence{From: t0.Add(-55 * time.Minute), To: t0.Add(-time.Minute)}
		}), false},
		"no operator was there for a part of it": {newScene().step(1, 20, time.Hour).unwell(time.Hour).targetAvailable(1).with(func(o *release.Observation) {
			o.Absence = release.Absence{From: t0.Add(-50 * time.Minute), To: t0.Add(-time.Minute)}
		}), true},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			if back := d.Status.Phase == v1beta1.PhaseFailed; back != tc.wantBack {
				t.Errorf("rolled back: %t; %v", back, d.Events)
			}
		})
	}
}

func TestDeadlineIsForgotten(t *testing.T) {
	if d := rollout.Decide(newScene().step(1, 20, time.Second).unwell(time.Minute).Observation); d.Status.Unwell != nil {
		t.Errorf("the deadline runs for %+v", d.Status.Unwell)
	}
	s := newScene().step(1, 20, time.Hour).unwell(time.Hour).atGate(v1beta1.ConfirmTrafficIncreaseHook).targetAvailable(1)
	if d := rollout.Decide(s.Observation); d.Status.Phase != v1beta1.PhaseProgressing || d.Status.Unwell != nil {
		t.Errorf("at a gate it is %s, the deadline runs for %+v", d.Status.Phase, d.Status.Unwell)
	}
}

func TestSuspendedDeadline(t *testing.T) {
	d := rollout.Decide(newScene().step(1, 20, time.Hour).unwell(time.Minute).targetAvailable(1).with(suspended).Observation)
	if d.Status.Unwell != nil {
		t.Errorf("the deadline runs for %+v", d.Status.Unwell)
	}
}
