package view

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Explanation says why a release is where it is.
type Explanation struct {
	// Summary is one paragraph.
	Summary string `json:"summary"`
	// Checks are those that speak against the release.
	Checks []Check `json:"checks,omitempty"`
	// Rounds are the rounds of checks that did not pass.
	Rounds []Round `json:"rounds,omitempty"`
	// Pods are those that don't get on.
	Pods []string `json:"pods,omitempty"`
	// Refused is the last action, where it was refused and about the present release or the last one.
	Refused *Action `json:"refused,omitempty"`
	// Warnings are about what is beside the release.
	Warnings []string `json:"warnings,omitempty"`
	// Advice is what a person can do.
	Advice []Advice `json:"advice,omitempty"`
}

// Why explains a release.
func Why(r *Release, now time.Time) Explanation {
	e := Explanation{Summary: summary(r, now), Warnings: r.Warnings, Advice: r.Advice}
	if r.State != AtRest {
		for _, c := range r.Checks {
			if c.Verdict != v1beta1.CheckPassed && c.Verdict != v1beta1.CheckSkipped {
				e.Checks = append(e.Checks, c)
			}
		}
		for _, round := range r.Rounds {
			if round.Verdict != v1beta1.CheckPassed {
				e.Rounds = append(e.Rounds, round)
			}
		}
	}
	for _, s := range []Side{r.Primary, r.Canary} {
		e.Pods = append(e.Pods, s.Trouble...)
	}
	if len(r.Actions) > 0 && r.Actions[0].State == v1alpha1.ActionRefused && !askedBefore(r.Actions[0].Time, r.Started) {
		e.Refused = &r.Actions[0]
	}
	for _, a := range r.Actions {
		if a.State == v1alpha1.ActionPending {
			e.Summary += fmt.Sprintf(" %s%s is asked for and waits.", a.Action, by(a.By))
		}
	}
	return e
}

// askedBefore tells whether something was asked for before a release began: it was about another one.
func askedBefore(asked metav1.Time, began *metav1.Time) bool {
	return began != nil && asked.Before(&metav1.Time{Time: began.Truncate(time.Second)})
}

func summary(r *Release, now time.Time) string {
	name := r.Namespace + "/" + r.Name
	what := name + " " + isAt[r.State]
	if r.Step != nil {
		what += " in " + phaseOf(r)
	}
	what += sinceWhen(r, now) + ": " + strings.TrimSuffix(r.Message, ".") + "."
	if r.FailedChecks > 0 && r.State != AtRest && !strings.Contains(r.Message, "failed check") {
		what += fmt.Sprintf(" %d of %d rounds of checks have failed.", r.FailedChecks, r.Threshold)
	}
	if who := serves(r); who != "" && !strings.Contains(r.Message, "of the traffic") && !strings.Contains(r.Message, "all traffic") {
		what += " " + who
	}
	if last := lastOf(r.Actions); last != nil {
		what += fmt.Sprintf(" The last action was %s%s", last.Action, by(last.By))
		if last.Reason != "" {
			what += " (" + last.Reason + ")"
		}
		what += " " + ago(now, last.Time.Time) + " ago."
	}
	return what
}

// sinceWhen says for how long it is so, where that is known.
func sinceWhen(r *Release, now time.Time) string {
	switch {
	case r.Gate != nil && r.State == AtGate:
		return " for " + ago(now, r.Gate.Since.Time)
	case r.Turn != nil && r.State == AtPolicy:
		return " for " + ago(now, r.Turn.Since.Time)
	case r.Changed == nil:
		return ""
	case r.State == RolledBack:
		return " " + ago(now, r.Changed.Time) + " ago"
	case r.State == AtRest || r.State == Progressing || r.State == Promoting:
		return " for " + ago(now, r.Changed.Time)
	default:
		return ""
	}
}

// lastOf is the last action that was done to a release. A Check changes nothing of it.
func lastOf(all []Action) *Action {
	for i := range all {
		if all[i].State == v1alpha1.ActionDone && all[i].Action != v1beta1.ActionCheck {
			return &all[i]
		}
	}
	return nil
}

var isAt = map[State]string{
	Halted: "has halted in its promotion", Stalled: "is stalled", RolledBack: "was rolled back", AtGate: "waits at a gate",
	Paused: "is paused", Suspended: "is suspended", AtPolicy: "has a release that has not begun", Initializing: "is being initialized", Progressing: "is being analysed",
	Promoting: "is being promoted", Terminating: "is being deleted", AtRest: "is at rest",
}

func phaseOf(r *Release) string {
	if r.Step.Index == 0 {
		return "step 0 (the canary becomes ready)"
	}
	return fmt.Sprintf("step %d of %d", r.Step.Index, r.Step.Of)
}

func serves(r *Release) string {
	switch {
	case r.Traffic.Canary == 0 && r.Traffic.Mirror > 0:
		return fmt.Sprintf("%s serves everything, and the canary gets copies of %d%%.", r.Primary.Name, r.Traffic.Mirror)
	case r.Traffic.Canary == 0 && r.State != Initializing:
		return r.Primary.Name + " serves everything."
	case r.Traffic.Canary == 0:
		return ""
	case r.Traffic.Matched:
		return fmt.Sprintf("The canary serves %d%% of the requests that match.", r.Traffic.Canary)
	default:
		return fmt.Sprintf("The canary serves %d%% of the requests.", r.Traffic.Canary)
	}
}

func by(who string) string {
	if who == "" {
		return ""
	}
	return " by " + who
}

// ago is a time span for people, in at most two units.
func ago(now, then time.Time) string { return span(now.Sub(then)) }

func span(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return two(d, time.Minute, "m", time.Second, "s")
	case d < 24*time.Hour:
		return two(d, time.Hour, "h", time.Minute, "m")
	default:
		return two(d, 24*time.Hour, "d", time.Hour, "h")
	}
}

func two(d, large time.Duration, name string, small time.Duration, nameOfSmall string) string {
	out := fmt.Sprintf("%d%s", d/large, name)
	if remaining := d % large / small; remaining > 0 {
		out += fmt.Sprintf("%d%s", remaining, nameOfSmall)
	}
	return out
}
