package view

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/policy"
	"github.com/sluice-delivery/sluice/operator/release"
)

var update = flag.Bool("update", false, "write the golden files")

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func before(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }

func microBefore(d time.Duration) metav1.MicroTime { return metav1.NewMicroTime(now.Add(-d)) }

// canaryWith is a Canary whose status was edited.
func canaryWith(edit func(*v1beta1.Canary)) *v1beta1.Canary {
	c := &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", Generation: 2},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "podinfo"},
			Analysis: &v1beta1.CanaryAnalysis{Interval: "1m", Threshold: 3, StepWeights: []int32{5, 20, 50}, Webhooks: []v1beta1.CanaryWebhook{
				{Name: "people", Type: v1beta1.ConfirmPromotionHook, URL: "http://gate.test/open"},
			}},
		},
		Status: v1beta1.CanaryStatus{
			Phase: v1beta1.PhaseSucceeded, ObservedGeneration: 2, LastAppliedSpec: "s2-aaaaaaaaaaaa", LastPromotedSpec: "s2-aaaaaaaaaaaa",
			LastTransitionTime: before(26 * time.Hour), Identity: &v1beta1.IdentityStatus{Provider: "istio"},
		},
	}
	condition(c, v1beta1.ConditionPromoted, corev1.ConditionTrue, "Succeeded", "podinfo-primary serves all traffic")
	condition(c, v1beta1.ConditionReady, corev1.ConditionTrue, "Succeeded", "podinfo-primary serves all traffic")
	if edit != nil {
		edit(c)
	}
	return c
}

func condition(c *v1beta1.Canary, kind v1beta1.CanaryConditionType, status corev1.ConditionStatus, reason, message string) {
	c.Status.SetCondition(v1beta1.CanaryCondition{Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: c.Generation}, now)
}

// progressing puts a Canary into the second of three steps.
func progressing(c *v1beta1.Canary) {
	st := &c.Status
	st.Phase, st.CanaryWeight, st.FailedChecks = v1beta1.PhaseProgressing, 20, 1
	st.LastAppliedSpec = "s2-bbbbbbbbbbbb"
	started := microBefore(3*time.Minute + 12*time.Second)
	st.StartedAt, st.LastTransitionTime = &started, before(80*time.Second)
	st.Step = &v1beta1.StepStatus{Index: 2, Weight: 20, Share: v1beta1.ShareAll, Since: microBefore(20 * time.Second), Checks: 1}
	st.Checks = []v1beta1.CheckStatus{
		{Name: "request-success-rate", Value: "98.2", Range: ">= 99", Window: "1m", Verdict: v1beta1.CheckFailed, Failures: 1, Time: microBefore(20 * time.Second),
			Query:   `sum(rate(istio_requests_total{destination_workload="podinfo", response_code!~"5.*"}[1m])) / sum(rate(istio_requests_total{destination_workload="podinfo"}[1m])) * 100`,
			Message: "request-success-rate is 98.2%, below the minimum 99%"},
		{Name: "request-duration", Value: "21", Range: "<= 500", Window: "1m", Verdict: v1beta1.CheckPassed, Time: microBefore(20 * time.Second)},
		{Name: "errors in the log", Value: "3", Range: "<= 1", Verdict: v1beta1.CheckFailed, DryRun: true, Time: microBefore(20 * time.Second)},
	}
	st.History = []v1beta1.RoundStatus{
		{Step: 1, Weight: 5, Verdict: v1beta1.CheckPassed, Time: microBefore(80 * time.Second)},
		{Step: 2, Weight: 20, Verdict: v1beta1.CheckFailed, Message: "request-success-rate is 98.2%, below the minimum 99%", Time: microBefore(20 * time.Second)},
	}
	message := "Step 2 of 3: 20% of the traffic goes to the canary, 1 of 3 failed checks"
	condition(c, v1beta1.ConditionPromoted, corev1.ConditionUnknown, "Progressing", message)
	condition(c, v1beta1.ConditionReady, corev1.ConditionUnknown, "Progressing", message)
	condition(c, v1beta1.ConditionReconciling, corev1.ConditionTrue, "Progressing", message)
}

