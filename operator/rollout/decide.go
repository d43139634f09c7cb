// Package rollout decides. Decide is a pure function from what was observed to
// the next status, the desired state of the world and the moment to look
// again. It has no client, reads no clock and logs nothing, so that every rule
// that moves users' traffic can be tested with a table.
package rollout

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/adopt"
	"github.com/sluice-delivery/sluice/operator/rollout/conditions"
	"github.com/sluice-delivery/sluice/operator/rollout/restore"
	"github.com/sluice-delivery/sluice/operator/rollout/scaling"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
	"github.com/sluice-delivery/sluice/operator/rollout/turns"
)

// Decide gives the next status of a rollout and the state of the world that it
// asks for. It is pure: the same observation gives the same decision.
//
// It goes in this order, in every state:
//
//  1. The plan: where the release stands, by the phase and what was observed. What holds
//     a rollout, as a mistake in the spec or a suspension, holds this.
//  2. Who serves (package serving): what is planned, as far as canary and primary can.
//  3. The desired state of the world, from the status that came of it.
//
// The status decides and the world follows. Whatever waits (for pods, for the mesh, for an
// interval) leaves the status as it is.
func Decide(o release.Observation) release.Decision {
	d := newDecider(o)
	hold := conditions.HoldOf(&d.Observation)
	switch {
	case !o.Canary.DeletionTimestamp.IsZero():
		terminate(d)
	case hold != nil && untouchable(d):
		describeHold(d, hold)
		d.out.Desired.Hold = true
	case hold != nil:
		d.held = true
		adopt.Status(&d.Observation, d.st)
		adopt.Revision(&d.Observation, d.st)
		d.out.Events = append(d.out.Events, restore.Note(&d.Observation, d.st)...)
		keepSafe(d, hold)
		conclude(d)
		holdDesired(d)
		describeHold(d, hold)
	default:
		adopt.Status(&d.Observation, d.st)
		adopt.Revision(&d.Observation, d.st)
		d.out.Events = append(d.out.Events, restore.Note(&d.Observation, d.st)...)
		if !act(d) {
			advance(d)
		}
		conclude(d)
		d.describe()
		adopt.RememberTarget(d.Target, &d.Canary.Status, d.st)
	}
	keepWords(d)
	conditions.KeepTimes(&d.Canary.Status, d.st)
	d.out.Status = *d.st
	d.out.PrimaryImages, d.out.TargetImages = o.Primary.Images, o.Target.Images
	return d.out
}

// decider carries one decision while it is made.
type decider struct {
	release.Observation
	st  *v1beta1.CanaryStatus
	out release.Decision
	// waiting says what the present phase waits for.
	waiting string
	// held is true while a mistake, an outage or a suspension holds the plan.
	held bool
	// stalled is set when the rollout can't go on without a person.
	stalled *release.Mistake
	// health is what the deadline runs for.
	health health
}

func newDecider(o release.Observation) *decider {
	d := &decider{Observation: o, st: o.Canary.Status.DeepCopy()}
	adopt.Bound(d.st, d.Now)
	d.st.ObservedGeneration = o.Canary.Generation
	if o.Route.Fixed {
		// No user's request reaches the canary, so that its pods can take nothing over
		// from the primary.
		d.Primary.Interrupted = false
	}
	if known := d.st.AppliedTarget; known != nil && known.UID != "" && known.UID == o.Target.UID && o.Target.Generation < known.Generation {
		// A cache that is older than the status can say nothing new.
		d.Target.Revision, d.Target.Ready, d.Target.Message = d.st.LastAppliedSpec, false, "its present state is not known yet"
	}
	return d
}

// conclude is the same at the end of every decision: who serves, and what the world
// must be for that.
func conclude(d *decider) {
	recordHealth(d)
	turns.Done(d.st)
	recordFacts(d)
	serve(d)
	stamp(d)
	desire(d)
}

// recordFacts notes what can't be observed any more once it is gone.
func recordFacts(d *decider) {
	if d.Primary.Exists && d.Primary.Replicas > 0 && d.st.LastPromotedSpec != "" {
		d.st.PrimaryReplicas = scaling.Needed(d.Primary, release.Workload{}, d.st.PrimaryReplicas, serving.Helps(d.st))
	}
	// What people are led by is on record before they are.
	if d.Identity != nil && (takenOver(d) || routed(d)) {
		d.st.Identity = d.Identity.DeepCopy()
	}
	if d.st.ReleasedReplicas == d.Primary.Replicas || release.Running(d.st.Phase) {
		d.st.ReleasedReplicas = 0
	}
}

// takenOver is true where people may be led to the primary already.
func takenOver(d *decider) bool {
	return d.st.LastPromotedSpec != "" || d.st.Identity != nil || d.Route.Has != nil
}

func (d *decider) event(warning bool, reason, message string) {
	d.out.Events = append(d.out.Events, release.Event{Warning: warning, Reason: reason, Message: message})
}

func (d *decider) describe() {
	if d.Route.Contested {
		d.lookAgain(d.Now.Add(time.Minute)) // when nobody does any more, nothing tells
	}
	d.out.Events = append(d.out.Events, conditions.Write(&d.Observation, d.st, d.waiting, d.stalled)...)
}

