package rollout

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Decide gives the next status of a rollout and the state of the world that it
// asks for. It is pure: the same observation gives the same decision.
//
// The status decides and the world follows: a phase or weight changes in
// Status first, and Desired is derived from it. Whatever waits (for pods, for
// the mesh, for an interval) leaves the status as it is.
func Decide(o Observation) Decision {
	o = unmoved(o)
	d := &decider{Observation: o, st: o.Canary.Status.DeepCopy()}
	d.st.ObservedGeneration = o.Canary.Generation
	switch {
	case !o.Canary.DeletionTimestamp.IsZero():
		d.terminate()
		d.stamp()
		d.describe()
	case o.Mistake != nil:
		d.hold(o.Mistake.Reason, o.Mistake.Message, true)
	case o.Outage != "":
		d.sitOut()
	case o.Canary.Spec.Suspend:
		d.hold(ReasonSuspended, "spec.suspend is true: nothing moves until it is false", false)
	default:
		d.adoptStatus()
		d.adoptRevision()
		if !d.act() {
			d.advance()
		}
		d.stamp()
		d.desire()
		d.describe()
		d.rememberTarget()
	}
	d.out.Status = *d.st
	d.out.PrimaryImages, d.out.TargetImages = o.Primary.Images, o.Target.Images
	return d.out
}

// decider carries one decision while it is made.
type decider struct {
	Observation
	st  *v1beta1.CanaryStatus
	out Decision
	// waiting says what the present phase waits for.
	waiting string
	// stalled is set when the rollout can't go on without a person.
	stalled *Mistake
}

func (d *decider) event(warning bool, reason, message string) {
	d.out.Events = append(d.out.Events, Event{Warning: warning, Reason: reason, Message: message})
}

// stamp notes the time of a transition.
func (d *decider) stamp() {
	if d.st.Phase != d.Canary.Status.Phase || d.st.CanaryWeight != d.Canary.Status.CanaryWeight {
		d.st.LastTransitionTime = metav1.NewTime(d.Now)
	}
}

// patience is how long a wait goes on before its details are told. Most waits
// are over sooner, and would only cost writes.
const patience = 15 * time.Second

// blocked says what holds up the rollout since a moment, when that is long
// enough ago.
func (d *decider) blocked(since time.Time, detail string) {
	told := since.Add(patience)
	if d.Now.Before(told) {
		d.lookAgain(told)
		return
	}
	d.waiting += ": " + detail
}

// lookAgain asks for the next look no later than at t.
func (d *decider) lookAgain(t time.Time) {
	in := max(t.Sub(d.Now), time.Millisecond)
	if d.out.RequeueAfter == 0 || in < d.out.RequeueAfter {
		d.out.RequeueAfter = in
	}
}

// advance takes the transition that the observation allows, if any.
func (d *decider) advance() {
	switch d.st.Phase {
	case "", v1beta1.PhaseInitializing:
		d.initialize()
	case v1beta1.PhaseWaiting:
		d.confirmRollout()
	case v1beta1.PhaseProgressing, v1beta1.PhaseWaitingPromotion:
		d.progress()
	case v1beta1.PhasePromoting:
		d.promote()
	case v1beta1.PhaseFinalising:
		d.finalise()
	case v1beta1.PhaseInitialized, v1beta1.PhaseSucceeded, v1beta1.PhaseFailed:
		d.rest()
	case v1beta1.PhaseTerminating, v1beta1.PhaseTerminated:
		// Only a Canary that is being deleted is here, and it is not.
		d.st.Phase = v1beta1.PhaseInitializing
	}
}

