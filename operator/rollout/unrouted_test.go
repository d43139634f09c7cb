package rollout_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

// What a mesh says of a route that it does not take is told where the rollout waits for it.
func TestRouteDetail(t *testing.T) {
	const said = "Service podinfo: Accepted is False (NoMatchingParent): no such port"
	const deadline = 10 * time.Minute
	waits := func(s *scene) *scene { return s.outOfSync() }
	says := func(s *scene) *scene {
		return s.outOfSync().with(func(o *release.Observation) { o.Route.Detail = said })
	}
	initializing := func() *scene {
		s := newScene().phase(v1beta1.PhaseInitializing)
		s.Canary.Status.LastTransitionTime.Time = s.Now.Add(-time.Minute)
		return s
	}
	finalising := func() *scene {
		s := newScene().phase(v1beta1.PhaseFinalising)
		s.Canary.Status.LastTransitionTime.Time = s.Now.Add(-time.Minute)
		return s
	}
	for name, tc := range map[string]struct {
		scene *scene
		want  string
		event string
	}{
		"initializing": {says(initializing()), "the mesh does not show the route yet: " + said, ""},
		"initializing, of a mesh that says nothing": {waits(initializing()), "the mesh does not show the route yet", ""},
		"a step":                         {says(newScene().step(1, 20, time.Minute)), "the mesh does not show the route yet: " + said, ""},
		"the end of a promotion":         {says(finalising()), "podinfo-primary alone: the mesh does not show the route yet: " + said, ""},
		"a step that has only begun":     {says(newScene().step(1, 20, time.Second)), "Step 1 of 3: 20% of the traffic goes to the canary", ""},
		"a step that had its time":       {says(newScene().step(1, 20, deadline+10*time.Second).unwell(deadline)), "", "the mesh did not show the route within 10m0s: " + said},
		"a mesh that never says a thing": {waits(newScene().step(1, 20, deadline+10*time.Second).unwell(deadline)), "", "the mesh did not show the route within 10m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			if c := d.Status.GetCondition(v1beta1.ConditionReconciling); tc.want != "" && (c == nil || !strings.HasSuffix(c.Message, tc.want)) {
				t.Errorf("Reconciling is %+v, want its message to end with %q", c, tc.want)
			}
			if tc.event == "" {
				return
			}
			if len(d.Events) != 1 || !strings.Contains(d.Events[0].Message, tc.event+".") && !strings.Contains(d.Events[0].Message, tc.event+";") {
				t.Errorf("events are %+v, want %q in one", d.Events, tc.event)
			}
		})
	}
}

// A step that the mesh refuses is taken back at once, whatever else holds the release.
func TestRouteRefused(t *testing.T) {
	refuses := func(s *scene) *scene {
		return s.outOfSync().with(func(o *release.Observation) { o.Route.Detail, o.Route.Refused = "no such filter", true })
	}
	for name, tc := range map[string]struct {
		scene *scene
		want  v1beta1.CanaryPhase
	}{
		"a step":                 {refuses(newScene().step(1, 20, time.Second)), v1beta1.PhaseFailed},
		"a step that is paused":  {refuses(newScene().step(1, 20, time.Second).with(func(o *release.Observation) { o.Canary.Status.Paused = true })), v1beta1.PhaseFailed},
		"nobody is there yet":    {refuses(newScene().step(0, 0, time.Second)), v1beta1.PhaseProgressing},
		"at rest":                {refuses(newScene()), newScene().Canary.Status.Phase},
		"the mesh is only late":  {newScene().step(1, 20, time.Second).outOfSync(), v1beta1.PhaseProgressing},
		"the promotion is under": {refuses(newScene().promoting(60, time.Second).primaryAt(revB)), v1beta1.PhasePromoting},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			if d.Status.Phase != tc.want {
				t.Fatalf("phase %s, want %s", d.Status.Phase, tc.want)
			}
			if tc.want != v1beta1.PhaseFailed {
				return
			}
			if d.Desired.Traffic.Canary != 0 || len(d.Events) != 1 || d.Events[0].Reason != release.ReasonRouteRefused ||
				!strings.Contains(d.Events[0].Message, "the mesh refuses the route: no such filter") {
				t.Errorf("traffic %+v, events %+v", d.Desired.Traffic, d.Events)
			}
		})
	}
}
