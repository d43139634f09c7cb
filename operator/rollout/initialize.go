package rollout

import (
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/adopt"
	"github.com/sluice-delivery/sluice/operator/rollout/restore"
	"github.com/sluice-delivery/sluice/operator/rollout/text"
)

// initialize waits for the first primary and for the mesh to lead to it. Until
// the primary is ready it follows the target, so that a broken first version
// can be mended by setting another. A primary that is there already, as after the
// status was lost, is taken as it is: what the target is beyond that is a release.
func initialize(d *decider) {
	if adopt.ServedBefore(&d.Observation, d.st) {
		begin(d, release.ReasonPrimaryMissing, d.Canary.PrimaryName()+" is gone, and "+d.Canary.TargetName()+" may be another revision than it ran, so that it is analysed before it is made the primary")
		return
	}
	if d.st.LastAppliedSpec == "" {
		d.event(false, release.ReasonInitializing, "Creating "+d.Canary.PrimaryName()+" as a copy of "+d.Canary.TargetName()+" ("+d.Target.Images+")")
		if d.Primary.Exists && d.Primary.Revision != "" {
			d.st.LastPromotedSpec = d.Primary.Revision
		}
	}
	d.st.Phase = v1beta1.PhaseInitializing
	first := firstRevision(d)
	d.st.LastAppliedSpec = first
	d.waiting = "waiting for " + d.Canary.PrimaryName() + " to serve"
	since := d.st.LastTransitionTime.Time
	if since.IsZero() {
		since = d.Now
	}
	switch {
	case !d.Primary.Carries(first):
		d.blocked(since, "it is not yet a copy of "+d.Canary.TargetName())
	case !d.Primary.Ready:
		d.blocked(since, d.Primary.Message)
		d.unwell(d.Primary.Message)
		if d.overdue() && adopt.MayRelease(&d.Observation, d.st, first) {
			begin(d, release.ReasonNewRevision, d.Canary.PrimaryName()+" did not become ready"+within(d)+" and serves as it is; new revision of "+d.Canary.TargetName())
			return
		}
		if d.overdue() {
			mend := ""
			if first != d.Target.Revision {
				mend = "; it was there before, so it is kept as it is: mend it, or delete it to have " + d.Canary.TargetName() + " in its place"
			}
			stall(d, release.ReasonDeadlineExceeded, d.Canary.PrimaryName()+" did not become ready"+within(d)+": "+d.Primary.Message+mend)
		}
	case d.st.CanaryWeight != 0: // what a lost primary left with the canary goes back first
		d.well()
	case !d.Route.InSync:
		d.blocked(since, d.Route.Unshown())
		d.well()
	default:
		d.well()
		d.st.Phase = v1beta1.PhaseInitialized
		d.st.LastPromotedSpec = first
		d.event(false, release.ReasonInitialized, d.Canary.PrimaryName()+" is ready and serves all traffic")
	}
}

// firstRevision is what the primary is to have before any release.
func firstRevision(d *decider) string {
	switch {
	case d.Primary.Revision != "" && (d.Primary.Ready || d.Primary.Interrupted && d.Primary.Available > 0 && takenOver(d)):
		return d.Primary.Revision // it may serve already; what the target is now comes as a release
	case d.st.LastPromotedSpec != "" && d.Primary.Carries(d.st.LastPromotedSpec):
		return d.st.LastPromotedSpec
	default:
		return d.Target.Revision
	}
}

// stall says, once, that a wait has lasted too long. The wait goes on.
func stall(d *decider, reason, message string) {
	d.stalled = &release.Mistake{Reason: reason, Message: message}
	if c := d.st.GetCondition(v1beta1.ConditionStalled); c == nil || c.Reason != reason {
		d.event(true, reason, message)
	}
}

// stalledFor says once what is wrong with a promotion for longer than the deadline, and has the
// post-rollout hooks called: it has failed, for now.
func stalledFor(d *decider, reason, what string) bool {
	// What one operator has found to be late another whose clock is behind does not find in time again: people would be told
	// twice, and hooks called.
	late := d.st.Unwell != nil && release.PromotionFailed(&d.Canary.Status)
	if !late && !d.overdue() {
		return false
	}
	why := d.health.reason
	if why == "" {
		why = d.st.Unwell.Reason
	}
	stall(d, reason, what+within(d)+": "+why)
	if !release.PromotionFailed(&d.Canary.Status) {
		callPostRollout(d)
	}
	return true
}

// reactToRevision begins, restarts or calls off an analysis when the target is
// another revision than the one that the status is about. It returns whether
// it did.
func reactToRevision(d *decider) bool {
	switch {
	case !d.Primary.Exists && d.Target.Revision == d.st.LastPromotedSpec:
		// It is made again from the target, which is what it was made from before.
		d.event(true, release.ReasonPrimaryMissing, d.Canary.PrimaryName()+" is gone; creating it again from "+d.Canary.TargetName())
		d.st.Step, d.st.Gate = nil, nil
		d.st.Phase, d.st.LastAppliedSpec = v1beta1.PhaseInitializing, d.Target.Revision
		initialize(d)
		return true
	case d.Target.Revision == d.st.LastAppliedSpec:
		return primaryLost(d)
	case d.Primary.Carries(d.Target.Revision) && d.Primary.Unobserved && !restore.Goes(&d.Observation, d.st):
		d.waiting = "waiting to see the last change of " + d.Canary.PrimaryName() // it may be getting another revision
		d.lookAgain(d.Now.Add(time.Second))
		return true
	case d.Primary.Carries(d.Target.Revision) && !restore.Goes(&d.Observation, d.st):
		revert(d)
		return true
	default:
		verb := "New revision of "
		if release.Running(d.st.Phase) {
			verb = "Analysis starts anew: another revision of "
		}
		begin(d, release.ReasonNewRevision, verb+d.Canary.TargetName())
		return true
	}
}

// revert calls a release off when the target was set back to what the primary runs:
// there is nothing to analyse.
func revert(d *decider) {
	if release.Running(d.st.Phase) || d.st.Phase == v1beta1.PhaseFailed {
		d.event(false, release.ReasonReverted, d.Canary.TargetName()+" was set back to the revision that "+d.Canary.PrimaryName()+" runs ("+d.Target.Images+"); no analysis is needed")
	}
	d.st.LastAppliedSpec = d.Target.Revision
	d.st.LastPromotedSpec = d.Target.Revision
	d.st.Rollback = nil
	d.st.FailedChecks = 0
	settle(d)
}

// primaryLost stops between releases where the primary is gone and the target is not what
// it ran: a revision that nobody has found good must not become what everybody gets.
func primaryLost(d *decider) bool {
	if d.Primary.Exists || release.Running(d.st.Phase) {
		return false
	}
	postRollout(d)
	d.waiting = d.Canary.PrimaryName() + " is gone, and " + d.Canary.TargetName() + " is not the revision that it ran; set " + d.Canary.TargetName() +
		" back to a revision that was released, or release another one"
	stall(d, release.ReasonPrimaryMissing, text.Sentence(d.waiting))
	return true
}
