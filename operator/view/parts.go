package view

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// sideOf is a workload with its pods.
func sideOf(name string, w Workload) Side {
	out := Side{Name: cmp.Or(w.Name, name), Exists: w.Exists, Images: w.Images, Wanted: w.Replicas, Unread: w.Unread}
	for i := range w.Pods {
		pod := &w.Pods[i]
		for _, c := range pod.Status.ContainerStatuses {
			out.Restarts += c.RestartCount
		}
		if pod.DeletionTimestamp != nil {
			continue
		}
		if isReady(pod) {
			out.Ready++
			continue
		}
		out.Trouble = append(out.Trouble, pod.Name+": "+troubleOf(pod))
	}
	slices.Sort(out.Trouble)
	return out
}

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// troubleOf says why a pod is not ready: what its containers wait for or ended with, else what its conditions say.
func troubleOf(pod *corev1.Pod) string {
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if w := c.State.Waiting; w != nil && w.Reason != "" && w.Reason != "PodInitializing" {
			return join(c.Name+" "+w.Reason, w.Message)
		}
		if t := c.State.Terminated; t != nil && t.ExitCode != 0 {
			return join(fmt.Sprintf("%s ended with %d (%s)", c.Name, t.ExitCode, t.Reason), t.Message)
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return join(c.Reason, c.Message)
		}
	}
	return "not ready"
}

func join(what, detail string) string {
	if detail == "" {
		return what
	}
	return what + ": " + detail
}

func checksOf(c *v1beta1.Canary, samples Samples) []Check {
	out := Checks(c.Status.Checks)
	for i := range out {
		out[i].Trend = samples.of(c, i)
	}
	return out
}

// Checks are results of checks as people see them.
func Checks(results []v1beta1.CheckStatus) []Check {
	var out []Check
	for _, s := range results {
		t := metav1.NewTime(s.Time.Time)
		out = append(out, Check{
			Name: s.Name, Value: s.Value, Limit: s.Range, Window: s.Window, Query: s.Query, Source: s.Source, Verdict: s.Verdict,
			Decides: !s.DryRun && !s.WarmingUp, Failures: s.Failures, Message: s.Message, Time: &t,
		})
	}
	return out
}

func roundsOf(st *v1beta1.CanaryStatus) []Round {
	var out []Round
	for _, r := range st.History {
		out = append(out, Round{Step: r.Step, Weight: r.Weight, Verdict: r.Verdict, Message: r.Message, Time: metav1.NewTime(r.Time.Time)})
	}
	return out
}

// actionsOf are those for a Canary, the newest first.
func actionsOf(c *v1beta1.Canary, all []v1alpha1.CanaryAction) []Action {
	var out []Action
	for i := range all {
		a := &all[i]
		if a.Spec.Canary != c.Name || a.Namespace != c.Namespace {
			continue
		}
		state, message := came(a, c)
		out = append(out, Action{
			Name: a.Name, Action: a.Spec.Action, By: a.Spec.RequestedBy, Reason: a.Spec.Reason,
			State: state, Message: message, Time: a.CreationTimestamp,
		})
	}
	slices.SortFunc(out, func(a, b Action) int {
		return cmp.Or(b.Time.Compare(a.Time.Time), cmp.Compare(b.Name, a.Name))
	})
	return out
}

// came is what came of an action. The Canary's status knows it a moment before its own does.
func came(a *v1alpha1.CanaryAction, c *v1beta1.Canary) (v1alpha1.CanaryActionPhase, string) {
	last := a.Outcome(c)
	switch {
	case a.Status.Phase == v1alpha1.ActionDone, a.Status.Phase == v1alpha1.ActionRefused:
		return a.Status.Phase, a.Status.Message
	case last == nil:
		return v1alpha1.ActionPending, a.Status.Message
	case last.Done:
		return v1alpha1.ActionDone, last.Message
	default:
		return v1alpha1.ActionRefused, last.Message
	}
}

// eventsOf are those about a Canary, the oldest first.
func eventsOf(c *v1beta1.Canary, all []corev1.Event) []Event {
	var out []Event
	for i := range all {
		e := &all[i]
		if of := e.InvolvedObject; of.Name != c.Name || of.UID != "" && c.UID != "" && of.UID != c.UID {
			continue
		}
		out = append(out, Event{Time: timeOf(e), Warning: e.Type == corev1.EventTypeWarning, Reason: e.Reason, Message: e.Message, Count: e.Count})
	}
	slices.SortStableFunc(out, func(a, b Event) int { return a.Time.Compare(b.Time.Time) })
	return out
}