// counted is a release whose requests are counted.
func counted(c *v1beta1.Canary) {
	progressing(c)
	c.Status.Judgement = &v1beta1.JudgementStatus{Step: 2, CanaryShare: "17.4"}
}

func failed(c *v1beta1.Canary) {
	progressing(c)
	st := &c.Status
	st.Phase, st.CanaryWeight, st.Step, st.FailedChecks = v1beta1.PhaseFailed, 0, nil, 3
	st.LastTransitionTime = before(5 * time.Minute)
	const message = "failed check 3 of 3: request-success-rate is 98.2%, below the minimum 99%"
	for _, kind := range []v1beta1.CanaryConditionType{v1beta1.ConditionPromoted, v1beta1.ConditionReady} {
		condition(c, kind, corev1.ConditionFalse, "Failed", message)
	}
	condition(c, v1beta1.ConditionStalled, corev1.ConditionTrue, "Failed", message)
	st.RemoveCondition(v1beta1.ConditionReconciling)
}

// undone is a release that was promoted and undone.
func undone(c *v1beta1.Canary) {
	failed(c)
	st := &c.Status
	st.LastAppliedSpec, st.LastPromotedSpec, st.FailedChecks, st.Checks, st.History = "s2-aaaaaaaaaaaa", "s2-000000000000", 0, nil, nil
	const message = "podinfo-primary is set back to revision s2-000000000000 by alice (errors in the checkout)"
	for _, kind := range []v1beta1.CanaryConditionType{v1beta1.ConditionPromoted, v1beta1.ConditionReady} {
		condition(c, kind, corev1.ConditionFalse, "Failed", message)
	}
	condition(c, v1beta1.ConditionStalled, corev1.ConditionTrue, "Failed", message)
}

func atClosedGate(c *v1beta1.Canary) {
	progressing(c)
	c.Status.Phase = v1beta1.PhaseWaitingPromotion
	c.Status.Gate = &v1beta1.GateStatus{Type: v1beta1.ConfirmPromotionHook, Since: microBefore(2 * time.Minute), Hook: "people", Message: "hook people: 403 Forbidden"}
	condition(c, v1beta1.ConditionReconciling, corev1.ConditionTrue, "WaitingPromotion", "Waiting for the confirm-promotion gate to open, 20% of the traffic goes to the canary: hook people: 403 Forbidden")
}

func waitsForItsTurn(c *v1beta1.Canary) {
	progressing(c)
	st := &c.Status
	st.Phase, st.CanaryWeight, st.FailedChecks, st.Checks, st.History = v1beta1.PhaseWaiting, 0, 0, nil, nil
	st.Step = &v1beta1.StepStatus{Since: microBefore(2 * time.Hour)}
	until := metav1.NewTime(now.Add(14 * time.Hour))
	st.Admission = &v1beta1.AdmissionStatus{Since: microBefore(2 * time.Hour), Reason: "WindowClosed", Policy: "ClusterReleasePolicy/office-hours", Until: &until}
	message := "Waiting for its turn, as ClusterReleasePolicy/office-hours lets releases begin in its windows only; until Fri 2026-01-02 09:00 CET"
	condition(c, v1beta1.ConditionPromoted, corev1.ConditionUnknown, "Waiting", message)
	condition(c, v1beta1.ConditionReady, corev1.ConditionUnknown, "Waiting", message)
	condition(c, v1beta1.ConditionReconciling, corev1.ConditionTrue, "Waiting", message)
}

func pausedByAlice(c *v1beta1.Canary) {
	progressing(c)
	c.Status.Paused = true
	condition(c, v1beta1.ConditionReady, corev1.ConditionUnknown, "Progressing", "Paused by alice: nothing moves until it is resumed, 20% of the traffic goes to the canary")
}

