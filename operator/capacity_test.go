package main

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// capacityIncidents take pods away from those who serve.
var capacityIncidents = []incident{
	{"promotion with 9 of 10 pods when its deadline passes", testPromotionShort},
	{"new revision in a promotion with 1 of 10 pods", testPromotionOvertaken},
	{"canary scaled to 1 pod before it takes over from 10", testBlueGreenShort},
	{"canary that Git keeps at 1 pod before it takes over from 10", testBlueGreenKeptShort},
	{"primary deleted at 20 percent", testPrimaryDeleted},
	{"primary of 10 pods deleted at rest", testPrimaryDeletedAtRest},
	{"primary deleted after a failed release", testPrimaryDeletedAfterFailure},
	{"one pod that is replaced in place, by percent", func(s *site) { testInPlace(s, intstr.FromString("25%")) }},
	{"one pod that is replaced in place, by number", func(s *site) { testInPlace(s, intstr.FromInt32(1)) }},
}

// testBlueGreenShort has the canary lose pods while it is analysed: nobody is given
// more than it has the pods for.
func testBlueGreenShort(s *site) {
	s.begin(pods10, oneIteration)
	p := s.probe(app)
	s.release(newImage)
	s.awaitStep(1)
	change[appsv1.Deployment](s, app, func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(1)) })
	s.awaitSettled(v1beta1.PhaseSucceeded)
	seen := p.stop(0)
	seen.wantNever(s.t, "the canary takes over from 10 pods with fewer", func(m moment) bool { return m.canary == 100 && m.atCanary < 10 })
	if seen.most() != 100 {
		s.t.Errorf("the canary's shares were %v", seen.shares())
	}
}

func oneIteration(c *v1beta1.Canary) {
	c.Spec.Analysis.StepWeight, c.Spec.Analysis.MaxWeight, c.Spec.Analysis.Iterations = 0, 0, 1
	c.Spec.Analysis.Interval = "3s"
}

// testBlueGreenKeptShort has somebody scale the canary down again each time that it is
// scaled up. It never takes over, and the release ends at its deadline.
func testBlueGreenKeptShort(s *site) {
	s.begin(both(pods10, gated), both(oneIteration, func(c *v1beta1.Canary) { c.Spec.ProgressDeadlineSeconds = new(int32(3)) }))
	p := s.probe(app)
	s.pods.limit(app, newImage, 1) // a new pod takes longer to start than to be removed
	s.release(newImage, func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(1)) })
	s.await("the rollback", func(ctx context.Context) error {
		st, err := s.status(ctx)
		if err != nil || st.Phase == v1beta1.PhaseFailed {
			return err
		}
		if err := s.api.Patch(ctx, s.deployment(""), client.RawPatch(types.MergePatchType, []byte(`{"spec": {"replicas": 1}}`))); err != nil {
			return err
		}
		return fmt.Errorf("the status is %+v", st)
	})
	wantShares(s.t, p.stop(0), 0)
}

// awaitStep waits until the release has come to a step of its plan.
func (s *site) awaitStep(index int32) {
	s.t.Helper()
	s.await(fmt.Sprintf("step %d", index), func(ctx context.Context) error {
		st, err := s.status(ctx)
		if err == nil && (st.Step == nil || st.Step.Index != index) {
			err = fmt.Errorf("the status is %+v", st)
		}
		return err
	})
}

// testPromotionShort never lets the last pod of the new primary be ready: the few pods of
// the canary are not given what the primary's carry.
func testPromotionShort(s *site) {
	s.begin(both(pods10, gated), func(c *v1beta1.Canary) { c.Spec.ProgressDeadlineSeconds = new(int32(2)) })
	p := s.probe(app)
	s.pods.limit(app+"-primary", newImage, 9)
	s.release(newImage, func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(2)) })
	s.awaitPhase(v1beta1.PhasePromoting)
	s.awaitCondition(v1beta1.ConditionStalled, corev1.ConditionTrue, "PromotionHalted")
	s.pods.limit(app+"-primary", newImage, unlimited)
	s.awaitSettled(v1beta1.PhaseSucceeded)
	if most := p.stop(0).most(); most > 50 {
		s.t.Errorf("the canary's 2 pods had %d%% of what 10 pods carry", most)
	}
}