// initialize waits for the first primary and for the mesh to lead to it. Until
// the primary is ready it follows the target, so that a broken first version
// can be mended by setting another.
func (d *decider) initialize() {
	if d.st.LastAppliedSpec == "" {
		d.event(false, ReasonInitializing, "Creating "+d.Canary.PrimaryName()+" as a copy of "+d.target()+" ("+d.Target.Images+")")
	}
	d.st.Phase = v1beta1.PhaseInitializing
	first := d.Target.Revision
	if d.Primary.Ready && d.Primary.Revision != "" {
		first = d.Primary.Revision // it may serve already; what the target is now comes as a release
	}
	d.st.LastAppliedSpec = first
	d.waiting = "waiting for " + d.Canary.PrimaryName() + " to serve"
	since := d.st.LastTransitionTime.Time
	if since.IsZero() {
		since = d.Now
	}
	switch {
	case !d.primaryCarries(first):
		d.blocked(since, "it is not yet a copy of "+d.target())
	case !d.Primary.Ready:
		d.blocked(since, d.Primary.Message)
		d.overdue(since, ReasonDeadlineExceeded, d.Canary.PrimaryName()+" did not become ready")
	case d.st.CanaryWeight != 0:
		d.st.CanaryWeight = 0 // what a lost primary left with the canary
	case !d.Route.InSync:
		d.blocked(since, d.unrouted())
	default:
		d.st.Phase = v1beta1.PhaseInitialized
		d.st.LastPromotedSpec = first
		d.event(false, ReasonInitialized, d.Canary.PrimaryName()+" is ready and serves all traffic")
	}
}

// unrouted says why the route does not count yet.
func (d *decider) unrouted() string {
	const why = "the mesh does not show the route yet"
	if d.Route.Detail == "" {
		return why
	}
	return why + ": " + d.Route.Detail
}

// overdue tells, once, of a wait since a moment that lasts for longer than the
// progress deadline. The wait goes on.
func (d *decider) overdue(since time.Time, reason, what string) bool {
	if deadline := since.Add(d.Canary.GetProgressDeadline()); d.Now.Before(deadline) {
		d.lookAgain(deadline)
		return false
	}
	why := d.Primary.Message
	if why == "" {
		why = d.unrouted()
	}
	d.stalled = &Mistake{Reason: reason, Message: what + " within " + d.Canary.GetProgressDeadline().String() + ": " + why}
	if c := d.st.GetCondition(v1beta1.ConditionStalled); c == nil || c.Reason != reason {
		d.event(true, reason, d.stalled.Message)
	}
	return true
}

// rest is the state between releases.
func (d *decider) rest() {
	if d.retry() || d.reactToRevision() {
		return
	}
	switch {
	case d.st.Phase == v1beta1.PhaseSucceeded && d.onlyCanaryServes() && d.Target.Revision == d.st.LastPromotedSpec:
		d.settle() // the canary, which is not drained yet, runs what was promoted
	case d.st.CanaryWeight > 0 && !d.onlyCanaryServes():
		d.st.CanaryWeight = 0 // what a rollback left with the canary
		d.event(false, ReasonPrimaryRecovered, d.Canary.PrimaryName()+" serves all traffic again")
	default:
		d.postRollout()
	}
}

// reactToRevision begins, restarts or calls off an analysis when the target is
// another revision than the one that the status is about. It returns whether
// it did.
func (d *decider) reactToRevision() bool {
	switch {
	case !d.Primary.Exists:
		// Without a primary there is nothing to compare with: begin anew. The
		// route stays what it is until the new primary is ready.
		d.event(true, ReasonPrimaryMissing, d.Canary.PrimaryName()+" is gone; creating it again from "+d.target())
		d.st.Step, d.st.Gate = nil, nil
		d.initialize()
		return true
	case d.Target.Revision == d.st.LastAppliedSpec:
		return false
	case d.primaryCarries(d.Target.Revision):
		// Set back to what the primary runs: there is nothing to analyse.
		if d.running() || d.st.Phase == v1beta1.PhaseFailed {
			d.event(false, ReasonReverted, d.target()+" was set back to the revision that "+d.Canary.PrimaryName()+" runs ("+d.Target.Images+"); no analysis is needed")
		}
		d.st.LastAppliedSpec = d.Target.Revision
		d.st.LastPromotedSpec = d.Target.Revision
		d.st.FailedChecks = 0
		d.settle()
		return true
	default:
		verb := "New revision of "
		if d.running() {
			verb = "Analysis starts anew: another revision of "
		}
		d.begin(ReasonNewRevision, verb+d.target())
		return true
	}
}

