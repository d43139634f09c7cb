package workload

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Restarts tells whether an update of a workload like o with so many pods takes
// all of them away before there are new ones, by its update strategy: then
// somebody else has to serve meanwhile. Nil does not.
func Restarts(o client.Object, pods int32) bool {
	if pods < 1 {
		return false // there are none to be taken away
	}
	switch o := o.(type) {
	case *appsv1.Deployment:
		s := o.Spec.Strategy
		if s.Type == appsv1.RecreateDeploymentStrategyType {
			return true
		}
		if s.RollingUpdate == nil {
			return false
		}
		down := unavailable(s.RollingUpdate.MaxUnavailable, 0, pods, false)
		if down == 0 && unavailable(s.RollingUpdate.MaxSurge, 1, pods, true) == 0 {
			down = 1 // else nothing could ever be replaced
		}
		return down >= pods
	case *appsv1.DaemonSet:
		s := o.Spec.UpdateStrategy.RollingUpdate
		if s == nil {
			return pods <= 1
		}
		if surge := unavailable(s.MaxSurge, 0, pods, true); surge > 0 {
			return false
		}
		return unavailable(s.MaxUnavailable, 1, pods, true) >= pods
	case *appsv1.StatefulSet:
		s := o.Spec.UpdateStrategy.RollingUpdate
		if s == nil {
			return pods <= 1
		}
		return unavailable(s.MaxUnavailable, 1, pods, true) >= pods
	default:
		return false
	}
}

// unavailable is a number of pods, or a percentage of all of them.
func unavailable(value *intstr.IntOrString, otherwise, pods int32, roundUp bool) int32 {
	if value == nil {
		return otherwise
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(value, int(pods), roundUp)
	if err != nil {
		return otherwise // the API server refuses it
	}
	return int32(n) //nolint:gosec // of a number of pods
}