// testPromotionOvertaken releases once more while the primary has one pod: the canary
// keeps its share until there is somebody to take it.
func testPromotionOvertaken(s *site) {
	s.begin(both(pods10, gated), nil)
	p := s.probe(app)
	s.pods.limit(app+"-primary", newImage, 1)
	s.release(newImage)
	s.awaitPhase(v1beta1.PhasePromoting)
	s.await("the first pod of the new primary", func(context.Context) error {
		if s.pods.ready(app+"-primary", newImage) != 1 {
			return errNotYet
		}
		return nil
	})
	s.pods.limit(app+"-primary", oldImage, 0)
	s.await("the primary to have one pod", func(context.Context) error {
		if s.pods.ready(app+"-primary", oldImage) != 0 {
			return errNotYet
		}
		return nil
	})
	s.release("podinfo:6.0.2")
	s.awaitPhase(v1beta1.PhaseProgressing)
	s.pods.limit(app+"-primary", newImage, unlimited)
	s.awaitSettled(v1beta1.PhaseSucceeded)
	if got := s.primaryImage(); got != "podinfo:6.0.2" {
		s.t.Errorf("the primary has %s", got)
	}
	p.stop(0).wantNever(s.t, "a primary without pods for it gets the canary's share", func(m moment) bool { return m.canary < 50 && m.atPrimary < 5 })
}

// testPrimaryDeleted deletes the primary in mid-release: nothing is left of what it ran, and
// the canary, which has as many pods, serves until it is judged.
func testPrimaryDeleted(s *site) {
	s.begin(nil, atStep(20))
	s.release(newImage)
	s.awaitRoute(20)
	p := s.probe(app)
	s.remove(get[appsv1.Deployment](s, app+"-primary"))
	s.awaitRoute(100)
	s.edit(func(c *v1beta1.Canary) { c.Spec.Analysis.Interval = "1s" })
	s.awaitSettled(v1beta1.PhaseSucceeded)
	s.awaitPods(app+"-primary", 2)
	p.stop(80)
}

// testPrimaryDeletedAtRest deletes it while the target has no pods.
func testPrimaryDeletedAtRest(s *site) {
	s.begin(pods10, nil)
	p := s.probe(app)
	was := get[appsv1.Deployment](s, app+"-primary")
	s.remove(was)
	s.await("another primary", func(ctx context.Context) error {
		d := &appsv1.Deployment{}
		err := s.api.Get(ctx, s.key(app+"-primary"), d)
		if err == nil && d.UID == was.UID {
			err = errNotYet
		}
		return err
	})
	s.awaitPods(app+"-primary", 10)
	s.awaitCondition(v1beta1.ConditionReady, corev1.ConditionTrue)
	var seen story
	s.await("requests to be answered", func(ctx context.Context) error {
		seen = p.tell(ctx)
		if end := seen[len(seen)-1]; end.lost > 0 {
			return errors.New(end.String())
		}
		return nil
	})
	seen.wantNever(s.t, "it comes back with another number of pods", func(m moment) bool { return m.primary != nil && *m.primary.Spec.Replicas != 10 })
	// How long its pods and their endpoints take is up to Kubernetes: its controller of EndpointSlices
	// tries again after seconds on a busy machine.
	seen.wantNever(s.t, "requests are lost and no primary is there to take them", func(m moment) bool {
		return m.lost > 0 && m.primary == nil && m.lasted > reaction
	})
}

// testPrimaryDeletedAfterFailure deletes it while the target is what was found bad. That
// is never made the primary; a person must say what is.
func testPrimaryDeletedAfterFailure(s *site) {
	s.begin(nil, func(c *v1beta1.Canary) { c.Spec.Analysis.Threshold = 1 })
	s.bad.Store(true)
	s.release(newImage)
	s.awaitSettled(v1beta1.PhaseFailed)
	p := s.probe(app)
	s.remove(get[appsv1.Deployment](s, app+"-primary"))
	s.awaitCondition(v1beta1.ConditionStalled, corev1.ConditionTrue, "-primary is gone")
	s.release(oldImage)
	s.await("the primary", func(ctx context.Context) error {
		d := &appsv1.Deployment{}
		err := s.api.Get(ctx, s.key(app+"-primary"), d)
		if err == nil && d.Status.AvailableReplicas == 0 {
			err = errors.New("it has no pods")
		}
		return err
	})
	s.awaitCondition(v1beta1.ConditionReady, corev1.ConditionTrue)
	seen := p.tell(s.t.Context())
	seen.wantNever(s.t, "the revision that failed is the primary", func(m moment) bool { return m.primary != nil && imageOf(m.primary) == newImage })
	if end := seen[len(seen)-1]; end.lost > 0 {
		s.t.Errorf("in the end: %s", end)
	}
}

// testInPlace releases an application of one pod whose Deployment ends a pod before it starts
// the next: its requests go elsewhere before that.
func testInPlace(s *site, unavailable intstr.IntOrString) {
	s.begin(func(d *appsv1.Deployment) {
		d.Spec.Replicas = new(int32(1))
		d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{
			MaxSurge: new(intstr.FromInt32(0)), MaxUnavailable: &unavailable,
		}}
	}, nil)
	p := s.probe(app)
	s.release(newImage)
	s.awaitSettled(v1beta1.PhaseSucceeded)
	p.stop(0)
}
