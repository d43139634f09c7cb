package primaries

import (
	"context"
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// deployment has pods of an image, and a revision where it is a primary.
func deployment(name, image, revision string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name, UID: "uid-of-primary", Generation: 1},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "podinfod", Image: image}}},
			},
		},
	}
	if revision != "" {
		d.Annotations = map[string]string{workload.RevisionAnnotation: revision}
	}
	return d
}

// stored is a ReplicaSet in which a template of a Deployment is kept.
func stored(of *appsv1.Deployment, number, revision, image string) *appsv1.ReplicaSet {
	s := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
		Namespace: "test", Name: of.Name + "-" + number, Labels: of.Spec.Selector.MatchLabels,
		Annotations:     map[string]string{"deployment.kubernetes.io/revision": number, workload.RevisionAnnotation: revision},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: of.Name, UID: of.UID, Controller: new(true)}},
	}}
	s.Spec.Template = *of.Spec.Template.DeepCopy()
	s.Spec.Template.Spec.Containers[0].Image = image
	return s
}

// TestRestore gives a primary what is stored of it, once, and leaves its number of pods and its strategy as they are by now.
func TestRestore(t *testing.T) {
	primary := deployment("podinfo-primary", "podinfo:2", "s2-b", 5)
	primary.Spec.MinReadySeconds = 7
	target := deployment("podinfo", "podinfo:2", "", 0)
	target.UID = "uid-of-target"
	lists, lost := 0, errors.New("no answer")
	var fails error
	api := interceptor.NewClient(fakeclient.NewClientBuilder().WithObjects(
		primary, stored(primary, "1", "s2-a", "podinfo:1"), stored(primary, "2", "s2-b", "podinfo:2"),
	).Build(), interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
		lists++
		if fails != nil {
			return fails
		}
		return c.List(ctx, list, opts...)
	}})
	part := &Primaries{
		Client: api, Live: api, Applier: ssa.New(api), Options: workload.Options{SelectorLabels: []string{"app"}}, Workloads: &workloads{Reader: api},
	}
	turn := func(asked ...release.Action) (*Share, *world.World) {
		t.Helper()
		w := world.New(release.Observation{Canary: &v1beta1.Canary{
			ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: "uid"},
			Spec:       v1beta1.CanarySpec{TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"}},
		}, Actions: asked})
		w.TargetObject, w.Target, w.Copies, w.Bounds = target, workload.Observe(target, "s2-b", 100), copies{}, bounds{}
		share, err := part.Observe(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		return share, w
	}
	is := func() *appsv1.Deployment {
		t.Helper()
		d := &appsv1.Deployment{}
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(primary), d); err != nil {
			t.Fatal(err)
		}
		return d
	}

	for name, tc := range map[string]struct {
		asked release.Action
		want  string
		lists int
	}{
		"kept":           {release.Action{Type: v1beta1.ActionRollback, To: "s2-a"}, "", 1},
		"not kept":       {release.Action{Type: v1beta1.ActionRollback, To: "s2-0"}, "no template of that revision is kept of podinfo-primary; there are those of s2-a", 1},
		"another action": {release.Action{Type: v1beta1.ActionPause}, "", 0},
	} {
		lists = 0
		share, w := turn(tc.asked)
		if err := share.ObserveStored(t.Context()); err != nil || w.Actions[0].Unavailable != tc.want || lists != tc.lists {
			t.Errorf("%s: %q, error %v, %d lists", name, w.Actions[0].Unavailable, err, lists)
		}
	}
	fails = lost
	share, w := turn(release.Action{Type: v1beta1.ActionPause}, release.Action{Type: v1beta1.ActionRollback, To: "s2-a"})
	if err := share.ObserveStored(t.Context()); !errors.Is(err, lost) || len(w.Actions) != 1 {
		t.Errorf("what is not known is decided on: %+v, error %v", w.Actions, err)
	}
	if err := share.Apply(t.Context(), release.Desired{StoredRevision: "s2-a"}); !errors.Is(err, lost) {
		t.Errorf("got error %v", err)
	}
	fails = nil
	if err := share.Apply(t.Context(), release.Desired{StoredRevision: "s2-0"}); err == nil || !strings.Contains(err.Error(), "s2-0 is not kept any more") {
		t.Errorf("got error %v", err)
	}
	if got := is(); got.Spec.Template.Spec.Containers[0].Image != "podinfo:2" {
		t.Errorf("the primary has %s", got.Spec.Template.Spec.Containers[0].Image)
	}

	if err := share.Apply(t.Context(), release.Desired{StoredRevision: "s2-a"}); err != nil {
		t.Fatal(err)
	}
	got := is()
	if got.Spec.Template.Spec.Containers[0].Image != "podinfo:1" || got.Annotations[workload.RevisionAnnotation] != "s2-a" {
		t.Errorf("the primary has %s of %s", got.Spec.Template.Spec.Containers[0].Image, got.Annotations[workload.RevisionAnnotation])
	}
	if *got.Spec.Replicas != 5 || got.Spec.MinReadySeconds != 7 {
		t.Errorf("the primary has %d pods and minReadySeconds %d", *got.Spec.Replicas, got.Spec.MinReadySeconds)
	}
	version := got.ResourceVersion
	lists = 0
	share, _ = turn()
	if err := share.Apply(t.Context(), release.Desired{StoredRevision: "s2-a"}); err != nil || is().ResourceVersion != version || lists != 0 {
		t.Errorf("it is done again: error %v, %d lists", err, lists)
	}

	for _, s := range []string{"1", "2"} {
		if err := api.Delete(t.Context(), &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo-primary-" + s}}); err != nil {
			t.Fatal(err)
		}
	}
	share, w = turn(release.Action{Type: v1beta1.ActionRollback, To: "s2-b"})
	if err := share.ObserveStored(t.Context()); err != nil || !strings.Contains(w.Actions[0].Unavailable, "spec.revisionHistoryLimit of podinfo") {
		t.Errorf("%q, error %v", w.Actions[0].Unavailable, err)
	}
}
