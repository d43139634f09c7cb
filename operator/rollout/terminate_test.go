package rollout_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/operator/rollout/hands"
)

func TestDeletionEnds(t *testing.T) {
	const deadline = 10 * time.Minute
	terminating := func(ago time.Duration) *scene {
		return newScene().step(0, 0, ago).phase(v1beta1.PhaseTerminating).with(deleted)
	}
	misses := func(o *release.Observation) { o.ApexMisses = true }
	absent := func(o *release.Observation) {
		o.Absence = release.Absence{From: t0.Add(-deadline + time.Minute), To: t0.Add(-time.Minute)}
	}
	annotated := func(value string) func(*release.Observation) {
		return func(o *release.Observation) {
			o.Canary.Annotations = map[string]string{hands.RemoveWithTargetAnnotation: value}
		}
	}
	for name, tc := range map[string]struct {
		scene                     *scene
		wantPods                  int32 // -1: kept
		released, finished, keeps bool
		wantStalled               string
	}{
		"onto one pod": {
			terminating(time.Second).targetAt(revA, 1).with(func(o *release.Observation) { o.Primary.Replicas, o.Primary.Available = 10, 10 }), 10, false, false, false, "",
		},
		"onto ten": {
			terminating(time.Minute).targetAt(revA, 10).with(func(o *release.Observation) { o.Primary.Replicas, o.Primary.Available = 10, 10 }), -1, true, true, false, "",
		},
		"the target is gone":            {terminating(time.Minute).with(targetGone), -1, true, true, true, release.ReasonLeftBehind},
		"the whole application is gone": {terminating(time.Minute).with(targetGone).with(annotated("true")), -1, true, true, false, ""},
		"the whole application is gone, and a Service selects nobody": {
			terminating(time.Minute).with(targetGone).with(annotated("true")).with(misses), -1, true, true, false, "",
		},
		"the whole application is gone a moment ago": {
			newScene().step(0, 0, 0).phase(v1beta1.PhaseTerminating).with(deleted).with(targetGone).with(annotated("true")), -1, true, false, false, "",
		},
		"the target is gone, and the Canary says that the primary stays": {
			terminating(time.Minute).with(targetGone).with(annotated("false")), -1, true, true, true, release.ReasonLeftBehind,
		},
		"only the Canary of an application that may go goes": {
			terminating(time.Second).targetAt(revA, 1).with(annotated("true")).with(func(o *release.Observation) { o.Primary.Replicas, o.Primary.Available = 10, 10 }), 10, false, false, false, "",
		},
		"the target does not come, and would be removed if it were gone": {
			terminating(deadline).targetAvailable(0).with(annotated("true")), -1, true, true, true, release.ReasonLeftBehind,
		},
		"the target does not come":           {terminating(deadline).targetAvailable(0), -1, true, true, true, release.ReasonLeftBehind},
		"the apex Service misses the target": {terminating(time.Minute).with(misses), -1, true, true, true, release.ReasonLeftBehind},
		"it does, and there is no primary":   {terminating(time.Minute).with(misses).with(func(o *release.Observation) { o.Primary = release.Workload{} }), -1, true, true, false, ""},
		"the target comes in part": {
			terminating(deadline).targetAvailable(1).with(func(o *release.Observation) { o.Primary.Replicas, o.Primary.Available = 4, 4 }), 4, true, true, true, release.ReasonLeftBehind,
		},
		"the target comes in part, and its autoscaler wants no more": {
			terminating(deadline).targetAvailable(1).with(func(o *release.Observation) { o.Primary.Replicas, o.Primary.Available, o.Target.Ready = 4, 4, true }), 4, true, true, false, "",
		},
		"the target comes in part, and the primary has no more": {
			terminating(deadline).targetAvailable(1).with(func(o *release.Observation) { o.Primary.Replicas, o.Primary.Available = 4, 1 }), 4, true, true, false, "",
		},
		"the target comes in great part": {
			terminating(deadline).targetAvailable(3).with(func(o *release.Observation) { o.Primary.Replicas, o.Primary.Available = 4, 4 }), 4, true, true, false, "",
		},
		"the mesh is gone": {
			terminating(deadline).outOfSync().with(func(o *release.Observation) { o.Outage = "Consul can't be asked" }), -1, true, false, false, release.ReasonMeshUnreachable,
		},
		"the mesh is gone for good": {
			terminating(2 * deadline).outOfSync().with(func(o *release.Observation) { o.Outage = "Consul can't be asked" }), -1, true, true, true, "",
		},
		"the mesh is gone, and no operator was there for most of the time": {
			terminating(2 * deadline).outOfSync().with(func(o *release.Observation) { o.Outage = "Consul can't be asked" }).with(absent), -1, true, false, false, release.ReasonMeshUnreachable,
		},
		"the target does not come, and no operator was there for most of the time": {terminating(deadline).targetAvailable(0).with(absent), -1, false, false, false, ""},
		"a mistake": {terminating(time.Minute).with(mistake), -1, true, true, false, ""},
		"objects of another": {terminating(time.Minute).with(func(o *release.Observation) {
			o.Mistake, o.Canary.Status.LastPromotedSpec = &release.Mistake{Foreign: true}, ""
		}), -1, false, true, false, ""},
		"a primary without pods": {terminating(time.Minute).primaryAvailable(0).with(func(o *release.Observation) { o.Primary.Replicas = 2 }), -1, true, true, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			want := d.Desired
			replicas := int32(-1)
			if want.TargetReplicas != nil {
				replicas = *want.TargetReplicas
			}
			got := fmt.Sprintf("%d pods, released %t, finished %t, keeps the primary %t", replicas, want.Released, want.Finished, want.KeepPrimary)
			if wanted := fmt.Sprintf("%d pods, released %t, finished %t, keeps the primary %t", tc.wantPods, tc.released, tc.finished, tc.keeps); got != wanted {
				t.Errorf("%s; want %s", got, wanted)
			}
			stalled := ""
			if c := d.Status.GetCondition(v1beta1.ConditionStalled); c != nil {
				stalled = c.Reason
			}
			if stalled != tc.wantStalled {
				t.Errorf("Stalled for %q, want %q", stalled, tc.wantStalled)
			}
		})
	}
}

