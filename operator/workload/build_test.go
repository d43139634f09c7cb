package workload_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// defaults are the options of an operator without flags.
var defaults = workload.Options{SelectorLabels: []string{"app", "name", "app.kubernetes.io/name"}}

// deployment builds a Deployment: by default podinfo:1 with 2 pods that is as
// ready as it can be.
type deployment struct{ *appsv1.Deployment }

func newDeployment() deployment {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: "t1", Generation: 3},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "podinfo"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels:      map[string]string{"app": "podinfo", "team": "a", "app.kubernetes.io/instance": "shop"},
					Annotations: map[string]string{"prometheus.io/scrape": "true"},
				},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name:  "podinfod",
					Image: "ghcr.io/acme/podinfo:1",
					Ports: []corev1.ContainerPort{
						{Name: "http", ContainerPort: 9898, Protocol: corev1.ProtocolTCP},
						{Name: "grpc", ContainerPort: 9999},
						{ContainerPort: 7777},
						{Name: "dns", ContainerPort: 5353, Protocol: corev1.ProtocolUDP},
					},
					Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("100m")}},
				}}},
			},
		},
	}
	return deployment{d}.pods(2)
}

// pods asks for n pods and has all of them.
func (d deployment) pods(n int32) deployment {
	d.Spec.Replicas = &n
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n, AvailableReplicas: n}
	return d
}

// status sets how many pods there are, of the present revision, and available.
func (d deployment) status(all, updated, available int32) deployment {
	d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.AvailableReplicas = all, updated, available
	return d
}

func (d deployment) condition(kind appsv1.DeploymentConditionType, status corev1.ConditionStatus) deployment {
	d.Status.Conditions = append(d.Status.Conditions, appsv1.DeploymentCondition{Type: kind, Status: status, Reason: "Because", Message: "of this"})
	return d
}

func (d deployment) image(image string) deployment {
	d.Spec.Template.Spec.Containers[0].Image = image
	return d
}

func (d deployment) selector(labels map[string]string) deployment {
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	return d
}

func (d deployment) with(change func(*appsv1.Deployment)) deployment {
	change(d.Deployment)
	return d
}

// canary builds a Canary of Deployment podinfo with port 80 to 9898.
type canary struct{ *v1beta1.Canary }

func newCanary() canary {
	return canary{&v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "release", UID: "c1"},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{Kind: "Deployment", Name: "podinfo"},
			Service:   v1beta1.CanaryService{Port: 80, TargetPort: intstr.FromInt32(9898)},
		},
	}}
}

func (c canary) service(change func(*v1beta1.CanaryService)) canary {
	change(&c.Spec.Service)
	return c
}

func revisionOf(t *testing.T, d deployment) string {
	t.Helper()
	revision, err := workload.Revision(d.Deployment)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func primaryOf(t *testing.T, target deployment, live *appsv1.Deployment, o workload.Options) *appsv1.Deployment {
	t.Helper()
	if live == nil {
		return primary(t, target.Deployment, nil, o)
	}
	return primary(t, target.Deployment, live, o)
}

// primary builds the primary of any kind of target.
func primary[T client.Object](t *testing.T, target T, live client.Object, o workload.Options) T {
	t.Helper()
	revision, err := workload.Revision(target)
	if err != nil {
		t.Fatal(err)
	}
	built, err := workload.Primary(newCanary().Canary, target, live, revision, o)
	if err != nil {
		t.Fatal(err)
	}
	is, ok := built.(T)
	if !ok {
		t.Fatalf("the primary of a %T is a %T", target, built)
	}
	return is
}
