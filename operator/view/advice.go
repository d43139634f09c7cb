package view

import (
	"slices"
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/hands"
)

// Possible are the actions that would not be refused as a Canary is now, as far as its status tells: the operator has
// the last word. A button or a command for another one is of no use.
func Possible(c *v1beta1.Canary) []v1beta1.ActionType {
	if !c.DeletionTimestamp.IsZero() || c.Status.Phase == "" {
		return nil
	}
	var out []v1beta1.ActionType
	analysing := release.Analysing(c.Status.Phase)
	if c.Status.Paused {
		out = append(out, v1beta1.ActionResume)
	} else {
		out = append(out, v1beta1.ActionPause)
	}
	if analysing {
		out = append(out, v1beta1.ActionPromote, v1beta1.ActionAbort)
	}
	if turnOf(c) != nil {
		out = append(out, v1beta1.ActionApprove)
	} else if a := ofStep(&c.Status); analysing && a != "" {
		out = append(out, a)
	}
	if c.Status.Phase == v1beta1.PhaseFailed {
		out = append(out, v1beta1.ActionRetry)
	}
	return out
}

// Earlier are the revisions of the past that the primary can be given again, the newest first: nobody is about to change it
// otherwise, and it has what they were configured with.
func Earlier(c *v1beta1.Canary, history []Past) []string {
	st := &c.Status
	if !c.DeletionTimestamp.IsZero() || st.Rollback != nil || !release.Analysing(st.Phase) && !release.Idle(st.Phase) {
		return nil
	}
	var out []string
	for _, p := range history {
		if p.State == StatePromoted && p.Revision != st.LastPromotedSpec && p.Revision != st.LastAppliedSpec && hands.Configs(p.Revision) == hands.Configs(st.LastPromotedSpec) {
			out = append(out, p.Revision)
		}
	}
	return out
}

// ofStep is what can be done with the present step or its gate, empty for nothing.
func ofStep(st *v1beta1.CanaryStatus) v1beta1.ActionType {
	step, gate := st.Step, st.Gate
	switch {
	case gate != nil && (step == nil || step.Approved != gate.Type):
		return v1beta1.ActionApprove
	case gate == nil && step != nil && step.Index > 0 && !step.Ended && !st.Paused:
		return v1beta1.ActionAdvance
	default:
		return ""
	}
}

// adviceOf is what a person can do about a release that does not get on.
func adviceOf(c *v1beta1.Canary, r *Release) []Advice {
	switch r.State {
	case RolledBack:
		return []Advice{
			{Text: "Mend the new version and release it, or set " + r.Target + " back to what " + r.Primary.Name + " runs."},
			{Text: "Where the new version is not at fault, try it again:", Command: command("retry", r)},
		}
	case Halted:
		return []Advice{{Text: "The canary serves meanwhile. Mend " + r.Primary.Name + " (its pods say why they are not ready), release another revision, or set " + r.Target + " back: it goes on by itself."}}
	case AtGate:
		return atGate(r)
	case Paused:
		return []Advice{
			{Text: "Go on:", Command: command("resume", r)},
			{Text: "Roll it back:", Command: command("abort", r) + " --reason=..."},
		}
	case Suspended:
		return []Advice{{Text: "Set spec.suspend to false."}}
	case Stalled:
		return stalled(c, r)
	case AtPolicy:
		return waiting(r)
	case Initializing, Progressing, Promoting, Terminating, AtRest:
	}
	return nil
}

// waiting is what can be done about a release that waits for its turn.
func waiting(r *Release) []Advice {
	return []Advice{
		{Text: "It begins by itself when " + orElse(r.Turn.Policy, "the release policies") + " allows it. Where it can't wait, let it begin all the same:", Command: command("approve", r)},
		{Text: "Call it off:", Command: command("abort", r) + " --reason=..."},
	}
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func atGate(r *Release) []Advice {
	out := []Advice{{Text: "The hook decides: it has to answer with success." + hooks(r.Gate)}}
	if slices.Contains(r.Possible, v1beta1.ActionApprove) {
		out = append(out, Advice{Text: "Open the gate by hand, whatever the hook answers:", Command: command("approve", r)})
	}
	if slices.Contains(r.Possible, v1beta1.ActionAbort) {
		out = append(out, Advice{Text: "Roll it back:", Command: command("abort", r) + " --reason=..."})
	}
	return out
}

func hooks(g *Gate) string {
	if g == nil || len(g.URLs) == 0 {
		return ""
	}
	return " It is asked at " + strings.Join(g.URLs, ", ") + "."
}

// whatToDo is for the reasons of the condition Stalled.
var whatToDo = map[string]string{
	"InvalidSpec":                "Change the field that the message names.",
	"UnknownProvider":            "Set spec.provider to one of those that the message lists.",
	"MeshNotInstalled":           "Install the mesh, or set spec.provider to the one that is.",
	"TargetMissing":              "Create the workload that spec.targetRef names.",
	"TargetShared":               "Delete one of the Canaries, or give one of them another target and Service.",
	"NoSelectorLabel":            "Give the target's selector one of the labels that the message names, or set the operator's -selector-labels.",
	"ObjectConflict":             "Delete the object that the message names, or use another name.",
	release.ReasonRollbackHalted: "What is left of the primary's pods serves. See why its new ones don't start, release a revision that mends it, or roll back to another one.",
	"ImmutableField":             "Set the field back, or delete the Canary, which loses no request, and create it again.",
	"PrimaryMissing":             "Set the target back to the revision that was promoted, or release another one.",
	"ConfigsUnreadable":          "Give the operator the right to read what the message names, or mend it.",
	release.ReasonLeftBehind:     "Nothing else could serve, so the primary stays. Delete what has the label sluice.dev/canary with the name of the Canary once nobody needs it.",
}

func stalled(c *v1beta1.Canary, r *Release) []Advice {
	what, known := whatToDo[r.Reason]
	switch {
	case known:
	case r.Reason == release.ReasonDeadlineExceeded:
		what = "Mend the target: the pods of the first primary do not become ready."
	case r.Reason == release.ReasonApplyFailed:
		what = "Mend what could not be written, or give the operator the right to write it."
	default:
		what = "Mend what the message names; the release goes on by itself then."
	}
	out := []Advice{{Text: what}}
	if release.Analysing(c.Status.Phase) {
		out = append(out, Advice{Text: "Roll it back:", Command: command("abort", r) + " --reason=..."})
	}
	return out
}

func command(verb string, r *Release) string {
	return "kubectl sluice " + verb + " " + r.Name + " -n " + r.Namespace
}
