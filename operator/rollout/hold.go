package rollout

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/conditions"
	"github.com/sluice-delivery/sluice/operator/rollout/restore"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
)

// untouchable is true where nothing may be touched: the objects are somebody
// else's, or none was made yet.
func untouchable(d *decider) bool {
	return !takenOver(d) && !d.Primary.Exists || d.st.LastPromotedSpec == "" && d.Mistake != nil && d.Mistake.Foreign
}

// keepSafe is what goes on while a rollout is held: a release is rolled back for
// whatever it would be rolled back for otherwise, but for what can't be checked.
func keepSafe(d *decider, h *conditions.Hold) {
	d.waiting = h.Message
	if !h.Mistake {
		d.well() // no deadline runs while a person holds it, or while nobody could do anything
	}
	if d.st.Phase == v1beta1.PhasePromoting {
		needStep(d)
		canaryLostInPromotion(d)
		takeFromUnjudged(d)
	}
	if !release.Analysing(d.st.Phase) {
		return
	}
	needStep(d)
	if d.Target.Exists && d.Primary.Exists && d.Target.Revision != d.st.LastAppliedSpec && d.Primary.Carries(d.Target.Revision) && !d.Primary.Unobserved && !restore.Goes(&d.Observation, d.st) {
		revert(d)
		return
	}
	takeFromUnjudged(d)
	if abortAsked(d) || canaryLost(d) || rollbackAsked(d) || !h.Mistake {
		return
	}
	d.unwell(h.Message)
	d.health.record = true
	if d.overdue() {
		rollBack(d, release.ReasonDeadlineExceeded, "nothing was analysed for "+d.Canary.GetProgressDeadline().String()+": "+h.Message)
	}
}

// takeFromUnjudged takes the share of a canary that has become another revision while its rollout is held:
// nobody has judged that one, and its analysis begins once nothing holds it.
func takeFromUnjudged(d *decider) {
	if !d.Target.Exists || d.Target.Revision == "" || d.Target.Revision == d.st.LastAppliedSpec || serving.Planned(d.st) == (serving.Split{}) {
		return
	}
	d.event(true, release.ReasonNewRevision, "New revision of "+d.Canary.TargetName()+" while nothing moves; it gets no traffic before it is analysed")
	if release.Analysing(d.st.Phase) {
		leaveGate(d)
		enterStep(d, 0)
		return
	}
	d.st.Step.Weight, d.st.Step.Share = 0, v1beta1.ShareAll
}

// holdDesired leaves workloads as they are while a rollout is held, but for a primary that is gone: it is made again
// from what it was made from before, or was to be in a promotion, as the target may have no pods to stand in with.
func holdDesired(d *decider) {
	d.out.Desired.TargetReplicas, d.out.Desired.StoredRevision = nil, ""
	again := restore.FromTarget(&d.Observation, d.st)
	if again == "" && d.st.Phase == v1beta1.PhasePromoting {
		again = d.st.LastAppliedSpec // it was found good
	}
	if d.out.Desired.PrimaryRevision = again; d.Primary.Exists || again == "" || d.Mistake != nil && d.Mistake.Foreign {
		d.out.Desired.PrimaryRevision, d.out.Desired.PrimaryReplicas = "", nil
	}
	if d.Outage != "" {
		d.out.Desired.Routed = false // nobody is there to be asked
	}
}

// describeHold says why the rollout does not get on.
func describeHold(d *decider, h *conditions.Hold) {
	if d.st.Phase == "" {
		d.st.Phase = v1beta1.PhaseInitializing
		d.st.LastTransitionTime = metav1.NewTime(d.Now)
	}
	if h.Passing {
		d.lookAgain(d.Now.Add(patience)) // what watches the mesh may have gone as well
	}
	d.out.Events = append(d.out.Events, conditions.WriteHeld(&d.Observation, d.st, d.waiting, *h)...)
}
