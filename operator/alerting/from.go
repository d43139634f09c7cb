package alerting

import (
	"strconv"
	"strings"
	"time"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/plan"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
)

// Images are what primary and target ran when something was decided.
type Images struct{ Primary, Target string }

// From makes the alert of an event that took a Canary from one status to another. It returns false for an event of which
// nobody needs to be told. It is pure; at is the time of the event.
func From(before *v1beta1.CanaryStatus, after *v1beta1.Canary, images Images, e release.Event, cluster string, at time.Time) (alerts.Alert, bool) {
	r := ruleOf(e)
	if r.title == "" || e.Muted {
		return alerts.Alert{}, false
	}
	is := &after.Status
	rolledBack := is.Phase == v1beta1.PhaseFailed && before.Phase != v1beta1.PhaseFailed
	title := r.title
	if rolledBack {
		title = "Rolled back, " + lower(title)
	}
	a := alerts.Alert{
		Cluster: cluster, Namespace: after.Namespace, Name: after.Name,
		TargetKind: after.Spec.TargetRef.Kind, TargetName: after.Spec.TargetRef.Name,
		Severity: r.severityOf(rolledBack, release.Running(is.Phase)), Reason: e.Reason, Title: title, Text: e.Message,
		Revision: is.LastAppliedSpec, Phase: is.Phase, Weight: is.CanaryWeight,
		FailedChecks: is.FailedChecks, Threshold: after.GetAnalysis().GetThreshold(), Checks: against(is.Checks), Time: at,
	}
	a.From, a.To = images.Primary, images.Target
	a.Final = rolledBack || r.ends
	progress(&a, before, after, r.ends && !rolledBack)
	if release.Running(is.Phase) || release.Running(before.Phase) {
		of := is
		if e.Reason == release.ReasonReverted {
			of = before // it is about the release that was under way
		}
		belong(&a, after, of)
	}
	return a, true
}

// progress says how far the release has come; for one that was rolled back, how far it had come. Of one that ended well
// nothing is left to be told.
func progress(a *alerts.Alert, before *v1beta1.CanaryStatus, after *v1beta1.Canary, endedWell bool) {
	if endedWell {
		a.Weight, a.Checks = 0, nil
		return
	}
	step := after.Status.Step
	if a.Final {
		step = before.Step
		a.Weight = max(a.Weight, before.CanaryWeight)
	}
	if step != nil {
		a.Step, a.Steps = step.Index, plan.Steps(after.GetAnalysis())
	}
}

// belong makes an alert one of a release.
func belong(a *alerts.Alert, c *v1beta1.Canary, of *v1beta1.CanaryStatus) {
	a.Release = Release(c, of)
	a.Revision = of.LastAppliedSpec
	if of.StartedAt != nil {
		a.Started = of.StartedAt.Time
	}
}

// Release identifies one release. The same revision may be released, or tried, again: that is another one.
func Release(c *v1beta1.Canary, of *v1beta1.CanaryStatus) string {
	parts := []string{string(c.UID), of.LastAppliedSpec}
	if of.StartedAt != nil {
		parts = append(parts, strconv.FormatInt(of.StartedAt.Unix(), 10))
	}
	return strings.Join(parts, "/")
}

// against are the checks that speak against a release. One that was not asked says nothing, nor does one with too little
// evidence.
func against(all []v1beta1.CheckStatus) []v1beta1.CheckStatus {
	var out []v1beta1.CheckStatus
	for _, c := range all {
		if c.Verdict != v1beta1.CheckPassed && c.Verdict != v1beta1.CheckSkipped && c.Verdict != v1beta1.CheckUndecided && !c.DryRun && !c.WarmingUp {
			out = append(out, c)
		}
	}
	return out
}

func lower(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
