package primaries

import (
	"context"
	"errors"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// workloads are those of a test: what the API server has of the target is what the test says.
type workloads struct {
	client.Reader

	changed bool
	asked   int
}

func (w *workloads) Read(ctx context.Context, c *v1beta1.Canary, name string) (client.Object, error) {
	d := &appsv1.Deployment{}
	if err := w.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: name}, d); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return d, nil
}

func (w *workloads) Watched(string) bool { return true }

func (w *workloads) Unchanged(context.Context, client.Object) (bool, error) {
	w.asked++
	return !w.changed, nil
}

// copies are those of a target whose pods read nothing.
type copies struct{}

func (copies) Sourced(_ context.Context, primary client.Object) (client.Object, error) {
	return primary, nil
}
func (copies) Use(*corev1.PodTemplateSpec, string) string { return "" }

type bounds struct{}

func (bounds) PrimaryReplicas(n, _ int32) (int32, error) { return n, nil }

// The primary gets no revision of a target that is another one by now: the pods that were judged may have been that one's. The
// API server is asked only then.
func TestPromotionOfAChangedTarget(t *testing.T) {
	target := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: "uid-of-target", Generation: 1},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(2)),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "podinfo"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "podinfo"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "podinfod", Image: "podinfo:1"}}},
			},
		},
	}
	api := fakeclient.NewClientBuilder().Build()
	all := &workloads{Reader: api}
	part := &Primaries{Client: api, Applier: ssa.New(api), Options: workload.Options{SelectorLabels: []string{"app"}}, Workloads: all}
	apply := func() error {
		t.Helper()
		w := world.New(release.Observation{Canary: &v1beta1.Canary{
			ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: "uid"},
			Spec:       v1beta1.CanarySpec{TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"}},
		}})
		revision, err := workload.Revision(target)
		if err != nil {
			t.Fatal(err)
		}
		w.TargetObject, w.Target, w.Copies, w.Bounds = target, workload.Observe(target, revision, 100), copies{}, bounds{}
		share, err := part.Observe(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		return share.Apply(t.Context(), release.Desired{PrimaryRevision: revision})
	}
	image := func() string {
		t.Helper()
		primary := &appsv1.Deployment{}
		if err := api.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: "podinfo-primary"}, primary); err != nil {
			t.Fatal(err)
		}
		return primary.Spec.Template.Spec.Containers[0].Image
	}
	for _, step := range []struct {
		name, image string
		changed     bool
		want        string
		asked       int
		refused     bool
	}{
		{"the first", "podinfo:1", true, "podinfo:1", 0, false},
		{"the same once more", "podinfo:1", true, "podinfo:1", 0, false},
		{"a promotion of what is another by now", "podinfo:2", true, "podinfo:1", 1, true},
		{"a promotion", "podinfo:2", false, "podinfo:2", 2, false},
		{"the same after it", "podinfo:2", true, "podinfo:2", 2, false},
	} {
		if target.Spec.Template.Spec.Containers[0].Image != step.image {
			target.Spec.Template.Spec.Containers[0].Image = step.image
			target.Generation++
		}
		all.changed = step.changed
		if err := apply(); errors.Is(err, world.ErrChanged) != step.refused || err != nil && !step.refused {
			t.Fatalf("%s: error %v", step.name, err)
		}
		if got := image(); got != step.want || all.asked != step.asked {
			t.Errorf("%s: the primary has %s, asked %d times; want %s, %d times", step.name, got, all.asked, step.want, step.asked)
		}
	}
}
