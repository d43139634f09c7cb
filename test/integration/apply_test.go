package integration

import (
	"context"
	"errors"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/providers/ssa"
)

func testApply(t *testing.T, e *environment) {
	t.Run("only differences are sent", func(t *testing.T) { testApplyQuiet(t, e) })
	t.Run("a field of a user's object", func(t *testing.T) { testApplyPartial(t, e) })
}

// deployment has fields that the server completes in every place it can.
func deployment(namespace, image string) *appsv1.Deployment {
	labels := map[string]string{"app": app}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: app, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(1)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					Volumes: []corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
					Containers: []corev1.Container{{
						Name: app, Image: image,
						Ports:          []corev1.ContainerPort{{Name: "http", ContainerPort: 80}},
						Env:            []corev1.EnvVar{{Name: "EMPTY"}},
						ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(80)}}},
					}},
				},
			},
		},
	}
}

// testApplyQuiet counts what is sent on the way from one intent to the next,
// and what a new operator, which has no memory, sends after it.
func testApplyQuiet(t *testing.T, e *environment) {
	namespace := e.namespace(t)
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: app},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, Selector: map[string]string{"app": app},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(80)}},
		},
	}
	withoutEnv := deployment(namespace, "podinfo:2")
	withoutEnv.Spec.Template.Spec.Containers[0].Env = nil
	c, writes := e.counting()
	applier := ssa.New(c)
	for _, step := range []struct {
		name   string
		object client.Object
		want   int64
	}{
		{"create", deployment(namespace, "podinfo:1"), 1},
		{"again", deployment(namespace, "podinfo:1"), 0},
		{"another image", deployment(namespace, "podinfo:2"), 1},
		{"a field less", withoutEnv, 1},
		{"create a service", service, 1},
		{"the service again", service, 0},
	} {
		before := writes.Load()
		await(t, step.name, func(ctx context.Context) error {
			if err := applier.Apply(ctx, step.object); err != nil {
				return err
			}
			same, err := applier.InSync(ctx, step.object)
			if err == nil && !same {
				err = errors.New("not in sync")
			}
			return err
		})
		if err := ssa.New(c).Apply(t.Context(), step.object); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if n := writes.Load() - before; n != step.want {
			t.Errorf("%s: %d writes, want %d", step.name, n, step.want)
		}
	}
	var live appsv1.Deployment
	e.read(t, namespace, app, &live)
	if env := live.Spec.Template.Spec.Containers[0].Env; len(env) != 0 {
		t.Errorf("a field that the intent has lost is still there: %v", env)
	}
}

// testApplyPartial sets one field of an object of a user's.
func testApplyPartial(t *testing.T, e *environment) {
	users := deployment(e.namespace(t), "podinfo:1")
	e.create(t, users)
	replicas := func(n int64) *unstructured.Unstructured {
		u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"replicas": n}}}
		u.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("Deployment"))
		u.SetNamespace(users.Namespace)
		u.SetName(users.Name)
		return u
	}
	c, writes := e.counting()
	applier := ssa.New(c)
	for range 2 { // the second is known to be on its way
		if err := applier.ApplyPartial(t.Context(), replicas(0), users); err != nil {
			t.Fatal(err)
		}
	}
	if n := writes.Load(); n != 1 {
		t.Errorf("%d writes, want 1", n)
	}
	var live appsv1.Deployment
	e.read(t, users.Namespace, users.Name, &live)
	if *live.Spec.Replicas != 0 || live.Spec.Template.Spec.Containers[0].Image != "podinfo:1" {
		t.Errorf("it is now %+v", live.Spec)
	}
	if applier.Observed(users) || !applier.Observed(&live) {
		t.Errorf("observed as it was: %t, as it is: %t", applier.Observed(users), applier.Observed(&live))
	}

	if err := e.live.Delete(t.Context(), &live); err != nil {
		t.Fatal(err)
	}
	if err := ssa.New(c).ApplyPartial(t.Context(), replicas(3), users); !apierrors.IsConflict(err) {
		t.Errorf("apply to an object that is gone: %v", err)
	}
	if err := e.live.Get(t.Context(), client.ObjectKeyFromObject(users), &live); !apierrors.IsNotFound(err) {
		t.Errorf("it was created again: %v", err)
	}
}