// What is left behind is told of with the reason why.
func TestLeftBehindSaysWhy(t *testing.T) {
	four := func(o *release.Observation) { o.Primary.Replicas, o.Primary.Available = 4, 4 }
	for want, with := range map[string]func(*scene){
		"is gone":     func(s *scene) { s.with(targetGone) },
		"can't serve": func(s *scene) { s.targetAvailable(0) },
		"has 1 pods that are available, and it has 4": func(s *scene) { s.targetAvailable(1).with(four) },
	} {
		s := newScene().step(0, 0, 10*time.Minute).phase(v1beta1.PhaseTerminating).with(deleted)
		with(s)
		c := rollout.Decide(s.Observation)
		if stalled := c.Status.GetCondition(v1beta1.ConditionStalled); stalled == nil || !strings.Contains(stalled.Message, want) {
			t.Errorf("people are told %+v, and not that it %s", stalled, want)
		}
	}
}

// What is removed with its target is told of in the end, and nothing then is called left behind.
func TestRemovalIsTold(t *testing.T) {
	s := newScene().step(0, 0, time.Minute).phase(v1beta1.PhaseTerminating).with(deleted).with(targetGone).with(func(o *release.Observation) {
		o.Canary.Annotations = map[string]string{hands.RemoveWithTargetAnnotation: "true"}
	})
	if events := outcomeOf(rollout.Decide(s.Observation)).Events; !slices.Equal(events, []string{release.ReasonRemoved}) {
		t.Errorf("events %v", events)
	}
}

