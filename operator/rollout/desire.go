package rollout

import (
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/rollout/restore"
	"github.com/sluice-delivery/sluice/operator/rollout/scaling"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
)

// desire derives the state of the world from the next status. It reads no
// other state of the decider, so a crash between the two changes nothing.
func desire(d *decider) {
	want := &d.out.Desired
	want.Traffic = serving.TrafficOf(d.Canary, d.st)
	want.Routed = routed(d)
	switch d.st.Phase {
	case "", v1beta1.PhaseInitializing:
		want.PrimaryRevision = d.st.LastAppliedSpec
	case v1beta1.PhaseWaiting:
		// The canary gets no pod before its gate is open; those that it has stay.
	case v1beta1.PhaseProgressing, v1beta1.PhaseWaitingPromotion:
		wakeTarget(d)
	case v1beta1.PhasePromoting:
		if mayTouchPrimary(d) {
			want.PrimaryRevision = d.st.LastAppliedSpec
		}
		wakeTarget(d)
	case v1beta1.PhaseFinalising:
		want.PrimaryRevision = restore.FromTarget(&d.Observation, d.st)
	case v1beta1.PhaseFailed:
		// The target is what has failed, even where the primary had that before.
		if d.Target.Revision != d.st.LastAppliedSpec {
			want.PrimaryRevision = restore.FromTarget(&d.Observation, d.st)
		}
		drainTarget(d)
	case v1beta1.PhaseInitialized, v1beta1.PhaseSucceeded:
		want.PrimaryRevision = restore.FromTarget(&d.Observation, d.st)
		drainTarget(d)
	case v1beta1.PhaseTerminating, v1beta1.PhaseTerminated:
		// terminate decides over workloads.
	}
	if want.StoredRevision = restore.Revision(&d.Observation, d.st, want.Traffic == serving.TrafficOf(d.Canary, &d.Canary.Status)); want.StoredRevision != "" {
		want.PrimaryRevision = ""
	}
	want.PrimaryFloor = scaling.Floor(&d.Observation, d.st)
	want.PrimaryReplicas = scaling.PrimaryReplicas(&d.Observation, d.st)
	want.TargetPaused = scaling.PauseTarget(d.st.Phase, d.Target, d.Primary, *want, scaling.Spare(&d.Observation, d.st))
}

// routed is true where people are to be led to the primary. To the first they are when it is ready and
// nothing holds the rollout, and before where no pod of the target serves.
func routed(d *decider) bool {
	if d.st.Phase != "" && d.st.Phase != v1beta1.PhaseInitializing {
		return true
	}
	alone := d.Target.Available == 0
	serves := d.Primary.Ready && (!d.held || alone) || d.Primary.Available > 0 && alone && (!d.held || d.Target.Replicas == 0)
	return d.Route.Has != nil || d.Primary.Carries(d.st.LastAppliedSpec) && serves || takenOver(d) && !d.Route.Fixed
}

// mayTouchPrimary is true when the mesh shows the traffic for the promotion: in
// blue/green, and where the primary will be without a pod, its users are elsewhere
// then. Pods that are all to go stay for the drain delay, as those of a canary do.
// A primary that has the revision already is healed at any time.
func mayTouchPrimary(d *decider) bool {
	switch {
	case d.Primary.Carries(d.st.LastAppliedSpec), !d.Primary.Exists:
		return true
	case d.st.Paused:
		return false
	case !d.Route.InSync || d.out.Desired.Traffic != serving.TrafficOf(d.Canary, &d.Canary.Status):
		return false
	case !d.Primary.Interrupted || d.Primary.Available == 0:
		return true
	case !serving.CanaryHasAll(d.st):
		return false
	}
	drained := later(d.Route.Seen, d.st.LastTransitionTime.Time).Add(d.Canary.GetDrainDelay())
	if d.Now.Before(drained) {
		d.lookAgain(drained)
		return false
	}
	return true
}

// wakeTarget gives the canary as many pods as the primary has, so that it can
// take any weight. A target that has pods keeps what its user gave it, unless it is
// to have everything: the primary that is gone had pods for that.
func wakeTarget(d *decider) {
	d.st.DrainedGeneration = 0
	if d.st.Step != nil && d.st.Step.Replacing {
		emptyTarget(d)
		return
	}
	need := int32(0)
	switch {
	case d.Target.Replicas == 0 && d.st.Step != nil && d.st.Step.Pods > 0:
		need = d.st.Step.Pods
	case d.Target.Replicas == 0:
		need = max(d.Primary.Replicas, 1)
		if !d.Primary.Exists {
			need = max(d.st.PrimaryReplicas, 1)
		}
	case !d.Primary.Exists:
		need = d.st.PrimaryReplicas
	case d.st.Step != nil:
		need = d.st.Step.Pods
	}
	if need > d.Target.Replicas {
		d.out.Desired.TargetReplicas = &need
	}
}

// drainTarget removes the canary's pods when the mesh has shown weight 0 for
// the drain delay: before that, requests may be on their way to them. It does
// so once a release: who gives the target pods after that has them in Git, and
// would do so again and again.
func drainTarget(d *decider) {
	if scaling.ScaledUp(d.st, &d.Target) {
		return
	}
	if d.Target.Replicas == 0 || !drained(d) {
		return
	}
	d.st.DrainedGeneration = d.Target.Generation
	if d.st.Phase == v1beta1.PhaseSucceeded && d.Canary.Spec.AutoscalerRef == nil && d.Target.Replicas < d.Primary.Replicas {
		d.st.ReleasedReplicas = d.Target.Replicas
	}
	d.out.Desired.TargetReplicas = new(int32)
}

// drained is true when the mesh has led nobody to the canary for the drain delay. The decision on who serves is made by now: both
// what the mesh has and what it is asked for count.
func drained(d *decider) bool {
	if !d.Route.InSync || d.st.CanaryWeight > 0 || d.Canary.Status.CanaryWeight > 0 || d.Primary.Available == 0 {
		return false
	}
	due := later(d.Route.Seen, d.st.LastTransitionTime.Time).Add(d.Canary.GetDrainDelay())
	if d.Now.Before(due) {
		d.lookAgain(due)
		return false
	}
	return true
}