func halted(c *v1beta1.Canary) {
	progressing(c)
	c.Status.Phase = v1beta1.PhasePromoting
	const message = "podinfo-primary was not ready with the new revision within 10m0s"
	condition(c, v1beta1.ConditionPromoted, corev1.ConditionFalse, "PromotionHalted", message)
	condition(c, v1beta1.ConditionStalled, corev1.ConditionTrue, "PromotionHalted", message)
}

func mistaken(c *v1beta1.Canary) {
	condition(c, v1beta1.ConditionStalled, corev1.ConditionTrue, "UnknownProvider", `spec.provider: unknown provider "appmesh": known are consul, istio`)
	condition(c, v1beta1.ConditionReady, corev1.ConditionFalse, "UnknownProvider", `spec.provider: unknown provider "appmesh": known are consul, istio`)
}

func unlooked(c *v1beta1.Canary) { c.Status = v1beta1.CanaryStatus{} }

// inputs are releases of each kind, by name.
func inputs() map[string]Input {
	pods := func(name string, n, ready int) []corev1.Pod {
		out := make([]corev1.Pod, n)
		for i := range out {
			out[i].Name = fmt.Sprintf("%s-6d5f8c7b9-%d", name, i)
			out[i].Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
			if i >= ready {
				out[i].Status.Conditions[0].Status = corev1.ConditionFalse
				out[i].Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "podinfod", RestartCount: 4, State: corev1.ContainerState{
					Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 40s restarting failed container=podinfod"}}}}
			}
		}
		return out
	}
	primary := Workload{Exists: true, Images: "podinfo:6.0.0", Replicas: 2, Pods: pods("podinfo-primary", 2, 2)}
	target := Workload{Exists: true, Images: "podinfo:6.0.1", Replicas: 2, Pods: pods("podinfo", 2, 1)}
	actions := []v1alpha1.CanaryAction{
		{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo-a", CreationTimestamp: before(2 * time.Minute)},
			Spec:   v1alpha1.CanaryActionSpec{Canary: "podinfo", Action: v1beta1.ActionPause, RequestedBy: "alice", Reason: "errors in the checkout"},
			Status: v1alpha1.CanaryActionStatus{Phase: v1alpha1.ActionDone, Message: "Paused by alice (errors in the checkout)"}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo-b", CreationTimestamp: before(time.Minute)},
			Spec:   v1alpha1.CanaryActionSpec{Canary: "podinfo", Action: v1beta1.ActionPromote, RequestedBy: "system:serviceaccount:test:a-robot-with-a-long-name"},
			Status: v1alpha1.CanaryActionStatus{Phase: v1alpha1.ActionRefused, Message: "the canary is not ready: 1 of 2 pods are available"}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "other-a"}, Spec: v1alpha1.CanaryActionSpec{Canary: "other"}},
	}
	events := []corev1.Event{
		{InvolvedObject: corev1.ObjectReference{Name: "podinfo"}, Type: "Warning", Reason: "CheckFailed", LastTimestamp: before(20 * time.Second), Count: 1,
			Message: "Failed check 1 of 3: request-success-rate is 98.2%, below the minimum 99%; the weight stays at 20%"},
		{InvolvedObject: corev1.ObjectReference{Name: "podinfo"}, Type: "Normal", Reason: "NewRevision", LastTimestamp: before(192 * time.Second), Count: 1,
			Message: "New revision of Deployment/podinfo (podinfo:6.0.0 -> podinfo:6.0.1); it gets traffic when it is ready\x1b[2J\nROLLED BACK"},
	}
	full := func(edit func(*v1beta1.Canary)) Input {
		return Input{Canary: canaryWith(edit), Actions: actions, Events: events, Primary: primary, Target: target, Now: now}
	}
	watched := full(progressing)
	for i, value := range []string{"99.9", "99.5", "98.2"} {
		c := watched.Canary.DeepCopy()
		c.Status.Checks[0].Value = value
		c.Status.Checks[0].Time = microBefore(time.Duration(80-30*i) * time.Second)
		watched.Samples = watched.Samples.Follow(c)
	}
	idle := full(nil)
	idle.Target.Replicas, idle.Target.Pods, idle.Actions, idle.Events = 0, nil, nil, nil
	return map[string]Input{
		"at-rest": idle, "progressing": watched, "rolled-back": full(failed), "gate": full(atClosedGate), "paused": full(pausedByAlice),
		"halted": full(halted), "policy": full(waitsForItsTurn), "stalled": full(mistaken), "undone": full(undone), "measured": full(counted),
		"new": {Canary: canaryWith(unlooked), Now: now, Primary: Workload{Unread: "no right to read Deployments"}},
	}
}

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestScreens(t *testing.T) {
	for name, in := range inputs() {
		for _, width := range []int{80, 120} {
			t.Run(fmt.Sprintf("%s at %d", name, width), func(t *testing.T) {
				r := Of(in)
				s := Screen{Width: width, Now: now}
				picture, why := s.Picture(&r), s.Explain(Why(&r, now))
				golden(t, fmt.Sprintf("%s-%d.txt", name, width), picture+"\n== why\n"+why)
				for l := range strings.Lines(picture + why) {
					l = strings.TrimSuffix(l, "\n")
					if utf8.RuneCountInString(l) > width && !strings.Contains(l, "kubectl") {
						t.Errorf("wider than %d: %s", width, l)
					}
					if strings.ContainsAny(l, "\x1b\r") {
						t.Errorf("an escape sequence of others is in %q", l)
					}
				}
			})
		}
	}
}

