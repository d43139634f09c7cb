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
