package rollout

import (
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// desire derives the state of the world from the next status. It reads no
// other state of the decider, so a crash between the two changes nothing.
func (d *decider) desire() {
	want := &d.out.Desired
	want.Traffic = TrafficOf(d.Canary, d.st)
	want.Routed = true
	switch d.st.Phase {
	case "", v1beta1.PhaseInitializing:
		want.PrimaryRevision = d.st.LastAppliedSpec
		want.Routed = d.primaryCarries(d.st.LastAppliedSpec) && d.Primary.Ready
	case v1beta1.PhaseWaiting:
		// The canary gets no pod before its gate is open; those that it has stay.
	case v1beta1.PhaseProgressing, v1beta1.PhaseWaitingPromotion:
		d.wakeTarget()
	case v1beta1.PhasePromoting:
		if d.mayTouchPrimary() {
			want.PrimaryRevision = d.st.LastAppliedSpec
		}
		d.wakeTarget()
	case v1beta1.PhaseFinalising:
		want.PrimaryRevision = d.promotedRevision()
	case v1beta1.PhaseFailed:
		// The target is what has failed, even where the primary had that before.
		if d.Target.Revision != d.st.LastAppliedSpec {
			want.PrimaryRevision = d.promotedRevision()
		}
		d.drainTarget()
	case v1beta1.PhaseInitialized, v1beta1.PhaseSucceeded:
		want.PrimaryRevision = d.promotedRevision()
		d.drainTarget()
	case v1beta1.PhaseTerminating, v1beta1.PhaseTerminated:
		want.Hold = true // terminate has decided
	}
	want.PrimaryFloor = PrimaryFloor(d.st.Phase, d.Primary, d.Target)
	want.TargetPaused = PauseTarget(d.st.Phase, d.Target, *want)
}

// mayTouchPrimary is true when the mesh shows the traffic for the promotion: in
// blue/green, and where the primary will be without a pod, its users are elsewhere
// then. Pods that are all to go stay for the drain delay, as those of a canary do.
// A primary that has the revision already is healed at any time.
func (d *decider) mayTouchPrimary() bool {
	switch {
	case d.primaryCarries(d.st.LastAppliedSpec):
		return true
	case !d.Route.InSync || d.out.Desired.Traffic != TrafficOf(d.Canary, &d.Canary.Status):
		return false
	case !d.Primary.Interrupted || d.Primary.Available == 0:
		return true
	case !d.canaryHasAll():
		return false
	}
	drained := later(d.Route.Since, d.st.LastTransitionTime.Time).Add(d.Canary.GetDrainDelay())
	if d.Now.Before(drained) {
		d.lookAgain(drained)
		return false
	}
	return true
}

// promotedRevision is the revision that heals the primary: the promoted one,
// as long as the target still is its source.
func (d *decider) promotedRevision() string {
	if d.Target.Revision == d.st.LastPromotedSpec {
		return d.Target.Revision
	}
	return ""
}

// wakeTarget gives the canary as many pods as the primary has, so that it can
// take any weight. A target that has pods keeps what its user gave it.
func (d *decider) wakeTarget() {
	d.st.DrainedGeneration = 0
	if d.Target.Replicas == 0 {
		d.out.Desired.TargetReplicas = new(max(d.Primary.Replicas, 1))
	}
}

// drainTarget removes the canary's pods when the mesh has shown weight 0 for
// the drain delay: before that, requests may be on their way to them. It does
// so once a release: who gives the target pods after that has them in Git, and
// would do so again and again.
func (d *decider) drainTarget() {
	if d.keptUp() {
		return
	}
	if d.Target.Replicas == 0 || !d.Route.InSync || d.Primary.Available == 0 || d.st.CanaryWeight != 0 {
		return
	}
	if drained := later(d.Route.Since, d.st.LastTransitionTime.Time).Add(d.Canary.GetDrainDelay()); d.Now.Before(drained) {
		d.lookAgain(drained)
		return
	}
	d.st.DrainedGeneration = d.Target.Generation
	d.out.Desired.TargetReplicas = new(int32)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
