package workload

import (
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ScaleToZeroLabel is the label of the nodes that a DaemonSet without pods asks
// for: no node has it. Flagger puts DaemonSets to sleep with the same one, so
// either can wake what the other has put to sleep.
const ScaleToZeroLabel = "flagger.app/scale-to-zero"

const scaleToZeroValue = "true"

// asleep tells whether a DaemonSet is scaled to zero.
func asleep(d *appsv1.DaemonSet) bool {
	_, ok := d.Spec.Template.Spec.NodeSelector[ScaleToZeroLabel]
	return ok
}

// Scale is the change of a target's spec that gives it a number of pods: fields
// of "spec", null for those that go. It is nil where nothing is to be changed.
//
// A DaemonSet has a pod on each of its nodes, or is asked onto nodes that don't
// exist, by a node selector that no node meets. What a Service leads to is not
// scaled.
func Scale(target client.Object, replicas int32) map[string]any {
	if Replicas(target) == replicas {
		return nil
	}
	switch target := target.(type) {
	case *appsv1.DaemonSet:
		value := any(scaleToZeroValue)
		switch {
		case asleep(target) != (replicas > 0):
			return nil // any number above 0 is a pod on each node
		case replicas > 0:
			value = nil
		}
		selector := map[string]any{ScaleToZeroLabel: value}
		return map[string]any{"template": map[string]any{"spec": map[string]any{"nodeSelector": selector}}}
	case *corev1.Service:
		return nil
	default:
		return map[string]any{"replicas": int64(replicas)}
	}
}

// awake is a pod template without what a sleeping DaemonSet has in it.
func awake(template *corev1.PodTemplateSpec) {
	if _, ok := template.Spec.NodeSelector[ScaleToZeroLabel]; !ok {
		return
	}
	selector := maps.Clone(template.Spec.NodeSelector)
	delete(selector, ScaleToZeroLabel)
	if len(selector) == 0 {
		selector = nil
	}
	template.Spec.NodeSelector = selector
}
