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