// stamp notes the time of a transition.
func stamp(d *decider) {
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
	due := since.Add(patience)
	if d.Now.Before(due) {
		d.lookAgain(due)
		return
	}
	d.waiting += ": " + detail
}

// keepWords leaves a status as it is that would say the same in other words alone, if it has said others a moment ago. Of two
// leaders for a moment one goes by another clock and by older caches, and each would set right what the other has written.
func keepWords(d *decider) {
	if len(d.out.Events) > 0 {
		return // there is news in them
	}
	if since := conditions.KeepWords(&d.Canary.Status, d.st, d.Now, patience); !since.IsZero() {
		d.lookAgain(since.Add(patience))
	}
}

// lookAgain asks for the next look no later than at t.
func (d *decider) lookAgain(t time.Time) {
	in := max(t.Sub(d.Now), time.Millisecond)
	if d.out.RequeueAfter == 0 || in < d.out.RequeueAfter {
		d.out.RequeueAfter = in
	}
}

// advance takes the transition that the observation allows, if any.
func advance(d *decider) {
	switch d.st.Phase {
	case "", v1beta1.PhaseInitializing:
		initialize(d)
	case v1beta1.PhaseWaiting:
		confirmRollout(d)
	case v1beta1.PhaseProgressing, v1beta1.PhaseWaitingPromotion:
		progress(d)
	case v1beta1.PhasePromoting:
		promote(d)
	case v1beta1.PhaseFinalising:
		finalise(d)
	case v1beta1.PhaseInitialized, v1beta1.PhaseSucceeded, v1beta1.PhaseFailed:
		betweenReleases(d)
	case v1beta1.PhaseTerminating, v1beta1.PhaseTerminated:
		// Only a Canary that is being deleted is here, and it is not.
		d.st.Phase = v1beta1.PhaseInitializing
	}
}

// betweenReleases is the state in which the primary serves and nothing is analysed.
func betweenReleases(d *decider) {
	if retry(d) || reactToRevision(d) {
		return
	}
	d.well()
	postRollout(d)
	awaitRollback(d)
}

// begin starts an analysis of the target's revision.
func begin(d *decider, reason, what string) {
	replace, until := haveReadOthers(d), "it gets traffic when it is ready"
	if replace {
		until = "its pods are replaced, as they may have read ConfigMaps and Secrets as these were before, and get traffic when they are ready"
	}
	d.event(false, reason, what+" ("+d.Primary.Images+" -> "+d.Target.Images+"); "+until)
	if d.st.Phase == v1beta1.PhasePromoting && d.Primary.Carries(d.st.LastAppliedSpec) {
		d.st.LastPromotedSpec = d.st.LastAppliedSpec // that is what it can be made from again, and what it was found good as
	}
	d.st.Step = nil
	d.st.ChangedConfigs = turns.Causes(&d.Observation, d.st)
	gated := len(d.hooks(v1beta1.ConfirmRolloutHook)) > 0
	d.st.Admission = turns.Begin(&d.Observation, d.st, gated)
	d.st.Phase = v1beta1.PhaseProgressing
	if gated || d.st.Admission != nil {
		d.st.Phase = v1beta1.PhaseWaiting
	}
	d.st.StartedAt = microTime(d.Now)
	d.st.LastAppliedSpec = d.Target.Revision
	d.st.FailedChecks = 0
	d.st.Checks, d.st.History, d.st.Judgement = nil, nil, nil
	d.st.PostRollout = nil
	d.st.Unwell = nil
	serving.EndSessions(d.st)
	enterStep(d, 0)
	if replace {
		d.st.Step.Replacing, d.st.Step.Pods = true, d.Target.Replicas
	}
	d.st.Iterations = 0
	d.waiting = stepName(d)
}

// rollBack ends a release: the primary, which was not touched, gets all
// traffic. Only where it can't serve any the canary goes on until it can.
func rollBack(d *decider, reason, why string) {
	d.st.Phase = v1beta1.PhaseFailed
	d.st.Step = nil
	d.st.Gate = nil
	callPostRollout(d)
	d.st.Paused = false
	d.well()
	serving.EndSessions(d.st)
	outcome := d.Canary.PrimaryName() + " serves all traffic"
	if d.Primary.Available == 0 && d.Target.Available > 0 && !d.Route.Fixed {
		outcome = "the canary goes on serving until " + d.Canary.PrimaryName() + " has an available pod"
	}
	d.event(true, reason, "Rolled back "+d.Target.Images+": "+why+"; "+outcome)
	d.waiting = why
}

// needStep repairs a status without step, as one that another operator wrote.
func needStep(d *decider) {
	if d.st.Step != nil {
		return
	}
	d.st.Step = &v1beta1.StepStatus{Since: metav1.NewMicroTime(d.Now), Share: v1beta1.ShareAll, Weight: d.st.CanaryWeight, Plan: d.plan().Hash()}
	if serving.Current(d.st).Matched {
		d.st.Step.Share = v1beta1.ShareMatching
	}
	if release.Analysing(d.st.Phase) {
		d.st.Step.Index = adopt.Step(d.Canary, d.st)
	}
}

// stepBegan is when the present step began: when the mesh was seen to have its
// route, which is never before it was asked for.
func (d *decider) stepBegan() time.Time { return later(d.st.Step.Since.Time, d.Route.Since) }
