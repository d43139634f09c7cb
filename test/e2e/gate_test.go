package e2e

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/test/rig"
)

// deployGated is deploy with a gate, which is open, and the Deployment as edit
// has it.
func (a *app) deployGated(edit func(*appsv1.Deployment)) *rig.Gate {
	a.t.Helper()
	ctx, cancel := context.WithCancel(a.t.Context())
	g := a.KeepGate(ctx)
	a.t.Cleanup(func() {
		cancel()
		g.Wait()
	})
	a.deployAs(func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: rig.GateType}}
		edit(d)
	})
	return g
}

// primaryPods names the primary's pods of a version.
func primaryPods(version string) func(*corev1.Pod) bool { return rig.PodsOf(primaryName, version) }
