package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/rig"
)

// beginGated is begin with a gate, the Deployment as edit has it, and a client.
func beginGated(t *testing.T, namespace string, deployment func(*appsv1.Deployment), canary func(*v1beta1.Canary)) (*app, *rig.Gate, *caller) {
	t.Helper()
	a := newApp(t, namespace)
	g := a.deployGated(deployment)
	requests := a.call(100)
	a.apply(func(c *v1beta1.Canary) {
		quick(c)
		c.Spec.Analysis.StepWeight = 50
		canary(c)
	})
	a.awaitPhase(v1beta1.PhaseInitialized)
	a.awaitDrained()
	return a, g, requests
}

func bluegreen(c *v1beta1.Canary) {
	c.Spec.Analysis.StepWeight, c.Spec.Analysis.MaxWeight = 0, 0
	c.Spec.Analysis.Iterations = 2
}

// TestPrimaryBreaksInPromotion is pain 1: the primary's new pods never become
// ready, while the same revision is healthy as canary. The canary keeps its users, the
// promotion halts and says so, and it goes on when the
// primary recovers or another revision is released. No request fails.
func TestPrimaryBreaksInPromotion(t *testing.T) {
	t.Parallel()
	weighted := func(*v1beta1.Canary) {}
	for name, tc := range map[string]struct {
		strategy func(*v1beta1.Canary)
		goesOn   func(*app, *rig.Gate)
		promoted string
		weight   int32 // while it is halted: the old pods of the primary carry the rest
	}{
		"weighted-recovers":  {strategy: weighted, goesOn: recovers, promoted: "6.0.1", weight: 50},
		"bluegreen-recovers": {strategy: bluegreen, goesOn: recovers, promoted: "6.0.1", weight: 100},
		"weighted-release":   {strategy: weighted, goesOn: releasesAnother, promoted: "6.0.2", weight: 50},
		"bluegreen-release":  {strategy: bluegreen, goesOn: releasesAnother, promoted: "6.0.2", weight: 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, g, requests := beginGated(t, "halt-"+name, func(*appsv1.Deployment) {}, tc.strategy)
			people := a.newChat()
			a.edit(alerted)
			before := requests.report()
			g.ShutFor(primaryPods("6.0.1"))
			a.release("6.0.1")
			a.awaitPhase(v1beta1.PhasePromoting)
			// Only now: the canary may have had to wait for a busy machine.
			a.edit(func(c *v1beta1.Canary) { c.Spec.ProgressDeadlineSeconds = new(int32(5)) })
			a.awaitCondition(rig.Name, v1beta1.ConditionStalled, corev1.ConditionTrue, "PromotionHalted",
				"podinfo-primary did not become ready", "the canary goes on serving", "within 5s")
			a.awaitEvent(rig.Name, "PromotionHalted", "podinfo-primary did not become ready", "within 5s")
			if m := a.awaitAlert(people, "PromotionHalted"); m.Severity != "error" || !containsAll(m.Text, []string{"the canary goes on serving"}) {
				t.Errorf("people are alerted with %+v", m)
			}
			a.awaitWeight(tc.weight)
			halted := requests.awaitWell(100) // the route becomes known
			a.holds("the promotion is halted", 3*time.Second, func(ctx context.Context) error {
				c, err := a.Canary(ctx)
				if err == nil && (c.Status.Phase != v1beta1.PhasePromoting || c.Status.CanaryWeight != tc.weight) {
					err = fmt.Errorf("it is %s with weight %d", c.Status.Phase, c.Status.CanaryWeight)
				}
				return err
			})
			if seen := requests.wantNoFailure("while the promotion was halted", halted); 100*seen.Share(rig.Name) < float64(tc.weight)*0.6 {
				t.Errorf("the canary answered %.1f%% of the requests, want %d%%", 100*seen.Share(rig.Name), tc.weight)
			}

			a.edit(func(c *v1beta1.Canary) { c.Spec.ProgressDeadlineSeconds = new(int32(60)) })
			tc.goesOn(a, g)
			a.awaitPhase(v1beta1.PhaseSucceeded)
			a.wantPrimary(tc.promoted)
			a.awaitDrained()
			requests.awaitMore(100)
			requests.wantNoFailure("from the release to the end", before)
			if c := a.canary().Status.GetCondition(v1beta1.ConditionStalled); c != nil {
				t.Errorf("it is still stalled: %+v", *c)
			}
		})
	}
}