// People are told where a Service that is theirs is given back with another selector than it had.
func TestApexIsLedToTarget(t *testing.T) {
	noPrimary := func(o *release.Observation) { o.Primary = release.Workload{} }
	misses := func(o *release.Observation) { o.ApexMisses = true }
	for name, tc := range map[string]struct {
		with []func(*release.Observation)
		want bool
	}{
		"it finds none, and nobody else serves": {[]func(*release.Observation){misses, noPrimary}, true},
		"the primary serves":                    {[]func(*release.Observation){misses}, false},
		"it finds them":                         {[]func(*release.Observation){noPrimary}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene().step(0, 0, time.Minute).phase(v1beta1.PhaseTerminating).with(deleted)
			for _, with := range tc.with {
				s.with(with)
			}
			if d := rollout.Decide(s.Observation); slices.Contains(outcomeOf(d).Events, release.ReasonLeftBehind) != (tc.want || len(tc.with) == 1 && d.Desired.KeepPrimary) {
				t.Errorf("events %v", outcomeOf(d).Events)
			}
		})
	}
}

func TestDeletionInMidRelease(t *testing.T) {
	s := newScene().step(2, 40, time.Second).persisted().with(deleted).targetAvailable(0)
	d := rollout.Decide(s.Observation)
	if !d.Desired.Routed || d.Desired.Traffic.Canary != 0 {
		t.Errorf("routed %t, %+v", d.Desired.Routed, d.Desired.Traffic)
	}
}

// The route to a canary that stands in stays until the apex Service has found the target's pods.
func TestRouteStaysUntilServicesLead(t *testing.T) {
	standsIn := func(o *release.Observation) { o.Route.Has = &release.Traffic{Canary: 100} }
	given := func(ago time.Duration) func(*release.Observation) {
		return func(o *release.Observation) { o.Route.GivenBack = t0.Add(-ago) }
	}
	noPrimary := func(o *release.Observation) { o.Primary = release.Workload{} }
	terminating := func() *scene {
		return newScene().targetAt(revB, 2).step(0, 0, time.Minute).phase(v1beta1.PhaseTerminating).outOfSync().with(deleted).with(standsIn)
	}
	for name, tc := range map[string]struct {
		scene *scene
		want  bool
	}{
		"the primary serves":                         {terminating().with(func(o *release.Observation) { o.Route.Has.Canary = 50 }), false},
		"the primary serves those that do not match": {terminating().with(func(o *release.Observation) { o.Route.Has.Matched = true }), false},
		"the primary serves again":                   {terminating(), true},
		"it is gone":                                 {terminating().with(noPrimary), true},
		"it has no pod":                              {terminating().primaryAvailable(0), true},
		"it has none, and a part of the traffic": {
			terminating().primaryAvailable(0).with(func(o *release.Observation) { o.Route.Has.Canary = 20 }), true,
		},
		"it has no pod, and the apex Service misses the target": {
			terminating().primaryAvailable(0).with(given(time.Hour)).with(func(o *release.Observation) { o.ApexMisses = true }), true,
		},
		"it serves, and the apex Service misses the target": {
			terminating().with(func(o *release.Observation) { o.ApexMisses = true }), false,
		},
		"the Services were just given back": {terminating().with(noPrimary).with(given(time.Second)), true},
		"the route leads to nobody": {
			terminating().with(noPrimary).with(func(o *release.Observation) { o.Route.Has.Canary = 0 }), false,
		},
		"they were a while ago": {terminating().with(noPrimary).with(given(15 * time.Second)), false},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			if d.Desired.KeepRoute != tc.want || d.Desired.Finished {
				t.Errorf("it stays: %t, finished: %t", d.Desired.KeepRoute, d.Desired.Finished)
			}
			if tc.want && tc.scene.Primary.Available == 0 && (!d.Desired.Routed || d.Desired.Traffic.Canary != 100) {
				t.Errorf("routed %t, %+v", d.Desired.Routed, d.Desired.Traffic)
			}
		})
	}
}
