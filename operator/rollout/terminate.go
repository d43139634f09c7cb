package rollout

import (
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// terminate decides for a Canary that is being deleted: the target serves
// again before anything that serves now goes. Mistakes do not hold it up.
func (d *decider) terminate() {
	if d.st.Phase != v1beta1.PhaseTerminating {
		d.event(false, ReasonTerminating, "Giving traffic back to "+d.target()+" before what was made for this Canary is deleted")
		d.enterStep(0, 0)
	}
	d.needStep()
	d.st.Phase = v1beta1.PhaseTerminating
	d.st.CanaryWeight = 0
	d.waiting = "waiting for " + d.target() + " to serve again"

	want := &d.out.Desired
	// Flagger, which may have left a primary that serves, writes no revision
	// before it has initialized.
	untouched := d.st.LastAppliedSpec == "" && !d.Primary.Exists
	if untouched || d.Mistake != nil && d.Mistake.Foreign {
		want.Finished = true // nothing of the world was made for this Canary
		return
	}
	want.Released = !d.Target.Exists || !d.Primary.Exists || d.Target.Ready
	if d.Target.Exists && d.Target.Replicas == 0 && d.Primary.Exists {
		want.TargetReplicas = new(max(d.Primary.Replicas, 1))
		want.Released = false
	}
	if !want.Released {
		deadline := d.st.Step.Since.Add(d.Canary.GetProgressDeadline())
		d.blocked(d.st.Step.Since.Time, d.Target.Message)
		if d.Now.Before(deadline) {
			d.lookAgain(deadline)
			return
		}
		// A deletion can't wait for ever for pods that don't come up.
		want.Released = true
	}
	if !d.Route.InSync {
		return
	}
	if drained := later(d.Route.Since, d.st.Step.Since.Time).Add(d.Canary.GetDrainDelay()); d.Now.Before(drained) {
		d.lookAgain(drained)
		return
	}
	want.Finished = true
}
