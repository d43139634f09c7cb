package workload

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// unique takes from a pod spec what Kubernetes accepts twice and server-side apply does not: variables and ports of a
// container, and names of Secrets for images. What counted stays: the last of the variables of a name, and the first of
// the names of a port. Where the container itself goes by another name of that port, it goes by its number then.
func unique(spec *corev1.PodSpec) {
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			c := &containers[i]
			c.Env = lastOfEach(c.Env, func(v corev1.EnvVar) string { return v.Name })
			uniquePorts(c)
		}
	}
	slices.Reverse(spec.ImagePullSecrets)
	spec.ImagePullSecrets = lastOfEach(spec.ImagePullSecrets, func(r corev1.LocalObjectReference) string { return r.Name })
	slices.Reverse(spec.ImagePullSecrets)
}

// lastOfEach are the values of a list that have no other of their key behind them.
func lastOfEach[T any](list []T, key func(T) string) []T {
	last := map[string]int{}
	for i, v := range list {
		last[key(v)] = i
	}
	if len(last) == len(list) {
		return list
	}
	out := make([]T, 0, len(last))
	for i, v := range list {
		if last[key(v)] == i {
			out = append(out, v)
		}
	}
	return out
}

func uniquePorts(c *corev1.Container) {
	type port struct {
		number   int32
		protocol corev1.Protocol
	}
	known, gone := map[port]bool{}, map[string]int32{}
	kept := slices.DeleteFunc(slices.Clone(c.Ports), func(p corev1.ContainerPort) bool {
		of := port{p.ContainerPort, cmp.Or(p.Protocol, corev1.ProtocolTCP)}
		if known[of] {
			gone[p.Name] = p.ContainerPort
			return true
		}
		known[of] = true
		return false
	})
	if len(gone) == 0 {
		return
	}
	c.Ports = kept
	byNumber := func(p *intstr.IntOrString) {
		if number, ok := gone[p.StrVal]; ok && p.Type == intstr.String {
			*p = intstr.FromInt32(number)
		}
	}
	for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if probe != nil && probe.HTTPGet != nil {
			byNumber(&probe.HTTPGet.Port)
		}
		if probe != nil && probe.TCPSocket != nil {
			byNumber(&probe.TCPSocket.Port)
		}
	}
	if c.Lifecycle == nil {
		return
	}
	for _, handler := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
		if handler != nil && handler.HTTPGet != nil {
			byNumber(&handler.HTTPGet.Port)
		}
	}
}