func TestColourAddsNothing(t *testing.T) {
	for name, in := range inputs() {
		r := Of(in)
		coloured := Screen{Width: 80, Now: now, Colour: true}.Picture(&r)
		var plain strings.Builder
		for i, part := range strings.Split(coloured, "\x1b[") {
			if _, remaining, ok := strings.Cut(part, "m"); i > 0 && ok {
				part = remaining
			}
			plain.WriteString(part)
		}
		if diff := cmp.Diff(Screen{Width: 80, Now: now}.Picture(&r), plain.String()); diff != "" {
			t.Errorf("%s (-plain +coloured):\n%s", name, diff)
		}
	}
}

// TestJSON has the names of fields stay what they are.
func TestJSON(t *testing.T) {
	for _, name := range []string{"progressing", "gate"} {
		r := Of(inputs()[name])
		raw, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", string(raw)+"\n")
	}
}

func TestFleet(t *testing.T) {
	var all []*Release
	for name, in := range inputs() {
		in.Canary.Name = name
		r := Of(in)
		all = append(all, &r)
	}
	slices.SortFunc(all, Compare)
	for _, width := range []int{80, 120} {
		golden(t, fmt.Sprintf("fleet-%d.txt", width), Screen{Width: width, Now: now}.Fleet(all, true))
	}
}

func TestHistory(t *testing.T) {
	first := before(48 * time.Hour)
	promoted := []Past{
		{Revision: "s2-aaaaaaaaaaaa", Images: "podinfo:6.0.0", First: &first}, {Revision: "s2-000000000000", Images: "podinfo:5.9.0", First: &first},
	}
	for _, name := range []string{"rolled-back", "at-rest", "progressing", "undone"} {
		r := Of(inputs()[name])
		golden(t, "history-"+name+".txt", Screen{Width: 120, Now: now}.Past(History(&r, promoted))+"\n"+Screen{Width: 120, Now: now}.Past(History(&r, nil)))
	}
}

func TestChecks(t *testing.T) {
	c := canaryWith(progressing)
	c.Status.Checks[0].Query = "sum(rate(istio_requests_total{reporter=\"destination\", destination_workload=\"podinfo\", response_code!~\"5.*\"}[1m]))\n  / sum(rate(istio_requests_total{reporter=\"destination\"}[1m])) * 100"
	all := Checks(append(c.Status.Checks, v1beta1.CheckStatus{Name: "latency", Window: "1m", Verdict: v1beta1.CheckUnavailable, Query: "latency", Message: "latency: no answer: dial tcp: i/o timeout"}))
	for _, width := range []int{80, 120} {
		golden(t, fmt.Sprintf("checks-%d.txt", width), Screen{Width: width, Now: now}.Checks(all))
	}
	var against []string
	for _, c := range all {
		if c.Speaks() {
			against = append(against, c.Name)
		}
	}
	if diff := cmp.Diff([]string{"request-success-rate", "latency"}, against); diff != "" {
		t.Errorf("those that speak against a release: -want +got\n%s", diff)
	}
}

