package workload

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/operator/rollout"
)

// Observe reads the state of a Deployment. threshold is the percentage of its
// pods, 0 to 100, that must be available for it to be ready; at least one must
// be in any case. Nil gives a workload that does not exist.
func Observe(d *appsv1.Deployment, revision string, threshold int32) rollout.Workload {
	if d == nil {
		return rollout.Workload{}
	}
	w := rollout.Workload{
		Exists:     true,
		Revision:   revision,
		Images:     Images(&d.Spec.Template),
		Generation: d.Generation,
		Replicas:   Replicas(d),
		Available:  d.Status.AvailableReplicas,
	}
	w.Message = unready(d, w.Replicas, threshold)
	w.Ready = w.Message == ""
	return w
}

// Replicas is how many pods a Deployment asks for.
func Replicas(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1 // as the API server defaults it
	}
	return *d.Spec.Replicas
}

// unready says what a Deployment waits for, or nothing when it is ready.
func unready(d *appsv1.Deployment, want, threshold int32) string {
	st := d.Status
	switch {
	case st.ObservedGeneration < d.Generation:
		return "its last change is not acted on yet"
	case want == 0:
		return "it is scaled to zero"
	case st.UpdatedReplicas < want || st.Replicas > st.UpdatedReplicas:
		return fmt.Sprintf("%d of %d pods are of the present revision, %d are of older ones%s",
			st.UpdatedReplicas, want, st.Replicas-st.UpdatedReplicas, trouble(d))
	case st.AvailableReplicas == 0 || st.AvailableReplicas*100 < want*threshold:
		return fmt.Sprintf("%d of %d pods are available%s", st.AvailableReplicas, want, trouble(d))
	default:
		return ""
	}
}

// trouble is what the Deployment's controller complains of.
func trouble(d *appsv1.Deployment) string {
	for _, c := range d.Status.Conditions {
		failed := c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue
		stuck := c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse
		if failed || stuck {
			return " (" + c.Reason + ": " + c.Message + ")"
		}
	}
	return ""
}
