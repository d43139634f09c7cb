package rollout

import (
	"fmt"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/adopt"
	"github.com/sluice-delivery/sluice/operator/rollout/conditions"
	"github.com/sluice-delivery/sluice/operator/rollout/hands"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
)

// terminate decides for a Canary that is being deleted: the target serves
// again before anything that serves now goes. No mistake holds it up, and every wait
// of it has an end: what then could not be done is told, and what serves stays.
func terminate(d *decider) {
	want := &d.out.Desired
	// Flagger, which may have left a primary that serves, writes no revision Before it has initialized.
	if d.st.LastAppliedSpec == "" && !d.Primary.Exists || d.Mistake != nil && d.Mistake.Foreign && d.st.LastPromotedSpec == "" {
		beginTermination(d)
		describeTermination(d)
		want.Finished = true // nothing of the world was made for this Canary
		return
	}
	adopt.Status(&d.Observation, d.st)
	beginTermination(d)
	d.waiting = "waiting for " + d.Canary.TargetName() + " to serve again"
	if d.Primary.Exists && d.Primary.Replicas > 0 {
		d.st.PrimaryReplicas = d.Primary.Replicas
	}
	want.Released = targetCarriesAll(d)
	want.Routed = !want.Released && d.Primary.Exists && takenOver(d)
	if want.Released {
		giveTrafficBack(d)
	} else {
		serve(d)
	}
	want.Traffic = serving.TrafficOf(d.Canary, d.st)
	if want.Finished && hands.RemovedWithTarget(&d.Observation) {
		d.event(false, release.ReasonRemoved, conditions.Removed(d.Canary))
	}
	stamp(d)
	describeTermination(d)
}

// leadApex has somebody be found where nobody would find the target by the apex Service, as that is given back.
func leadApex(d *decider) {
	want := &d.out.Desired
	if d.Primary.Exists {
		want.KeepPrimary, want.LeadToPrimary = true, true
		return
	}
	// It is true only until the Service was led to others.
	d.event(true, release.ReasonLeftBehind, "The apex Service, as it is given back, does not select the pods of "+d.Canary.TargetName()+
		", and nobody else serves; it is led to them by the labels that they have")
}

// giveTrafficBack plans nothing for the canary any more, but for one that the route alone leads to.
func giveTrafficBack(d *decider) {
	want := &d.out.Desired
	if d.ApexMisses && !hands.RemovedWithTarget(&d.Observation) {
		leadApex(d)
	}
	d.st.CanaryWeight = 0
	d.st.Traffic = &v1beta1.TrafficStatus{Reason: v1beta1.TrafficPlanned}
	if want.KeepRoute = keepRoute(d); want.KeepRoute && d.Primary.Available == 0 {
		want.Routed, d.st.CanaryWeight = true, 100
		d.st.Traffic.Reason = v1beta1.TrafficPrimaryUnavailable
	}
	want.Finished = released(d)
}

// endpointsDelay is how long the endpoints of a Service may take to follow its selector.
const endpointsDelay = 15 * time.Second

// keepRoute is true where the route alone may lead to somebody, until the apex Service has had the time
// to find the target's pods: no pod of the primary serves, or none did while the canary had everything.
func keepRoute(d *decider) bool {
	has := d.Route.Has
	switch {
	case has == nil, has.Canary == 0:
		return false
	case d.out.Desired.LeadToPrimary:
		return d.Primary.Available == 0
	case d.Primary.Available > 0 && (has.Canary < 100 || has.Matched):
		return false
	}
	given := d.Route.GivenBack
	if due := given.Add(endpointsDelay); !given.IsZero() {
		if !d.Now.Before(due) {
			return false
		}
		d.lookAgain(due)
	}
	return true
}

// beginTermination leaves the release, if there is one, and counts from now on.
func beginTermination(d *decider) {
	if d.st.Phase == v1beta1.PhaseTerminating && d.st.Step != nil {
		return
	}
	d.event(false, release.ReasonTerminating, "Giving traffic back to "+d.Canary.TargetName()+" before what was made for this Canary is deleted")
	enterStep(d, 0)
	d.st.Phase, d.st.Gate, d.st.PostRollout, d.st.Unwell = v1beta1.PhaseTerminating, nil, nil, nil
}

// targetCarriesAll is true when the target can serve what the primary serves. It is given
// as many pods as that has. Where it does not get them within the progress deadline, what
// it has must do; and where it has none, or far fewer than what goes would take away, the primary goes on.
func targetCarriesAll(d *decider) bool {
	want := &d.out.Desired
	switch {
	case !d.Primary.Exists:
		return true // nothing else serves
	case hands.RemovedWithTarget(&d.Observation):
		return true
	case !d.Target.Exists:
		want.KeepPrimary, want.LeadToPrimary = true, true
		return true
	case d.Primary.ScalesToZero && d.Primary.Replicas == 0:
		return true // nothing serves, and the target's autoscaler starts it when there is something to do
	}
	need := max(d.Primary.Replicas, 1)
	if d.Target.Replicas < need {
		want.TargetReplicas = &need
	}
	if d.Target.Ready && d.Target.Available >= need {
		return true
	}
	if d.Target.ScalesToZero {
		want.TargetPaused = &need // it would be without pods again before it serves
	}
	deadline := d.deadline(d.st.Step.Since.Time, d.Canary.GetProgressDeadline())
	if d.Now.Before(deadline) {
		want.LeadToPrimary = d.Primary.Available > 0
		d.waiting += fmt.Sprintf(", %d of %d pods are available", d.Target.Available, need)
		d.blocked(d.st.Step.Since.Time, d.Target.Message)
		d.lookAgain(deadline)
		return false
	}
	want.KeepPrimary = d.Target.Available == 0 ||
		!d.Target.Ready && serving.FarTooFew(d.Target.Available, need) && d.Target.Available < d.Primary.Available
	want.LeadToPrimary = want.KeepPrimary
	return true
}

// released is true when the mesh has been without the route for long enough for nobody to
// be on his way to what goes now, or does not let itself be asked within the deadline.
func released(d *decider) bool {
	since := d.st.Step.Since.Time
	// The Services go on leading to a primary that stays.
	gone := d.Route.InSync || d.out.Desired.LeadToPrimary && d.Route.Has == nil && d.Outage == ""
	if !gone {
		d.waiting = "waiting for the mesh to give up the route"
		detail := conditions.Unreleased(&d.Observation)
		// As long as the target may take, once more.
		deadline := d.deadline(since, 2*d.Canary.GetProgressDeadline())
		if !d.Now.Before(deadline) {
			d.event(true, release.ReasonLeftBehind, "The route could not be taken back"+within(d)+"; it is left behind, and what it leads to stays: "+detail)
			d.out.Desired.KeepPrimary, d.out.Desired.KeepRoute = true, true
			return true
		}
		d.blocked(since, detail)
		if d.Outage != "" {
			d.stalled = &release.Mistake{Reason: release.ReasonMeshUnreachable, Message: d.Outage}
		}
		d.lookAgain(deadline)
		return false
	}
	d.waiting = "waiting for requests that are on their way"
	if drained := later(d.Route.Seen, since).Add(d.Canary.GetDrainDelay()); d.Now.Before(drained) {
		d.lookAgain(drained)
		return false
	}
	return true
}

func describeTermination(d *decider) {
	if d.out.Desired.KeepPrimary && d.out.Desired.LeadToPrimary {
		stall(d, release.ReasonLeftBehind, conditions.LeftBehind(&d.Observation))
	}
	d.describe()
}
