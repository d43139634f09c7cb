package workload

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// UnsupportedTargetError says what in a target can't be released or carried to its
// primary.
type UnsupportedTargetError struct {
	// Target is kind and name of the workload.
	Target string
	// Problem names the field, its value and what is allowed.
	Problem string
}

func (e *UnsupportedTargetError) Error() string { return e.Target + ": " + e.Problem }

// Check tells what stands in the way of releasing a target: an *UnsupportedTargetError, or
// nil. live is the present primary, nil if there is none.
func Check(canary *v1beta1.Canary, target, live client.Object) error {
	problem := ""
	switch target := target.(type) {
	case *appsv1.DaemonSet:
		if s := target.Spec.UpdateStrategy.Type; s != "" && s != appsv1.RollingUpdateDaemonSetStrategyType {
			problem = fmt.Sprintf("spec.updateStrategy.type: %q replaces no pods by itself, only RollingUpdate does", s)
		}
	case *appsv1.StatefulSet:
		problem = unsupportedStatefulSet(target)
		if primary, ok := live.(*appsv1.StatefulSet); ok && problem == "" {
			problem = notCarried(target, primary)
		}
	case *corev1.Service:
		if name := canary.Spec.Service.Name; name != "" && name != target.Name {
			problem = fmt.Sprintf("spec.service.name of the Canary: %q is another Service; a target of kind Service is itself the one that clients call, leave the name out", name)
		}
	}
	if problem == "" {
		return nil
	}
	return &UnsupportedTargetError{Target: Kind(target) + "/" + target.GetName(), Problem: problem}
}

func unsupportedStatefulSet(s *appsv1.StatefulSet) string {
	strategy := s.Spec.UpdateStrategy
	if strategy.Type != "" && strategy.Type != appsv1.RollingUpdateStatefulSetStrategyType {
		return fmt.Sprintf("spec.updateStrategy.type: %q replaces no pods by itself, only RollingUpdate does", strategy.Type)
	}
	if rolling := strategy.RollingUpdate; rolling != nil && rolling.Partition != nil && *rolling.Partition > 0 {
		return fmt.Sprintf("spec.updateStrategy.rollingUpdate.partition: %d keeps pods at the old revision; the Canary divides the traffic, so it must be 0", *rolling.Partition)
	}
	return ""
}

// notCarried tells what of a StatefulSet differs from its primary and can't be
// changed in that.
func notCarried(target, primary *appsv1.StatefulSet) string {
	const remedy = "can't be changed in %[1]s; delete that with --cascade=orphan, and it is made again around its pods"
	switch {
	case !sameClaims(target.Spec.VolumeClaimTemplates, primary.Spec.VolumeClaimTemplates):
		return fmt.Sprintf("spec.volumeClaimTemplates was changed and "+remedy, primary.Name)
	case policy(target) != policy(primary):
		return fmt.Sprintf("spec.podManagementPolicy: %[2]q "+remedy, primary.Name, policy(target))
	default:
		return ""
	}
}

func policy(s *appsv1.StatefulSet) appsv1.PodManagementPolicyType {
	if s.Spec.PodManagementPolicy == "" {
		return appsv1.OrderedReadyPodManagement
	}
	return s.Spec.PodManagementPolicy
}

// sameClaims compares what the API server has for both, so defaults are there.
func sameClaims(a, b []corev1.PersistentVolumeClaim) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name || !equality.Semantic.DeepEqual(a[i].Labels, b[i].Labels) ||
			!equality.Semantic.DeepEqual(a[i].Annotations, b[i].Annotations) || !equality.Semantic.DeepEqual(a[i].Spec, b[i].Spec) {
			return false
		}
	}
	return true
}
