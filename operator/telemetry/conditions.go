package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// troubling are the conditions that tell of trouble, or that a release waits for its turn, with the status in which they do.
// That a release was rolled back is none: it is in flagger_canary_status.
var troubling = map[v1beta1.CanaryConditionType]corev1.ConditionStatus{
	v1beta1.ConditionStalled:  corev1.ConditionTrue,
	v1beta1.ConditionApplied:  corev1.ConditionFalse,
	v1beta1.ConditionCovered:  corev1.ConditionFalse,
	v1beta1.ConditionMeasured: corev1.ConditionFalse,

	v1beta1.ConditionRouteContested: corev1.ConditionTrue,
	v1beta1.ConditionAdmitted:       corev1.ConditionFalse,
}

// publishConditions publishes what in a persisted status tells of trouble, a series each, of a Canary that never began too;
// the lock must be held. There are at most as many series as conditions that can tell of trouble.
func (r *Rollouts) publishConditions(c *v1beta1.Canary, known *published) {
	if known.reported == c.ResourceVersion {
		return
	}
	known.reported = c.ResourceVersion
	r.dropConditions(known)
	for _, condition := range c.Status.Conditions {
		if status, ok := troubling[condition.Type]; !ok || condition.Status != status {
			continue
		}
		labels := prometheus.Labels{
			"namespace": c.Namespace, "canary": c.Name, "type": string(condition.Type), "reason": condition.Reason,
		}
		r.condition.With(labels).Set(1)
		known.troubles = append(known.troubles, labels)
	}
	if c.Status.Gate != nil {
		known.gate = prometheus.Labels{"namespace": c.Namespace, "canary": c.Name, "type": string(c.Status.Gate.Type)}
		r.gate.With(known.gate).Set(1)
	}
}

// dropConditions removes the series of a Canary's conditions; the lock must be held.
func (r *Rollouts) dropConditions(known *published) {
	for _, labels := range known.troubles {
		r.condition.Delete(labels)
	}
	known.troubles = nil
	if known.gate != nil {
		r.gate.Delete(known.gate)
		known.gate = nil
	}
}
