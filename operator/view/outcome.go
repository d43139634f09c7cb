package view

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Goal is what somebody waits for.
type Goal string

// Goals.
const (
	// ForPromoted: the primary has the revision and serves.
	ForPromoted Goal = "promoted"
	// ForPaused: the Canary is paused.
	ForPaused Goal = "paused"
	// ForGate: the release waits at a closed gate.
	ForGate Goal = "gate"
	// ForReady: nothing is to be done.
	ForReady Goal = "ready"
)

// Goals are all of them.
func Goals() []Goal { return []Goal{ForPromoted, ForPaused, ForGate, ForReady} }

// Outcome is how a wait ends, or that it has not. Its numbers are exit statuses, for scripts.
type Outcome int

// Outcomes.
const (
	// Reached is what was waited for.
	Reached Outcome = 0
	// Missed can't be reached any more.
	Missed Outcome = 1
	// Undone is a revision that was rolled back, or that its user has set back.
	Undone Outcome = 2
	// TimedOut is a wait that has taken too long.
	TimedOut Outcome = 3
	// Person is a release that does not go on without a person.
	Person Outcome = 4
	// Waiting: it is to be looked at again.
	Waiting Outcome = -1
)

// Wait is a wait for one revision of one Canary.
type Wait struct {
	// Goal is what is waited for.
	Goal Goal
	// Revision is the one that is waited for. Empty until it is known: it is the first one that the status is about
	// and that the target is of.
	Revision string
	// Target is the revision of the target's pod template when the wait began, without that of its configs. Empty where
	// nobody could read it.
	Target string
	// Patient waits for people too, where a release does not go on without one.
	Patient bool

	before string // what was promoted when it began
	begun  bool
	seen   bool // the status was about Revision
}

// Look judges a Canary as it is now. The message says why, for people.
func (w *Wait) Look(c *v1beta1.Canary) (Outcome, string) {
	st := &c.Status
	if !w.begun {
		w.begun, w.before = true, st.LastPromotedSpec
	}
	if !c.DeletionTimestamp.IsZero() {
		return Missed, "the Canary is being deleted"
	}
	state := stateOf(c)
	_, message := messageOf(c, state)
	if w.Revision == "" && w.sameTemplate(st.LastAppliedSpec) {
		w.Revision = st.LastAppliedSpec
	}
	switch {
	case w.Revision == "" || !w.seen && st.LastAppliedSpec != w.Revision && st.LastPromotedSpec != w.Revision:
		if state == Stalled && Settled(c) || state == Suspended {
			return w.person(message)
		}
		return Waiting, strings.TrimSuffix("the release of "+w.Revision, " of ") + " has not begun: " + message
	case st.LastAppliedSpec != w.Revision:
		return w.replaced(st)
	}
	w.seen = true
	return w.present(c, state, message)
}

// present judges a Canary whose status is about the revision.
func (w *Wait) present(c *v1beta1.Canary, state State, message string) (Outcome, string) {
	promoted := state == AtRest && c.Status.LastPromotedSpec == w.Revision
	switch {
	case w.reached(c, state, promoted):
		return Reached, message
	case (w.Goal == ForGate || w.Goal == ForPaused) && promoted:
		return Missed, w.Revision + " is promoted: " + message
	case c.Status.Phase == v1beta1.PhaseFailed:
		if was := c.Status.GetCondition(v1beta1.ConditionPromoted); was != nil {
			message = was.Message
		}
		return Undone, "rolled back: " + message
	case state == Stalled && !Settled(c):
		return Waiting, message
	case state.NeedsPerson():
		return w.person(message)
	default:
		return Waiting, message
	}
}

// reached tells whether the goal is.
func (w *Wait) reached(c *v1beta1.Canary, state State, promoted bool) bool {
	switch w.Goal {
	case ForPromoted:
		return promoted
	case ForReady:
		return promoted && isTrue(c, v1beta1.ConditionReady) && Settled(c)
	case ForPaused:
		return c.Status.Paused
	case ForGate:
		return state == AtGate
	}
	return false
}

// replaced judges a Canary whose status is about another revision by now.
func (w *Wait) replaced(st *v1beta1.CanaryStatus) (Outcome, string) {
	switch {
	case st.LastPromotedSpec == w.Revision && (w.Goal == ForPromoted || w.Goal == ForReady):
		return Reached, w.Revision + " was promoted, and " + st.LastAppliedSpec + " is released by now"
	case st.LastPromotedSpec == w.Revision:
		return Missed, w.Revision + " was promoted, and " + st.LastAppliedSpec + " is released by now"
	case st.LastAppliedSpec == w.before:
		return Undone, "the target was set back from " + w.Revision + " to " + w.before
	default:
		return Missed, fmt.Sprintf("%s was replaced by %s before it was promoted", w.Revision, st.LastAppliedSpec)
	}
}

func (w *Wait) person(message string) (Outcome, string) {
	if w.Patient {
		return Waiting, message
	}
	return Person, message
}

func isTrue(c *v1beta1.Canary, kind v1beta1.CanaryConditionType) bool {
	is := c.Status.GetCondition(kind)
	return is != nil && is.Status == corev1.ConditionTrue
}

// Comparable tells whether the target's revision, as it was read, and that of a status were computed in the same way, so that it can be
// told whether they are of the same pod template. Where the operator is of another version they need not be.
func (w *Wait) Comparable(revision string) bool {
	is, _, known := strings.Cut(w.Target, "-")
	was, _, found := strings.Cut(revision, "-")
	return known && found && is == was
}

// sameTemplate tells whether a revision, FORMAT-HASH or FORMAT-HASH-CONFIGS, is of the target's pod template. Where that can't be told it
// may be, so that it is taken for one.
func (w *Wait) sameTemplate(revision string) bool {
	return revision != "" && (!w.Comparable(revision) || revision == w.Target || strings.HasPrefix(revision, w.Target+"-"))
}