func recovers(_ *app, g *rig.Gate) { g.Open() }

func releasesAnother(a *app, _ *rig.Gate) {
	a.t.Helper()
	a.release("6.0.2")
	a.awaitPhase(v1beta1.PhaseProgressing)
}

// TestPrimaryRestartsInPromotion is pains 1 and 3 where the primary loses all its
// pods before it gets new ones, and those do not become ready for a while: the
// canary has everything before that, and no request fails.
func TestPrimaryRestartsInPromotion(t *testing.T) {
	t.Parallel()
	const delay = 2 * time.Second
	a, g, requests := beginGated(t, "restarts", func(d *appsv1.Deployment) {
		d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	}, func(c *v1beta1.Canary) { c.Spec.DrainDelaySeconds = new(int32(delay / time.Second)) })
	before, began := requests.report(), time.Now()
	h, err := a.Watch(t.Context())
	a.must(err)
	pods := record[*corev1.Pod](a, &corev1.PodList{})
	routes := record[*istionetworking.VirtualService](a, &istionetworking.VirtualServiceList{})
	g.ShutFor(primaryPods("6.0.1"))
	a.release("6.0.1")
	a.awaitEvent(rig.Name, "Promoting", "all traffic goes to the canary, as podinfo-primary will be without a pod for a moment")
	a.await("the primary without pods", func(ctx context.Context) error {
		var d appsv1.Deployment
		err := a.API.Get(ctx, a.key(primaryName), &d)
		if err == nil && (image(&d) != "6.0.1" || d.Status.AvailableReplicas > 0) {
			err = fmt.Errorf("it runs %s with %d pods", image(&d), d.Status.AvailableReplicas)
		}
		return err
	})
	without := requests.report()
	requests.awaitMore(200)
	if seen := requests.wantNoFailure("without a primary", without); seen.Share(rig.Name) < 1 {
		t.Errorf("the canary answered %.1f%% of the requests, want all", 100*seen.Share(rig.Name))
	}
	g.Open()
	a.awaitPhase(v1beta1.PhaseSucceeded)
	a.awaitDrained()
	requests.awaitMore(100)
	requests.wantNoFailure("from the release to the end", before)
	a.wantPrimary("6.0.1")
	wantWeights(t, h, 0, 50, 100, 0)
	moved, _ := routes.first(began, func(vs *istionetworking.VirtualService) bool { return turnOf(vs).Weight == 100 })
	gone, found := pods.first(began, func(p *corev1.Pod) bool { return p.Labels["app"] == primaryName && p.DeletionTimestamp != nil })
	if stayed := gone.at.Sub(moved.at); !found || stayed < delay-closing {
		t.Errorf("the primary's first pod went %v after the route, want %v", stayed, delay)
	}
}

// TestReleaseMendsThePrimary is pain 6: no pod of the primary is ready, and the
// release that mends it is not held up by that. Users are at the canary as soon
// as it is ready.
func TestReleaseMendsThePrimary(t *testing.T) {
	t.Parallel()
	a, g, requests := beginGated(t, "mend", func(*appsv1.Deployment) {}, func(c *v1beta1.Canary) {
		c.Spec.Analysis.Interval = "3s"
	})
	h, err := a.Watch(t.Context())
	a.must(err)
	g.ShutFor(primaryPods("6.0.0"))
	a.await("the end of the primary's endpoints", func(ctx context.Context) error {
		var d appsv1.Deployment
		err := a.API.Get(ctx, a.key(primaryName), &d)
		if err == nil && d.Status.AvailableReplicas > 0 {
			err = fmt.Errorf("%d pods are available", d.Status.AvailableReplicas)
		}
		return err
	})
	a.release("6.0.1")
	a.awaitWeight(100)
	a.awaitEvent(rig.Name, "PrimaryUnavailable", "the canary takes all traffic")
	before := requests.awaitWell(100) // the route becomes known
	a.awaitPhase(v1beta1.PhaseSucceeded)
	a.awaitDrained()
	requests.awaitMore(100)
	requests.wantNoFailure("from the takeover to the end", before)
	a.wantPrimary("6.0.1")
	wantWeights(t, h, 0, 100, 0)
}