func TestPossible(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*v1beta1.Canary)
		want []v1beta1.ActionType
	}{
		"at rest":     {nil, []v1beta1.ActionType{v1beta1.ActionPause}},
		"progressing": {progressing, []v1beta1.ActionType{v1beta1.ActionPause, v1beta1.ActionPromote, v1beta1.ActionAbort, v1beta1.ActionAdvance}},
		"at a policy": {waitsForItsTurn, []v1beta1.ActionType{v1beta1.ActionPause, v1beta1.ActionPromote, v1beta1.ActionAbort, v1beta1.ActionApprove}},
		"at a gate":   {atClosedGate, []v1beta1.ActionType{v1beta1.ActionPause, v1beta1.ActionPromote, v1beta1.ActionAbort, v1beta1.ActionApprove}},
		"approved": {func(c *v1beta1.Canary) { atClosedGate(c); c.Status.Step.Approved = c.Status.Gate.Type },
			[]v1beta1.ActionType{v1beta1.ActionPause, v1beta1.ActionPromote, v1beta1.ActionAbort}},
		"paused":    {pausedByAlice, []v1beta1.ActionType{v1beta1.ActionResume, v1beta1.ActionPromote, v1beta1.ActionAbort}},
		"failed":    {failed, []v1beta1.ActionType{v1beta1.ActionPause, v1beta1.ActionRetry}},
		"promoting": {halted, []v1beta1.ActionType{v1beta1.ActionPause}},
		"new":       {unlooked, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Possible(canaryWith(tc.edit))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestMeasured shows a share that was counted at the weight that the mesh has, and no other.
func TestMeasured(t *testing.T) {
	share := 17.4
	for name, tc := range map[string]struct {
		edit func(*v1beta1.Canary)
		want *float64
	}{
		"counted":                  {counted, &share},
		"nobody counts":            {progressing, nil},
		"nothing counted yet":      {func(c *v1beta1.Canary) { counted(c); c.Status.Judgement.CanaryShare = "" }, nil},
		"at an earlier step":       {func(c *v1beta1.Canary) { counted(c); c.Status.Judgement.Step = 1 }, nil},
		"the release has ended":    {func(c *v1beta1.Canary) { counted(c); failed(c) }, nil},
		"the mesh has less":        {func(c *v1beta1.Canary) { counted(c); c.Status.CanaryWeight = 0 }, nil},
		"another weight than that": {func(c *v1beta1.Canary) { counted(c); c.Status.CanaryWeight = 10 }, nil},
		"what is no share":         {func(c *v1beta1.Canary) { counted(c); c.Status.Judgement.CanaryShare = "NaN" }, nil},
	} {
		if diff := cmp.Diff(tc.want, Of(Input{Canary: canaryWith(tc.edit), Now: now}).Traffic.Measured); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

// TestWhatCameOfActions has an action that the Canary's status knows the end of not be shown as one that waits.
func TestWhatCameOfActions(t *testing.T) {
	a := v1alpha1.CanaryAction{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo-a", UID: "1"}, Spec: v1alpha1.CanaryActionSpec{Canary: "podinfo", Action: v1beta1.ActionPause}}
	for name, tc := range map[string]struct {
		last  *v1beta1.ActionStatus
		phase v1alpha1.CanaryActionPhase
		want  v1alpha1.CanaryActionPhase
	}{
		"nobody has looked":    {nil, "", v1alpha1.ActionPending},
		"another was taken":    {&v1beta1.ActionStatus{Name: "podinfo-b/2", Done: true}, "", v1alpha1.ActionPending},
		"the Canary says done": {&v1beta1.ActionStatus{Name: "podinfo-a/1", Done: true}, "", v1alpha1.ActionDone},
		"it says refused":      {&v1beta1.ActionStatus{Name: "podinfo-a/1"}, v1alpha1.ActionPending, v1alpha1.ActionRefused},
		"both say so":          {&v1beta1.ActionStatus{Name: "podinfo-a/1", Done: true}, v1alpha1.ActionDone, v1alpha1.ActionDone},
		"the last was another": {&v1beta1.ActionStatus{Name: "podinfo-b/2", Done: true}, v1alpha1.ActionRefused, v1alpha1.ActionRefused},
	} {
		c := canaryWith(progressing)
		c.Status.LastAction, a.Status.Phase = tc.last, tc.phase
		if got := Of(Input{Canary: c, Actions: []v1alpha1.CanaryAction{a}, Now: now}).Actions[0].State; got != tc.want {
			t.Errorf("%s: it is %s, want %s", name, got, tc.want)
		}
	}
}

// TestWhyIsOfThisRelease has an explanation leave out what was refused of an earlier release, and what changes nothing.
func TestWhyIsOfThisRelease(t *testing.T) {
	action := func(ago time.Duration, kind v1beta1.ActionType, phase v1alpha1.CanaryActionPhase) v1alpha1.CanaryAction {
		return v1alpha1.CanaryAction{
			ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: fmt.Sprint("podinfo-", ago), CreationTimestamp: before(ago)},
			Spec:       v1alpha1.CanaryActionSpec{Canary: "podinfo", Action: kind}, Status: v1alpha1.CanaryActionStatus{Phase: phase},
		}
	}
	for name, tc := range map[string]struct {
		actions []v1alpha1.CanaryAction
		refused bool
		last    string
	}{
		"refused in this one":         {[]v1alpha1.CanaryAction{action(time.Minute, v1beta1.ActionPause, v1alpha1.ActionRefused)}, true, ""},
		"refused in the second":       {[]v1alpha1.CanaryAction{action(3*time.Minute+12*time.Second, v1beta1.ActionPause, v1alpha1.ActionRefused)}, true, ""},
		"refused in the one before":   {[]v1alpha1.CanaryAction{action(time.Hour, v1beta1.ActionPause, v1alpha1.ActionRefused)}, false, ""},
		"a check after what was done": {[]v1alpha1.CanaryAction{action(time.Second, v1beta1.ActionCheck, v1alpha1.ActionDone), action(time.Minute, v1beta1.ActionPause, v1alpha1.ActionDone)}, false, "The last action was Pause"},
		"a check alone":               {[]v1alpha1.CanaryAction{action(time.Second, v1beta1.ActionCheck, v1alpha1.ActionDone)}, false, ""},
	} {
		r := Of(Input{Canary: canaryWith(progressing), Actions: tc.actions, Now: now})
		e := Why(&r, now)
		if (e.Refused != nil) != tc.refused || strings.Contains(e.Summary, "The last action") != (tc.last != "") || !strings.Contains(e.Summary, tc.last) {
			t.Errorf("%s: %+v, %s", name, e.Refused, e.Summary)
		}
	}
}

// TestEarlier has only revisions be offered to go back to that the operator would not refuse.
func TestEarlier(t *testing.T) {
	past := []Past{
		{Revision: "s2-new", State: string(Progressing)}, {Revision: "s2-is-c1", State: StateServing}, {Revision: "s2-was-c1", State: StatePromoted},
		{Revision: "s2-was-c0", State: StatePromoted}, {Revision: "s2-is-c1", State: StatePromoted}, {Revision: "s2-new", State: StatePromoted},
	}
	for name, tc := range map[string]struct {
		edit     func(*v1beta1.Canary)
		promoted string
		want     []string
	}{
		"at rest":            {nil, "s2-is-c1", []string{"s2-was-c1"}},
		"in a release":       {progressing, "s2-is-c1", []string{"s2-was-c1"}},
		"failed":             {failed, "s2-is-c1", []string{"s2-was-c1"}},
		"promoting":          {halted, "s2-is-c1", nil},
		"new":                {unlooked, "s2-is-c1", nil},
		"going back":         {func(c *v1beta1.Canary) { c.Status.Rollback = &v1beta1.RollbackStatus{} }, "s2-is-c1", nil},
		"about to be gone":   {func(c *v1beta1.Canary) { c.DeletionTimestamp = &metav1.Time{Time: now} }, "s2-is-c1", nil},
		"without any config": {nil, "s2-is", nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := canaryWith(tc.edit)
			c.Status.LastPromotedSpec, c.Status.LastAppliedSpec = tc.promoted, "s2-new"
			if diff := cmp.Diff(tc.want, Earlier(c, past)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestWait(t *testing.T) {
	const newRevision, oldRevision = "s2-bbbbbbbbbbbb", "s2-aaaaaaaaaaaa"
	succeeded := func(c *v1beta1.Canary) {
		c.Status.LastAppliedSpec, c.Status.LastPromotedSpec = newRevision, newRevision
	}
	for name, tc := range map[string]struct {
		wait  Wait
		seen  []func(*v1beta1.Canary)
		want  Outcome
		says  string
		after string // the revision that is followed
	}{
		"promoted":                               {Wait{Goal: ForPromoted, Target: newRevision}, []func(*v1beta1.Canary){nil, progressing, succeeded}, Reached, "", newRevision},
		"the release before is not taken for it": {Wait{Goal: ForPromoted, Target: newRevision}, []func(*v1beta1.Canary){nil}, Waiting, "has not begun", ""},
		"nothing to release":                     {Wait{Goal: ForPromoted, Target: oldRevision}, []func(*v1beta1.Canary){nil}, Reached, "", oldRevision},
		"with configs":                           {Wait{Goal: ForPromoted, Target: newRevision}, []func(*v1beta1.Canary){func(c *v1beta1.Canary) { c.Status.LastAppliedSpec = newRevision + "-c1" }}, Waiting, "", newRevision + "-c1"},
		"another format":                         {Wait{Goal: ForPromoted, Target: "s3-cc"}, []func(*v1beta1.Canary){nil}, Reached, "", oldRevision},
		"rolled back":                            {Wait{Goal: ForPromoted, Target: newRevision}, []func(*v1beta1.Canary){progressing, failed}, Undone, "98.2%", newRevision},
		"set back":                               {Wait{Goal: ForPromoted, Target: newRevision}, []func(*v1beta1.Canary){nil, progressing, nil}, Undone, "set back", newRevision},
		"replaced":                               {Wait{Goal: ForPromoted, Target: newRevision}, []func(*v1beta1.Canary){progressing, func(c *v1beta1.Canary) { progressing(c); c.Status.LastAppliedSpec = "s2-cc" }}, Missed, "replaced", newRevision},
		"promoted and replaced":                  {Wait{Goal: ForPromoted, Target: newRevision}, []func(*v1beta1.Canary){progressing, func(c *v1beta1.Canary) { succeeded(c); c.Status.LastAppliedSpec = "s2-cc" }}, Reached, "", newRevision},
		"at a gate":                              {Wait{Goal: ForPromoted, Target: newRevision}, []func(*v1beta1.Canary){atClosedGate}, Person, "403", newRevision},
		"at a gate, patient":                     {Wait{Goal: ForPromoted, Target: newRevision, Patient: true}, []func(*v1beta1.Canary){atClosedGate}, Waiting, "", newRevision},
		"for the gate":                           {Wait{Goal: ForGate, Target: newRevision}, []func(*v1beta1.Canary){progressing, atClosedGate}, Reached, "", newRevision},
		"promoted without gate":                  {Wait{Goal: ForGate, Target: newRevision}, []func(*v1beta1.Canary){progressing, succeeded}, Missed, "is promoted", newRevision},
		"paused":                                 {Wait{Goal: ForPromoted, Target: newRevision}, []func(*v1beta1.Canary){pausedByAlice}, Person, "alice", newRevision},
		"for the pause":                          {Wait{Goal: ForPaused, Target: newRevision}, []func(*v1beta1.Canary){pausedByAlice}, Reached, "", newRevision},
		"halted":                                 {Wait{Goal: ForPromoted, Target: newRevision}, []func(*v1beta1.Canary){halted}, Person, "not ready", newRevision},
		"a mistake":                              {Wait{Goal: ForPromoted, Target: newRevision}, []func(*v1beta1.Canary){mistaken}, Person, "appmesh", ""},
		"a mistake that may be mended":           {Wait{Goal: ForPromoted, Target: newRevision}, []func(*v1beta1.Canary){func(c *v1beta1.Canary) { mistaken(c); c.Generation++ }}, Waiting, "", ""},
		"ready":                                  {Wait{Goal: ForReady, Target: oldRevision}, []func(*v1beta1.Canary){nil}, Reached, "", oldRevision},
		"not ready for an edit that was not seen": {Wait{Goal: ForReady, Target: oldRevision}, []func(*v1beta1.Canary){func(c *v1beta1.Canary) { c.Generation++ }}, Waiting, "", oldRevision},
		"a revision that is to come":              {Wait{Goal: ForPromoted, Revision: newRevision}, []func(*v1beta1.Canary){nil}, Waiting, "has not begun", newRevision},
		"a revision that came":                    {Wait{Goal: ForPromoted, Revision: newRevision}, []func(*v1beta1.Canary){nil, progressing, succeeded}, Reached, "", newRevision},
		"deleted": {Wait{Goal: ForPromoted}, []func(*v1beta1.Canary){func(c *v1beta1.Canary) {
			t := before(0)
			c.DeletionTimestamp = &t
		}}, Missed, "deleted", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, message := Waiting, ""
			for i, edit := range tc.seen {
				if got, message = tc.wait.Look(canaryWith(edit)); got != Waiting && i < len(tc.seen)-1 {
					t.Fatalf("it ended early with %d, %s", got, message)
				}
			}
			if got != tc.want || !strings.Contains(message, tc.says) || tc.wait.Revision != tc.after {
				t.Errorf("got %d, %q, of revision %q; want %d, %q, %q", got, message, tc.wait.Revision, tc.want, tc.says, tc.after)
			}
		})
	}
}

// Where a release stands among those that wait is of this moment where it is known, and of the status where it is not.
func TestPlace(t *testing.T) {
	for name, tc := range map[string]struct {
		written int32
		now     policy.Place
		want    string
	}{
		"known":                    {12, policy.Place{Number: 3, Of: 40}, "; number 3 of 40 that wait"},
		"not known":                {12, policy.Place{}, "; number 12 of 50 that wait"},
		"it does not wait for one": {0, policy.Place{Number: 3, Of: 40}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := canaryWith(waitsForItsTurn)
			message := "Waiting for its turn, as it is full"
			c.Status.Admission.Place, c.Status.Admission.Waiting = tc.written, 50
			if tc.written > 0 {
				message += release.InQueue(tc.written, 50)
			}
			condition(c, v1beta1.ConditionReconciling, corev1.ConditionTrue, "Waiting", message)
			r := Of(Input{Canary: c, Now: now, Place: tc.now})
			if got, _ := strings.CutPrefix(r.Message, "Waiting for its turn, as it is full"); got != tc.want {
				t.Errorf("it says %q, want %q", got, tc.want)
			}
			if why := Why(&r, now).Summary; !strings.Contains(why, tc.want) {
				t.Errorf("why says %q", why)
			}
			if tc.want == "" && r.Turn.Place != 0 || tc.now.Number > 0 && tc.want != "" && r.Turn.Place != 3 {
				t.Errorf("%+v", r.Turn)
			}
		})
	}
}
