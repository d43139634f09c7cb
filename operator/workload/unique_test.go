package workload

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestUnique(t *testing.T) {
	get := func(port intstr.IntOrString) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: port}}}
	}
	spec := corev1.PodSpec{
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "a"}, {Name: "b"}, {Name: "a"}},
		InitContainers:   []corev1.Container{{Env: []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "A", Value: "2"}}}},
		Containers: []corev1.Container{{
			Env: []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}, {Name: "A", Value: "3"}},
			Ports: []corev1.ContainerPort{
				{Name: "http", ContainerPort: 9898, Protocol: corev1.ProtocolTCP}, {Name: "grpc", ContainerPort: 9898, Protocol: corev1.ProtocolUDP},
				{Name: "http-metrics", ContainerPort: 9898}, {Name: "admin", ContainerPort: 1},
			},
			LivenessProbe: get(intstr.FromString("http-metrics")), ReadinessProbe: get(intstr.FromString("http")), StartupProbe: get(intstr.FromInt32(9898)),
			Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString("http-metrics")}}},
		}},
	}
	want := corev1.PodSpec{
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "a"}, {Name: "b"}},
		InitContainers:   []corev1.Container{{Env: []corev1.EnvVar{{Name: "A", Value: "2"}}}},
		Containers: []corev1.Container{{
			Env: []corev1.EnvVar{{Name: "B", Value: "2"}, {Name: "A", Value: "3"}},
			Ports: []corev1.ContainerPort{
				{Name: "http", ContainerPort: 9898, Protocol: corev1.ProtocolTCP}, {Name: "grpc", ContainerPort: 9898, Protocol: corev1.ProtocolUDP},
				{Name: "admin", ContainerPort: 1},
			},
			LivenessProbe: get(intstr.FromInt32(9898)), ReadinessProbe: get(intstr.FromString("http")), StartupProbe: get(intstr.FromInt32(9898)),
			Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(9898)}}},
		}},
	}
	unique(&spec)
	if d := cmp.Diff(want, spec); d != "" {
		t.Error(d)
	}
	once := spec.DeepCopy()
	if unique(&spec); !cmp.Equal(once, &spec) {
		t.Error("what is unique is changed")
	}
}
