package canary

import (
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
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
				s.rest()
				if phase := s.now().Status.Phase; phase != v1beta1.PhaseInitialized {
					t.Errorf("phase %s: %v", phase, s.told())
				}
				if got := s.deployment("podinfo-primary"); ownership.CanaryOf(got) != "podinfo" || len(got.OwnerReferences) > 0 {
					t.Errorf("it is not marked: %+v", got.ObjectMeta)
				}
				return
			}
			s.settle()
			if got, want := s.condition(v1beta1.ConditionStalled), "True "+reasonConflict; got != want {
				t.Errorf("Stalled is %q, want %q", got, want)
			}
			told := strings.Join(s.told(), "\n")
			for _, want := range tc.want {
				if !strings.Contains(told, want) {
					t.Errorf("events %q lack %q", told, want)
				}
			}
			s.delete()
			s.rest()
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
			kind: "DaemonSet", reason: reasonTargetUnsupported, want: "spec.updateStrategy.type",
			target: &appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{
				Selector: template.Selector, Template: template.Template,
				UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType},
			}},
		},
		"StatefulSet in partitions": {
			kind: "StatefulSet", reason: reasonTargetUnsupported, want: "partition",
			target: &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{
				Selector: template.Selector, Template: template.Template,
				UpdateStrategy: appsv1.StatefulSetUpdateStrategy{RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32(1))}},
			}},
		},
		"another kind of that name": {kind: "StatefulSet", reason: reasonTargetMissing, want: "no StatefulSet podinfo", target: newTarget()},
		"kind that is no workload":  {kind: "Job", reason: reasonInvalidSpec, want: "Deployment, DaemonSet, StatefulSet, Service", target: newTarget()},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanary("podinfo").with(func(spec *v1beta1.CanarySpec) { spec.TargetRef.Kind = tc.kind })
			s := newScene(t, c.Canary, tc.target)
			s.settle()
			if got, want := s.condition(v1beta1.ConditionStalled), "True "+tc.reason; got != want {
				t.Errorf("Stalled is %q, want %q", got, want)
			}
			if told := strings.Join(s.told(), "\n"); !strings.Contains(told, tc.want) {
				t.Errorf("events %q lack %q", told, tc.want)
			}
			if writes := s.worldWrites(); len(writes) > 0 {
				t.Errorf("writes: %v", writes)
			}
		})
	}
}

func TestScaleTarget(t *testing.T) {
	target := newTarget()
	daemons := &appsv1.DaemonSet{ObjectMeta: target.ObjectMeta, Spec: appsv1.DaemonSetSpec{Selector: target.Spec.Selector, Template: target.Spec.Template}}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"}}
	s := newScene(t, newCanary("podinfo").Canary, daemons, service)
	read := func() *appsv1.DaemonSet {
		t.Helper()
		d := &appsv1.DaemonSet{}
		if err := s.api.Get(t.Context(), client.ObjectKeyFromObject(daemons), d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	scale := func(o client.Object, to *int32) {
		t.Helper()
		if err := s.reconciler.scaleTarget(t.Context(), o, to); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		to   *int32
		want int32
	}{{nil, 1}, {new(int32), 0}, {new(int32), 0}, {new(int32(3)), 1}, {new(int32(5)), 1}} {
		scale(read(), tc.to)
		if got := workload.Replicas(read()); got != tc.want {
			t.Errorf("scaled to %v it asks for %d pods, want %d", tc.to, got, tc.want)
		}
	}
	if len(s.writes) != 2 {
		t.Errorf("writes %v, want one to sleep and one to wake", s.writes)
	}
	scale(service, new(int32))
	if len(s.writes) != 2 {
		t.Errorf("writes %v: a Service is not scaled", s.writes)
	}

	before, now := read(), read()
	now.Spec.Template.Spec.Containers[0].Image = "podinfo:6.0.1"
	if err := s.api.Update(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if err := s.reconciler.scaleTarget(t.Context(), before, new(int32(0))); !errors.Is(err, errConflict) {
		t.Errorf("drain of the state before a release: error %v", err)
	}
	if got := workload.Replicas(read()); got != 1 {
		t.Errorf("a release that began after its drain was decided has %d pods", got)
	}
}

// The kinds that no Canary has cost no cache.
func TestKindWatches(t *testing.T) {
	var begun []string
	fail := errors.New("not yet")
	k := &kindWatches{watched: map[string]bool{"Deployment": true}, begin: func(o client.Object) error {
		begun = append(begun, workload.Kind(o))
		return fail
	}}
	if err := k.watch(&appsv1.Deployment{}); err != nil || len(begun) != 0 {
		t.Errorf("begun %v, error %v", begun, err)
	}
	if err := k.watch(&appsv1.DaemonSet{}); !errors.Is(err, fail) {
		t.Errorf("error %v", err)
	}
	fail = nil
	for range 3 {
		if err := k.watch(&appsv1.DaemonSet{}); err != nil {
			t.Error(err)
		}
	}
	if len(begun) != 2 {
		t.Errorf("begun %v, want it tried again once", begun)
	}
}

// A drain that was decided before the user's next release must not take its pods.
func TestDrainOfAnOlderState(t *testing.T) {
	s := newInitialized(t)
	before := s.deployment("podinfo")
	before.Spec.Replicas = new(int32(2)) // as the cache had it when the drain was decided
	s.release("podinfo:6.0.1")
	s.rollOut()
	now := s.deployment("podinfo")
	now.Spec.Replicas = new(int32(2))
	if err := s.api.Update(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if err := s.reconciler.scaleTarget(t.Context(), before, new(int32(0))); !errors.Is(err, errConflict) {
		t.Errorf("error %v", err)
	}
	if got := *s.deployment("podinfo").Spec.Replicas; got != 2 {
		t.Errorf("the new release has %d pods", got)
	}
	if err := s.reconciler.scaleTarget(t.Context(), s.deployment("podinfo"), new(int32(0))); err != nil {
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
	s.rest()
	edit(s, s.now(), func(c *v1beta1.Canary) {
		c.Annotations = map[string]string{workload.ConsulAccountAnnotation: "podinfo-primary"}
	})
	s.rest()
	if got := s.deployment("podinfo-primary").Spec.Template.Spec.ServiceAccountName; got != "podinfo-primary" {
		t.Errorf("the primary's pods have account %q", got)
	}
}