// TestPrimaryIsAsLargeAsTheCanary is pain 2: the target is scaled up while it
// serves as canary, and the primary has as many pods before it gets more traffic.
func TestPrimaryIsAsLargeAsTheCanary(t *testing.T) {
	t.Parallel()
	const pods = 5
	a, _, requests := beginGated(t, "as-large", func(*appsv1.Deployment) {}, func(c *v1beta1.Canary) {
		c.Spec.Analysis.Interval = "4s"
	})
	before, began := requests.report(), time.Now()
	deployments := record[*appsv1.Deployment](a, &appsv1.DeploymentList{})
	routes := record[*istionetworking.VirtualService](a, &istionetworking.VirtualServiceList{})
	a.release("6.0.1")
	a.awaitWeight(50)
	target := get[appsv1.Deployment](a, rig.Name)
	scaled := target.DeepCopy()
	scaled.Spec.Replicas = new(int32(pods))
	a.must(a.API.Patch(t.Context(), scaled, client.MergeFrom(target)))
	a.awaitPhase(v1beta1.PhaseSucceeded)
	a.awaitDrained()
	requests.wantNoFailure("from the release to the end", before)

	raised, _ := routes.first(began, func(vs *istionetworking.VirtualService) bool { return turnOf(vs).Weight == 50 })
	back, found := routes.first(raised.at.Add(time.Nanosecond), func(vs *istionetworking.VirtualService) bool { return turnOf(vs).Weight == 0 })
	large, has := deployments.first(began, func(d *appsv1.Deployment) bool {
		return d.Name == primaryName && image(d) == "6.0.1" && d.Status.ObservedGeneration == d.Generation &&
			d.Status.UpdatedReplicas == pods && d.Status.AvailableReplicas == pods
	})
	switch {
	case !found:
		t.Error("traffic never went back to the primary")
	case !has:
		t.Errorf("the primary never had %d pods", pods)
	case !beforeVersion(t, large.object, back.object):
		t.Errorf("traffic went back to the primary before it had %d pods", pods)
	default:
		t.Logf("the primary had %d pods %v before traffic went back to it", pods, back.at.Sub(large.at).Round(time.Millisecond))
	}
}

// TestDrain is pain 3: pods lose their traffic first, stay for the drain delay,
// and then go: after the adoption, a promotion and a rollback.
func TestDrain(t *testing.T) {
	t.Parallel()
	const delay = 4 * time.Second
	a := newApp(t, "drain")
	a.deploy()
	requests := a.call(100)
	pods := record[*corev1.Pod](a, &corev1.PodList{})
	routes := record[*istionetworking.VirtualService](a, &istionetworking.VirtualServiceList{})
	drained := func(after string, began time.Time) {
		t.Helper()
		a.awaitDrained()
		last := time.Time{}
		for _, v := range routes.since(began) {
			if turnOf(v.object) == (turn{}) {
				last = v.at
			}
		}
		gone, found := pods.first(began, func(p *corev1.Pod) bool {
			return p.Labels["app"] == rig.Name && p.DeletionTimestamp != nil
		})
		stayed := gone.at.Sub(last)
		if last.IsZero() || !found {
			t.Fatalf("after the %s: no route without the canary was seen, or no pod go", after)
		}
		t.Logf("after the %s the first pod went %v after the route", after, stayed.Round(10*time.Millisecond))
		// News of the two comes by two watches.
		if stayed < delay-closing {
			t.Errorf("after the %s the first pod went %v after the route, want %v", after, stayed, delay)
		}
	}
	before := requests.report()
	began := time.Now()
	a.apply(func(c *v1beta1.Canary) {
		quick(c)
		c.Spec.Analysis.StepWeight = 50
		c.Spec.DrainDelaySeconds = new(int32(delay / time.Second))
	})
	a.awaitPhase(v1beta1.PhaseInitialized)
	drained("adoption", began)

	began = time.Now()
	a.release("6.0.1")
	a.awaitOutcome(v1beta1.PhaseSucceeded)
	drained("promotion", began)

	a.edit(func(c *v1beta1.Canary) {
		c.Spec.Analysis.Threshold = 1
		c.Spec.Analysis.Metrics = []v1beta1.CanaryMetric{{
			Name: "never", Query: "vector(0)", ThresholdRange: &v1beta1.CanaryThresholdRange{Min: new(1.0)},
		}}
	})
	began = time.Now()
	a.release("6.0.2")
	a.awaitOutcome(v1beta1.PhaseFailed)
	drained("rollback", began)
	requests.wantNoFailure("from the adoption to the end", before)
}
