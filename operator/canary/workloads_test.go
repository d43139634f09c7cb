package canary

import (
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/primaries"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/targets"
	"github.com/sluice-delivery/sluice/operator/workload"
	ground "github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers"
)

// What has the name of a primary and is somebody's own must not be overwritten;
// what was made for a Canary is taken over, whoever made it.
func TestForeignPrimary(t *testing.T) {
	controlledBy := func(name string) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) {
			d.OwnerReferences = []metav1.OwnerReference{formerOwner(newCanary(name).Canary)}
		}
	}
	markedFor := func(name string) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) { ownership.For(newCanary(name).Canary).Mark(d) }
	}
	for name, tc := range map[string]struct {
		change func(*appsv1.Deployment)
		want   []string // in the mistake; nil: it is taken over
	}{
		"somebody's own":      {change: func(*appsv1.Deployment) {}, want: []string{"Deployment podinfo-primary", "was not made for a Canary", "rename or delete it"}},
		"of this Canary":      {change: controlledBy("podinfo")},
		"of another Canary":   {change: controlledBy("other"), want: []string{"belongs to Canary other"}},
		"marked for another":  {change: markedFor("other"), want: []string{"belongs to Canary other"}},
		"marked for this one": {change: markedFor("podinfo")},
		"of one that is gone": {change: markedFor("gone")},
		"orphaned by Sluice":  {change: func(d *appsv1.Deployment) { d.Annotations = map[string]string{workload.RevisionAnnotation: "s0-old"} }},
		"orphaned by Flagger": {change: func(d *appsv1.Deployment) { d.Spec.Template.Annotations = map[string]string{"flagger-id": "1f0e"} }},
	} {
		t.Run(name, func(t *testing.T) {
			primary := newTarget()
			primary.Name, primary.UID = "podinfo-primary", "uid-of-primary"
			primary.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "podinfo-primary"}}
			primary.Spec.Template.Labels = map[string]string{"app": "podinfo-primary"}
			tc.change(primary)
			other := newCanary("other").with(func(spec *v1beta1.CanarySpec) { spec.TargetRef.Name = "another" })
			s := newScene(t, newCanary("podinfo").Canary, newTarget(), primary, other.Canary)
			s.rollOut()
			if tc.want == nil {
				s.settleFully()
				if phase := s.now().Status.Phase; phase != v1beta1.PhaseInitialized {
					t.Errorf("phase %s: %v", phase, s.sent())
				}
				if got := s.deployment("podinfo-primary"); ownership.CanaryOf(got) != "podinfo" || len(got.OwnerReferences) > 0 {
					t.Errorf("it is not marked: %+v", got.ObjectMeta)
				}
				return
			}
			s.settle()
			if got, want := s.condition(v1beta1.ConditionStalled), "True "+ground.ReasonConflict; got != want {
				t.Errorf("Stalled is %q, want %q", got, want)
			}
			sent := strings.Join(s.sent(), "\n")
			for _, want := range tc.want {
				if !strings.Contains(sent, want) {
					t.Errorf("events %q lack %q", sent, want)
				}
			}
			s.delete()
			s.settleFully()
			if !s.gone() {
				t.Error("the Canary can't be deleted")
			}
			if writes := s.worldWrites(); len(writes) > 0 {
				t.Errorf("writes: %v", writes)
			}
		})
	}
}

// A target that can't be released is told of, and nothing is touched.
func TestUnsupportedTarget(t *testing.T) {
	template := newTarget().Spec
	meta := newTarget().ObjectMeta
	for name, tc := range map[string]struct {
		kind   string
		target client.Object
		reason string
		want   string // in the event
	}{
		"DaemonSet that replaces no pods": {
			kind: "DaemonSet", reason: primaries.ReasonTargetUnsupported, want: "spec.updateStrategy.type",
			target: &appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{
				Selector: template.Selector, Template: template.Template,
				UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType},
			}},
		},
		"StatefulSet in partitions": {
			kind: "StatefulSet", reason: primaries.ReasonTargetUnsupported, want: "partition",
			target: &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{
				Selector: template.Selector, Template: template.Template,
				UpdateStrategy: appsv1.StatefulSetUpdateStrategy{RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32(1))}},
			}},
		},
		"another kind of that name": {kind: "StatefulSet", reason: targets.ReasonTargetMissing, want: "no StatefulSet podinfo", target: newTarget()},
		"kind that is no workload":  {kind: "Job", reason: ground.ReasonInvalidSpec, want: "Deployment, DaemonSet, StatefulSet, Service", target: newTarget()},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanary("podinfo").with(func(spec *v1beta1.CanarySpec) { spec.TargetRef.Kind = tc.kind })
			s := newScene(t, c.Canary, tc.target)
			s.settle()
			if got, want := s.condition(v1beta1.ConditionStalled), "True "+tc.reason; got != want {
				t.Errorf("Stalled is %q, want %q", got, want)
			}
			if sent := strings.Join(s.sent(), "\n"); !strings.Contains(sent, tc.want) {
				t.Errorf("events %q lack %q", sent, tc.want)
			}
			if writes := s.worldWrites(); len(writes) > 0 {
				t.Errorf("writes: %v", writes)
			}
		})
	}
}

// A drain that was decided before the user's next release must not take its pods.
func TestDrainOfAnOlderState(t *testing.T) {
	s := newInitialized(t)
	observed := func() *targets.Share {
		t.Helper()
		share, err := s.reconciler.Targets.Observe(t.Context(), ground.New(release.Observation{Canary: s.now()}))
		if err != nil {
			t.Fatal(err)
		}
		return share
	}
	drained := release.Desired{TargetReplicas: new(int32(0))}
	scaleTo(s, "podinfo", 2)
	before := observed() // when the drain was decided
	s.release("podinfo:6.0.1")
	if err := before.Apply(t.Context(), drained); !errors.Is(err, ground.ErrChanged) {
		t.Errorf("error %v", err)
	}
	if got := *s.deployment("podinfo").Spec.Replicas; got != 2 {
		t.Errorf("the new release has %d pods", got)
	}
	if err := observed().Apply(t.Context(), drained); err != nil {
		t.Errorf("what is up to date is not drained: %v", err)
	}
	if got := *s.deployment("podinfo").Spec.Replicas; got != 0 {
		t.Errorf("after the drain it has %d pods", got)
	}
}

// An annotation of the Canary that the primary's pods depend on comes to them at once,
// not at the operator's next restart.
func TestPrimaryFollowsTheCanarysAnnotations(t *testing.T) {
	s := newScene(t, newCanary("podinfo").Canary, newTarget())
	s.reconciler.Options.MeshProvider, s.reconciler.Provider = v1beta1.ProviderConsul, v1beta1.ProviderConsul
	s.reconciler.Router = func(string) (providers.Router, error) { return s.router, nil }
	s.rollOut()
	s.settleFully()
	edit(s, s.now(), func(c *v1beta1.Canary) {
		c.Annotations = map[string]string{workload.ConsulAccountAnnotation: "podinfo-primary"}
	})
	s.settleFully()
	if got := s.deployment("podinfo-primary").Spec.Template.Spec.ServiceAccountName; got != "podinfo-primary" {
		t.Errorf("the primary's pods have account %q", got)
	}
}
