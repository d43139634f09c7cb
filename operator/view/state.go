package view

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// State sums up where a Canary stands, for people and for programs.
type State string

// States, those that need a person first.
const (
	// Halted: the primary did not become ready with the new revision.
	Halted State = "Halted"
	// Stalled: something in the Canary, or in what it refers to, has to be mended.
	Stalled State = "Stalled"
	// RolledBack: the last release has failed.
	RolledBack State = "RolledBack"
	// AtGate: a gate is closed.
	AtGate State = "AtGate"
	// Paused: a person has paused it.
	Paused State = "Paused"
	// Suspended: spec.suspend is true.
	Suspended State = "Suspended"
	// AtPolicy: the release policies have not let the release begin.
	AtPolicy State = "AtPolicy"
	// Initializing: the first primary is being made.
	Initializing State = "Initializing"
	// Progressing: a revision is being analysed.
	Progressing State = "Progressing"
	// Promoting: the primary is getting the revision, or its traffic.
	Promoting State = "Promoting"
	// Terminating: the Canary is being deleted.
	Terminating State = "Terminating"
	// AtRest: the primary serves, and there is nothing to do.
	AtRest State = "AtRest"
)

var states = []State{Halted, Stalled, RolledBack, AtGate, Paused, Suspended, AtPolicy, Initializing, Progressing, Promoting, Terminating, AtRest}

// States are all of them, those that need attention most first.
func States() []State { return slices.Clone(states) }

// NeedsPerson tells whether nothing goes on until a person does something.
func (s State) NeedsPerson() bool { return s.rank() <= Suspended.rank() }

// UnderWay tells whether something goes on by itself.
func (s State) UnderWay() bool { return !s.NeedsPerson() && s != AtRest }

// rank is the smaller, the more a state needs attention.
func (s State) rank() int {
	for i, known := range states {
		if known == s {
			return i
		}
	}
	return len(states)
}

func stateOf(c *v1beta1.Canary) State {
	st := &c.Status
	stalled := st.GetCondition(v1beta1.ConditionStalled)
	isStalled := stalled != nil && stalled.Status == corev1.ConditionTrue
	switch {
	case !c.DeletionTimestamp.IsZero() && !isStalled:
		return Terminating
	case release.PromotionFailed(st):
		return Halted
	case isStalled && st.Phase == v1beta1.PhaseFailed && stalled.Reason == string(v1beta1.PhaseFailed):
		return RolledBack
	case isStalled:
		return Stalled
	case c.Spec.Suspend:
		return Suspended
	case st.Paused:
		return Paused
	case st.Gate != nil:
		return AtGate
	case turnOf(c) != nil:
		return AtPolicy
	}
	return stateOfPhase(st.Phase)
}

func stateOfPhase(phase v1beta1.CanaryPhase) State {
	switch phase {
	case v1beta1.PhaseProgressing, v1beta1.PhaseWaiting, v1beta1.PhaseWaitingPromotion:
		return Progressing
	case v1beta1.PhasePromoting, v1beta1.PhaseFinalising:
		return Promoting
	case v1beta1.PhaseInitialized, v1beta1.PhaseSucceeded:
		return AtRest
	case v1beta1.PhaseFailed:
		return RolledBack
	case v1beta1.PhaseTerminating, v1beta1.PhaseTerminated:
		return Terminating
	case "", v1beta1.PhaseInitializing:
		return Initializing
	}
	return Initializing
}

// messageOf is what the condition says that tells most.
func messageOf(c *v1beta1.Canary, s State) (reason, message string) {
	kinds := []v1beta1.CanaryConditionType{v1beta1.ConditionStalled, v1beta1.ConditionReconciling, v1beta1.ConditionReady}
	if s == Suspended || s == Paused {
		kinds = []v1beta1.CanaryConditionType{v1beta1.ConditionReady}
	}
	for _, kind := range kinds {
		if is := c.Status.GetCondition(kind); is != nil && (is.Status == corev1.ConditionTrue || kind == v1beta1.ConditionReady) {
			return is.Reason, is.Message
		}
	}
	return "", "the operator has not looked at it yet"
}

// Settled tells whether a status is about the spec that the Canary has now.
func Settled(c *v1beta1.Canary) bool {
	return c.Status.Phase != "" && c.Status.ObservedGeneration == c.Generation
}

// Compare orders releases: those that need attention most first, then by namespace and name.
func Compare(a, b *Release) int {
	return cmp.Or(a.State.rank()-b.State.rank(), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
