package rollout

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/rollout/rounds"
	"github.com/sluice-delivery/sluice/operator/rollout/text"
)

// health is what a decision has found out of what the deadline runs for.
type health struct {
	// known is false where nothing has changed of what is known.
	known bool
	// Reason says what is wrong; empty where nothing is.
	reason string
	// record has it written at once, as the status is written anyway.
	record bool
}

// unwell notes what is wrong. It counts for the deadline from when it goes on
// for longer than most waits do, which would only cost writes.
func (d *decider) unwell(reason string) {
	if reason == "" {
		reason = "it is not ready"
	}
	d.health = health{known: true, reason: reason}
}

// well notes that nothing is wrong, or that a person or a gate holds the release: the
// deadline stands still.
func (d *decider) well() { d.health = health{known: true} }

// overdue is true when what is wrong has lasted for the progress deadline.
func (d *decider) overdue() bool {
	if d.st.Unwell == nil {
		return false
	}
	return d.elapsed(d.st.Unwell.Since.Time) >= d.Canary.GetProgressDeadline()
}

// elapsed is how long ago a moment was, without the time in which there was no operator.
func (d *decider) elapsed(since time.Time) time.Duration { return d.Absence.Elapsed(d.Now, since) }

// deadline is when so much time will have gone by since a moment, without that in which there was no operator. One that can't reach the
// API server for longer than its lease lasts is none: it ends, and the next one counts from that lease.
func (d *decider) deadline(since time.Time, after time.Duration) time.Time {
	return since.Add(after + d.Now.Sub(since) - d.elapsed(since))
}

// within says how long was waited.
func within(d *decider) string { return fmt.Sprintf(" within %s", d.Canary.GetProgressDeadline()) }

// recordHealth puts what was found into the status.
func recordHealth(d *decider) {
	is := d.health
	switch {
	case !is.known:
	case is.reason == "":
		d.st.Unwell = nil
	case d.st.Unwell != nil:
		// The deadline runs on, whatever the reason is by now. That is told in a
		// condition; a write for it alone would be one for each change of a number.
	default:
		if due := changed(d).Add(patience); !is.record && d.Now.Before(due) {
			d.lookAgain(due)
			return
		}
		d.st.Unwell = &v1beta1.UnwellStatus{Since: metav1.NewMicroTime(d.Now), Reason: text.Cut(is.reason, rounds.MaxMessage)}
	}
	if d.st.Unwell != nil && !d.overdue() {
		d.lookAgain(d.Now.Add(d.Canary.GetProgressDeadline() - d.elapsed(d.st.Unwell.Since.Time)))
	}
}

// changed is when the release moved last.
func changed(d *decider) time.Time {
	out := d.st.LastTransitionTime.Time
	if d.st.Step != nil {
		out = later(out, d.st.Step.Since.Time)
	}
	if d.st.Phase != d.Canary.Status.Phase {
		return d.Now
	}
	return out
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func microTime(t time.Time) *metav1.MicroTime { return &metav1.MicroTime{Time: t} }
