package canary

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// What scales the primary at rest is nobody else's business.
func TestPrimaryIsNotWrittenWhenItIsScaled(t *testing.T) {
	s := newInitialized(t)
	for n := range int32(3) {
		scaleTo(s, "podinfo-primary", 3+n)
		s.rollOut()
		s.settleFully()
	}
	if writes := s.worldWrites(); len(writes) > 0 {
		t.Errorf("writes: %v", writes)
	}
}

// A write for another reason does not put back what was scaled since the primary was read.
func TestPrimaryKeepsWhatWasScaledMeanwhile(t *testing.T) {
	s := newInitialized(t)
	edit(s, s.deployment("podinfo"), func(d *appsv1.Deployment) { d.Labels = map[string]string{"app.example/team": "a"} })
	s.reconciler.Options.IncludeLabelPrefixes = []string{"app.example/"}
	s.restartProcess()
	scaled := false
	s.applyError = func(kind string) error {
		if kind == "Deployment" && !scaled {
			scaled = true
			scaleTo(s, "podinfo-primary", 20)
		}
		return nil
	}
	s.settleFully()
	primary := s.deployment("podinfo-primary")
	if !scaled || *primary.Spec.Replicas != 20 {
		t.Errorf("the primary was scaled to 20 pods (%t) and has %d", scaled, *primary.Spec.Replicas)
	}
	if primary.Labels["app.example/team"] != "a" {
		t.Errorf("labels of the primary: %v", primary.Labels)
	}
}

// A primary that is lost has as many pods again.
func TestLostPrimaryComesBackAsItWas(t *testing.T) {
	s := newInitialized(t)
	scaleTo(s, "podinfo-primary", 10)
	s.rollOut()
	s.settleFully()
	s.remove(s.deployment("podinfo-primary"))
	s.reconciler.Applier = ssa.New(s.reconciler.Client) // the fake server counts versions from 1 again
	s.restartProcess()
	s.settleFully()
	if n := *s.deployment("podinfo-primary").Spec.Replicas; n != 10 {
		t.Errorf("the primary has %d pods, it had 10", n)
	}
}

// Without an autoscaler the number of pods is part of what is released.
func TestReleaseOfFewerPods(t *testing.T) {
	target := newTarget()
	target.Spec.Replicas = new(int32(6))
	s := newScene(t, newCanary("podinfo").Canary, target)
	s.rollOut()
	s.settleFully()
	edit(s, s.deployment("podinfo"), func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Image, d.Spec.Replicas = "podinfo:2", new(int32(3))
	})
	s.phases()
	s.settleFully()
	if got := s.now().Status.Phase; got != v1beta1.PhaseSucceeded {
		t.Fatalf("phase %s, events %q", got, s.sent())
	}
	if n := *s.deployment("podinfo-primary").Spec.Replicas; n != 3 {
		t.Errorf("the primary has %d pods, the target asked for 3", n)
	}
}
