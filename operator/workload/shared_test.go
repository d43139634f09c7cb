package workload_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// TestObserveFromTheCache: what the cache drops of a Deployment changes nothing of what is observed of it.
func TestObserveFromTheCache(t *testing.T) {
	share := kube.Share(func(o any) (any, error) { return o, nil })
	kinds := []appsv1.DeploymentConditionType{appsv1.DeploymentAvailable, appsv1.DeploymentProgressing, appsv1.DeploymentReplicaFailure}
	states := []corev1.ConditionStatus{"", corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionUnknown}
	for n := range len(states) * len(states) * len(states) {
		d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: new(int32(2))}}
		d.Status.Replicas, d.Status.UpdatedReplicas = 2, 2
		for i, kind := range kinds {
			status := states[n/[]int{1, len(states), len(states) * len(states)}[i]%len(states)]
			if status != "" {
				d.Status.Conditions = append(d.Status.Conditions, appsv1.DeploymentCondition{Type: kind, Status: status, Reason: string(kind), Message: string(status)})
			}
		}
		want := workload.Observe(d.DeepCopy(), "r", 100)
		cached, err := share(d.DeepCopy())
		if err != nil {
			t.Fatal(err)
		}
		if got := workload.Observe(cached.(*appsv1.Deployment), "r", 100); got != want {
			t.Errorf("%+v: %+v, not %+v", d.Status.Conditions, got, want)
		}
	}
}