func timeOf(e *corev1.Event) metav1.Time {
	switch {
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp
	case !e.EventTime.IsZero():
		return metav1.NewTime(e.EventTime.Time)
	default:
		return e.CreationTimestamp
	}
}

// warningsOf are the conditions that tell of something beside the release.
func warningsOf(st *v1beta1.CanaryStatus) []string {
	var out []string
	for _, w := range []struct {
		kind v1beta1.CanaryConditionType
		bad  corev1.ConditionStatus
	}{
		{v1beta1.ConditionApplied, corev1.ConditionFalse},
		{v1beta1.ConditionMeasured, corev1.ConditionFalse},
		{v1beta1.ConditionCovered, corev1.ConditionFalse},
		{v1beta1.ConditionFieldsIgnored, corev1.ConditionTrue},
		{v1beta1.ConditionTargetScaledUp, corev1.ConditionTrue},
		{v1beta1.ConditionRouteContested, corev1.ConditionTrue},
	} {
		if c := st.GetCondition(w.kind); c != nil && c.Status == w.bad {
			out = append(out, string(w.kind)+": "+c.Message)
		}
	}
	return out
}

// maxSamples is how many values of a check are kept.
const maxSamples = 60

// Samples are the values that checks of one Canary had, as whoever watches it has seen them. The zero value has none.
type Samples struct {
	// attempt tells releases apart.
	attempt string
	checks  []series
}

type series struct {
	name   string
	at     metav1.MicroTime
	values []float64
	times  []int64 // of the values, in seconds since 1970
}

// Sample is a value of a check, and when it had it, in seconds since 1970. It is an array in JSON.
type Sample struct {
	Time  int64
	Value float64
}

// MarshalJSON implements json.Marshaler.
func (s Sample) MarshalJSON() ([]byte, error) { return json.Marshal([]any{s.Time, s.Value}) }

// Points are the values of the check of a Canary with this index, the oldest first.
func (s Samples) Points(c *v1beta1.Canary, i int) []Sample {
	var out []Sample
	if !s.has(c, i) {
		return out
	}
	for j, value := range s.checks[i].values {
		out = append(out, Sample{s.checks[i].times[j], value})
	}
	return out
}

// Follow adds the values of a Canary that was seen. What belongs to a release of before is dropped.
func (s Samples) Follow(c *v1beta1.Canary) Samples {
	if attempt := attemptOf(c); attempt != s.attempt || len(s.checks) != len(c.Status.Checks) {
		s = Samples{attempt: attempt, checks: make([]series, len(c.Status.Checks))}
	}
	checks := slices.Clone(s.checks)
	for i, check := range c.Status.Checks {
		was := checks[i]
		if was.name != check.Name {
			was = series{name: check.Name}
		}
		value, err := strconv.ParseFloat(check.Value, 64)
		// Neither a chart nor JSON has a place for what is no number, or none that is finite.
		if err == nil && !math.IsNaN(value) && !math.IsInf(value, 0) && !check.Time.Equal(&was.at) {
			from := max(len(was.values)-maxSamples+1, 0)
			was.values = append(slices.Clone(was.values[from:]), value)
			was.times = append(slices.Clone(was.times[from:]), check.Time.Unix())
			was.at = check.Time
		}
		checks[i] = was
	}
	s.checks = checks
	return s
}

func (s Samples) of(c *v1beta1.Canary, i int) []float64 {
	if !s.has(c, i) {
		return nil
	}
	return s.checks[i].values
}

// has tells whether there are values of a check.
func (s Samples) has(c *v1beta1.Canary, i int) bool {
	return s.attempt == attemptOf(c) && i < len(s.checks) && i < len(c.Status.Checks) && s.checks[i].name == c.Status.Checks[i].Name
}

func attemptOf(c *v1beta1.Canary) string {
	if c.Status.StartedAt == nil {
		return c.Status.LastAppliedSpec
	}
	return c.Status.LastAppliedSpec + " " + strconv.FormatInt(c.Status.StartedAt.UnixMicro(), 10)
}
