package targets

import (
	"errors"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

func newCanary(kind string) *v1beta1.Canary {
	return &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: "uid-of-podinfo"},
		Spec:       v1beta1.CanarySpec{TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: kind, Name: "podinfo"}},
	}
}

func newTarget() *appsv1.Deployment {
	labels := map[string]string{"app": "podinfo"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: "uid-of-target", Generation: 1},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(2)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "podinfod", Image: "podinfo:1"}}},
			},
		},
	}
}

func TestRememberedRevision(t *testing.T) {
	part := &Targets{}
	c := newCanary("Deployment")
	revision := func(image string, generation int64, uid string) string {
		target := newTarget()
		target.Generation = generation
		target.UID = types.UID(uid)
		target.Spec.Template.Spec.Containers[0].Image = image
		got, err := part.revision(c, target)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := revision("podinfo:1", 1, "a")
	// A generation has one template, so this image is never looked at.
	if got := revision("podinfo:2", 1, "a"); got != first {
		t.Errorf("the same generation gave %s, then %s", first, got)
	}
	if got := revision("podinfo:2", 2, "a"); got == first {
		t.Error("another generation gave the same revision")
	}
	if got := revision("podinfo:3", 2, "b"); got == first {
		t.Error("another Deployment of that name gave the same revision")
	}
	if part.Size() != 1 {
		t.Errorf("%d Canaries are remembered", part.Size())
	}
	part.Forget(client.ObjectKeyFromObject(c))
	if part.Size() != 0 {
		t.Error("one that is gone is remembered")
	}
}

// A DaemonSet has no number of pods: it sleeps and wakes. A Service is not scaled at all.
func TestScale(t *testing.T) {
	target := newTarget()
	daemons := &appsv1.DaemonSet{ObjectMeta: target.ObjectMeta, Spec: appsv1.DaemonSetSpec{Selector: target.Spec.Selector, Template: target.Spec.Template}}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"}}
	api := fakeclient.NewClientBuilder().WithObjects(daemons, service).Build()
	part := &Targets{Client: api, Applier: ssa.New(api)}
	observed := func(kind string) *Share {
		t.Helper()
		share, err := part.Observe(t.Context(), world.New(release.Observation{Canary: newCanary(kind)}))
		if err != nil {
			t.Fatal(err)
		}
		return share
	}
	read := func(into client.Object) string {
		t.Helper()
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(daemons), into); err != nil {
			t.Fatal(err)
		}
		return into.GetResourceVersion()
	}
	for _, tc := range []struct {
		to     *int32
		want   int32
		writes bool
	}{
		{to: nil, want: 1}, {to: new(int32), writes: true}, {to: new(int32)}, {to: new(int32(3)), want: 1, writes: true}, {to: new(int32(5)), want: 1},
	} {
		before := read(&appsv1.DaemonSet{})
		if err := observed("DaemonSet").Apply(t.Context(), release.Desired{TargetReplicas: tc.to}); err != nil {
			t.Fatal(err)
		}
		now := &appsv1.DaemonSet{}
		if wrote := read(now) != before; wrote != tc.writes || workload.Replicas(now) != tc.want {
			t.Errorf("scaled to %v it asks for %d pods, want %d; written %t", tc.to, workload.Replicas(now), tc.want, wrote)
		}
	}
	before := read(&corev1.Service{})
	if err := observed("Service").Apply(t.Context(), release.Desired{TargetReplicas: new(int32)}); err != nil || read(&corev1.Service{}) != before {
		t.Errorf("a Service is scaled, error %v", err)
	}

	old, now := observed("DaemonSet"), &appsv1.DaemonSet{}
	read(now)
	now.Spec.Template.Spec.Containers[0].Image = "podinfo:6.0.1"
	if err := api.Update(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if err := old.Apply(t.Context(), release.Desired{TargetReplicas: new(int32)}); !errors.Is(err, world.ErrChanged) {
		t.Errorf("drain of the state before a release: error %v", err)
	}
	if read(now); workload.Replicas(now) != 1 {
		t.Errorf("a release that began after its drain was decided has %d pods", workload.Replicas(now))
	}
}

// What was made for a Canary is no workload of a user's.
func TestTargetThatWasMadeForACanary(t *testing.T) {
	for name, tc := range map[string]struct {
		annotations map[string]string
		owners      []metav1.OwnerReference
		wrong       bool
	}{
		"a user's":             {},
		"a primary":            {annotations: map[string]string{ownership.Annotation: "podinfo"}, wrong: true},
		"a primary of another": {annotations: map[string]string{ownership.Annotation: "other"}, wrong: true},
		"Flagger's":            {owners: []metav1.OwnerReference{{APIVersion: "flagger.app/v1beta1", Kind: "Canary", Name: "podinfo", UID: "x"}}, wrong: true},
	} {
		t.Run(name, func(t *testing.T) {
			target := newTarget()
			target.Annotations, target.OwnerReferences = tc.annotations, tc.owners
			api := fakeclient.NewClientBuilder().WithObjects(target).Build()
			part := &Targets{Client: api, Live: api, Applier: ssa.New(api)}
			w := world.New(release.Observation{Canary: newCanary("Deployment")})
			_, err := part.Observe(t.Context(), w)
			if wrong := world.AsMistake(err) != nil; wrong != tc.wrong || (w.TargetObject == nil) != tc.wrong {
				t.Errorf("error %v, observed %t", err, w.TargetObject != nil)
			}
		})
	}
}

// The API server tells whether the pods of a target are still those that the cache shows.
func TestUnchanged(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*appsv1.Deployment) // nil: it is deleted
		want   bool
	}{
		"nothing":     {func(*appsv1.Deployment) {}, true},
		"its number":  {func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(7)) }, true},
		"its pods":    {func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "podinfo:2" }, false},
		"it is new":   {func(d *appsv1.Deployment) { d.UID = "another" }, false},
		"it was lost": {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := fakeclient.NewClientBuilder()
			if tc.change != nil {
				now := newTarget()
				tc.change(now)
				b.WithObjects(now)
			}
			part := &Targets{Live: b.Build()}
			if same, err := part.Unchanged(t.Context(), newTarget()); err != nil || same != tc.want {
				t.Errorf("%t, error %v", same, err)
			}
		})
	}
}