// begin starts an analysis of the target's revision.
func (d *decider) begin(reason, what string) {
	d.event(false, reason, what+" ("+d.Primary.Images+" -> "+d.Target.Images+"); it gets traffic when it is ready")
	serves := d.st.CanaryWeight == 100 && (d.st.Step == nil || d.st.Step.Takeover) && d.Primary.Available < d.Primary.Replicas && d.Target.Available > 0
	serves = serves || d.st.CanaryWeight > 0 && d.onlyCanaryServes()
	d.st.Step = nil
	if serves {
		// The canary serves in place of a primary that has too few pods for it. One
		// that has enough, be they of an older revision, serves: nobody has looked at
		// the canary yet.
		d.st.Step = &v1beta1.StepStatus{Takeover: true}
	}
	d.st.Phase = v1beta1.PhaseProgressing
	if len(d.hooks(v1beta1.ConfirmRolloutHook)) > 0 {
		d.st.Phase = v1beta1.PhaseWaiting
	}
	d.st.StartedAt = &metav1.MicroTime{Time: d.Now}
	d.st.LastAppliedSpec = d.Target.Revision
	d.st.FailedChecks = 0
	d.st.Checks, d.st.History = nil, nil
	d.endSessions()
	d.enterStep(0, 0)
	d.st.Iterations = 0
	d.waiting = d.stepName()
}

// running is true while a release is under way.
func (d *decider) running() bool {
	switch d.st.Phase { //nolint:exhaustive // the rest are states between releases
	case v1beta1.PhaseProgressing, v1beta1.PhaseWaiting, v1beta1.PhaseWaitingPromotion,
		v1beta1.PhasePromoting, v1beta1.PhaseFinalising:
		return true
	default:
		return false
	}
}

// rollBack ends a release: the primary, which was not touched, gets all
// traffic. Only where it can't serve any the canary goes on until it can.
func (d *decider) rollBack(reason, why string) {
	d.st.Phase = v1beta1.PhaseFailed
	d.st.Step = nil
	d.callPostRollout()
	d.st.Paused = false
	d.endSessions()
	outcome := d.Canary.PrimaryName() + " serves all traffic"
	d.st.CanaryWeight = 0
	if d.onlyCanaryServes() {
		d.st.CanaryWeight = 100
		outcome = "the canary goes on serving until " + d.Canary.PrimaryName() + " has an available pod"
	}
	d.event(true, reason, "Rolled back "+d.Target.Images+": "+why+"; "+outcome)
	d.waiting = why
}

// onlyCanaryServes is true when all that could serve is the canary.
func (d *decider) onlyCanaryServes() bool { return d.Primary.Available == 0 && d.Target.Available > 0 }

// needStep repairs a status without step, as one that another operator wrote.
func (d *decider) needStep() {
	if d.st.Step != nil {
		return
	}
	d.st.Step = &v1beta1.StepStatus{Since: metav1.NewMicroTime(d.Now)}
	if analyses(d.st.Phase) {
		d.st.Step.Index = d.indexOf()
	}
}

// stepBegan is when the present step began: when the mesh was seen to have its
// route, which is never before it was asked for.
func (d *decider) stepBegan() time.Time {
	since := d.st.Step.Since.Time
	if d.Route.Since.After(since) {
		return d.Route.Since
	}
	return since
}

func (d *decider) primaryCarries(revision string) bool {
	return d.Primary.Exists && d.Primary.Revision == revision
}

func (d *decider) target() string {
	ref := d.Canary.Spec.TargetRef
	return ref.Kind + "/" + ref.Name
}
