package rollout

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// sitOut leaves everything as it is while nothing is known of the route. It needs
// no person, so the rollout is not stalled: it goes on where it is when the mesh can
// be asked again.
func (d *decider) sitOut() {
	d.hold(ReasonMeshUnreachable, d.Outage, false)
	d.set(v1beta1.ConditionReconciling, corev1.ConditionTrue, ReasonMeshUnreachable, d.Outage)
	for i := range d.out.Events {
		d.out.Events[i].Warning = true
	}
	d.out.RequeueAfter = patience // what watches the mesh may have gone as well
}
