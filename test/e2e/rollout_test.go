package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/rig"
)

// begin brings up an app that nobody calls, with a Canary as edit has it, and
// gives the history of what follows.
func begin(t *testing.T, namespace string, edit func(*v1beta1.Canary)) (*app, *rig.History) {
	t.Helper()
	a := newApp(t, namespace)
	a.deploy()
	a.apply(func(c *v1beta1.Canary) {
		quick(c)
		edit(c)
	})
	a.awaitPhase(v1beta1.PhaseInitialized)
	h, err := a.Watch(t.Context())
	a.must(err)
	return a, h
}

func wantWeights(t *testing.T, h *rig.History, want ...int32) {
	t.Helper()
	if diff := cmp.Diff(want, rig.Weights(moments(t, h))); diff != "" {
		t.Errorf("weights (-want +got):\n%s", diff)
	}
}

func wantPhases(t *testing.T, h *rig.History, want ...v1beta1.CanaryPhase) {
	t.Helper()
	if diff := cmp.Diff(want, rig.Phases(moments(t, h))); diff != "" {
		t.Errorf("phases (-want +got):\n%s", diff)
	}
}

// moments are the statuses that the Canary has had up to now.
func moments(t *testing.T, h *rig.History) []rig.Moment {
	t.Helper()
	out, err := h.Moments(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (a *app) wantPrimary(version string) {
	a.t.Helper()
	if got := image(get[appsv1.Deployment](a, primaryName)); got != version {
		a.t.Errorf("the primary runs %s, want %s", got, version)
	}
}

func TestNewRevisionInMidAnalysis(t *testing.T) {
	t.Parallel()
	a, h := begin(t, "mid-analysis", func(c *v1beta1.Canary) {
		c.Spec.Analysis.Interval = "4s"
		c.Spec.Analysis.StepWeight = 25
	})
	a.release("6.0.1")
	a.awaitWeight(50)
	a.release("6.0.2")
	a.awaitEvent(rig.Name, "NewRevision", "Analysis starts anew", "podinfo:6.0.0 -> podinfo:6.0.2")
	a.awaitPhase(v1beta1.PhaseSucceeded)
	wantWeights(t, h, 0, 25, 50, 0, 25, 50, 0)
	a.wantPrimary("6.0.2")
	if n := a.canary().Status.FailedChecks; n != 0 {
		t.Errorf("%d failed checks, want none", n)
	}
}

func TestRevertInMidAnalysis(t *testing.T) {
	t.Parallel()
	a, h := begin(t, "revert", func(c *v1beta1.Canary) { c.Spec.Analysis.Interval = "4s" })
	before := get[appsv1.Deployment](a, primaryName)
	a.release("6.0.1")
	a.awaitWeight(10)
	a.release("6.0.0")
	a.awaitEvent(rig.Name, "Reverted", "no analysis is needed")
	a.awaitPhase(v1beta1.PhaseSucceeded)
	a.awaitDrained()
	wantWeights(t, h, 0, 10, 0)
	if now := get[appsv1.Deployment](a, primaryName); now.Generation != before.Generation {
		t.Errorf("the primary was touched:\n%s", cmp.Diff(before.Spec, now.Spec))
	}
}

func TestSuspend(t *testing.T) {
	t.Parallel()
	a, h := begin(t, "suspend", func(c *v1beta1.Canary) {
		c.Spec.Analysis.Interval = "3s"
		c.Spec.Analysis.StepWeight = 25
	})
	suspend := func(is bool) { a.edit(func(c *v1beta1.Canary) { c.Spec.Suspend = is }) }
	staysAt := func(phase v1beta1.CanaryPhase, weight int32) func(context.Context) error {
		return func(ctx context.Context) error {
			c, err := a.Canary(ctx)
			if err == nil && (c.Status.CanaryWeight != weight || c.Status.Phase != phase) {
				err = fmt.Errorf("it is %s with weight %d", c.Status.Phase, c.Status.CanaryWeight)
			}
			return err
		}
	}
	a.release("6.0.1")
	a.awaitWeight(25)
	suspend(true)
	a.awaitCondition(rig.Name, v1beta1.ConditionReady, corev1.ConditionFalse, "Suspended", "nothing moves until it is false")
	a.awaitEvent(rig.Name, "Suspended", "spec.suspend is true")
	a.holds("suspended in mid-analysis", 7*time.Second, staysAt(v1beta1.PhaseProgressing, 25))
	suspend(false)
	a.awaitPhase(v1beta1.PhaseSucceeded)
	wantWeights(t, h, 0, 25, 50, 0)
	a.wantPrimary("6.0.1")

	suspend(true)
	a.awaitCondition(rig.Name, v1beta1.ConditionReady, corev1.ConditionFalse, "Suspended")
	a.release("6.0.2")
	a.holds("a release while suspended", 3*time.Second, staysAt(v1beta1.PhaseSucceeded, 0))
	a.wantPrimary("6.0.1")
	suspend(false)
	a.awaitPhase(v1beta1.PhaseProgressing)
	a.awaitPhase(v1beta1.PhaseSucceeded)
	wantWeights(t, h, 0, 25, 50, 0, 25, 50, 0)
	a.wantPrimary("6.0.2")
}

func TestSkipAnalysis(t *testing.T) {
	t.Parallel()
	a, h := begin(t, "skip", func(c *v1beta1.Canary) {
		c.Spec.SkipAnalysis = true
		c.Spec.Analysis.Interval = "1h"
	})
	a.release("6.0.1")
	a.awaitPhase(v1beta1.PhaseSucceeded)
	a.awaitDrained()
	wantWeights(t, h, 0)
	a.wantPrimary("6.0.1")
	a.awaitEvent(rig.Name, "Promoting", "spec.skipAnalysis is true")
}

func TestUnreadyCanary(t *testing.T) {
	t.Parallel()
	a, h := begin(t, "unready", func(c *v1beta1.Canary) { c.Spec.ProgressDeadlineSeconds = new(int32(5)) })
	before := get[appsv1.Deployment](a, primaryName)
	d := get[appsv1.Deployment](a, rig.Name)
	broken := d.DeepCopy()
	broken.Spec.Template.Spec.Containers[0].Image = "ghcr.io/stefanprodan/podinfo:6.0.1"
	broken.Spec.Template.Spec.Containers[0].ReadinessProbe.HTTPGet.Path = "/not-there"
	a.must(a.API.Patch(t.Context(), broken, client.MergeFrom(d)))
	a.awaitPhase(v1beta1.PhaseFailed)
	wantWeights(t, h, 0)
	wantConditions(t, h)
	a.awaitEvent(rig.Name, "ProgressDeadlineExceeded", "the canary was not ready within 5s", "podinfo-primary serves all traffic")
	a.awaitCondition(rig.Name, v1beta1.ConditionStalled, corev1.ConditionTrue, "Failed", "the canary was not ready within 5s")
	a.awaitDrained()
	if now := get[appsv1.Deployment](a, primaryName); now.Generation != before.Generation {
		t.Errorf("the primary was touched:\n%s", cmp.Diff(before.Spec, now.Spec))
	}

	// The next revision is good, and gets its chance at once.
	d = get[appsv1.Deployment](a, rig.Name)
	mended := d.DeepCopy()
	mended.Spec.Template.Spec.Containers[0].Image = "ghcr.io/stefanprodan/podinfo:6.0.2"
	mended.Spec.Template.Spec.Containers[0].ReadinessProbe.HTTPGet.Path = "/readyz"
	mended.Spec.Template.Spec.Containers[0].ReadinessProbe.HTTPGet.Port = intstr.FromString("http")
	a.must(a.API.Patch(t.Context(), mended, client.MergeFrom(d)))
	a.awaitPhase(v1beta1.PhaseSucceeded)
	a.wantPrimary("6.0.2")
}

func TestStepWeights(t *testing.T) {
	t.Parallel()
	a, h := begin(t, "step-weights", func(c *v1beta1.Canary) {
		c.Spec.Analysis.StepWeight, c.Spec.Analysis.MaxWeight = 0, 0
		c.Spec.Analysis.StepWeights = []int32{1, 5, 80}
		c.Spec.Analysis.StepWeightPromotion = 30
	})
	a.release("6.0.1")
	a.awaitPhase(v1beta1.PhaseSucceeded)
	wantWeights(t, h, 0, 1, 5, 80, 50, 20, 0)
	wantConditions(t, h)
	a.wantPrimary("6.0.1")
	out, err := a.Kubectl(t.Context(), "get", "canary", rig.Name, "-o", "wide")
	a.must(err)
	if !containsAll(out, []string{"[1,5,80]"}) {
		t.Errorf("kubectl does not show the step weights:\n%s", out)
	}
}
