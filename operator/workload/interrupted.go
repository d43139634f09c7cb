package workload

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// interrupted tells whether a workload of so many pods is without any for a
// moment while its pod template changes: its controller takes all of them away
// before the first new one is there.
func interrupted(o client.Object, pods int32) bool {
	switch o := o.(type) {
	case *appsv1.Deployment:
		if o.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
			return true
		}
		if r := o.Spec.Strategy.RollingUpdate; r != nil {
			return atOnce(r.MaxUnavailable, pods) >= pods
		}
		return false // by default 25 %, rounded down
	case *appsv1.DaemonSet:
		r := o.Spec.UpdateStrategy.RollingUpdate
		if r == nil {
			return pods <= 1 // by default one at a time
		}
		if atOnce(r.MaxSurge, pods) > 0 {
			return false
		}
		return max(atOnce(r.MaxUnavailable, pods), 1) >= pods
	case *appsv1.StatefulSet:
		r := o.Spec.UpdateStrategy.RollingUpdate
		if r == nil {
			return pods <= 1
		}
		return max(atOnce(r.MaxUnavailable, pods), 1) >= pods
	default:
		return false
	}
}

// atOnce is how many of so many pods a limit stands for, percentages rounded
// down, as controllers round what may be unavailable.
func atOnce(limit *intstr.IntOrString, pods int32) int32 {
	if limit == nil {
		return 0
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(limit, int(pods), false)
	if err != nil {
		return 0 // the API server accepts no such limit
	}
	return int32(n) //nolint:gosec // of the order of pods
}
