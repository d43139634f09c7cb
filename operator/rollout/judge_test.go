package rollout_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

// measured is what a round gave for one metric of the spec.
type measured struct {
	metric  v1beta1.CanaryMetric
	verdict v1beta1.CheckVerdict
	before  *v1beta1.CheckStatus // in the status
	value   string
}

func (m measured) result() v1beta1.CheckStatus {
	return v1beta1.CheckStatus{Name: m.metric.Name, Verdict: m.verdict, Message: m.metric.Name + ": " + string(m.verdict), Window: "1m", Value: m.value}
}

// measuring puts the scene at the end of a round of these metrics, in step 1 at
// 20 %, which began so long ago.
func measuring(began time.Duration, all ...measured) *scene {
	s := newScene().step(1, 20, 10*time.Second)
	s.Canary.Status.Step.Began = &metav1.MicroTime{Time: t0.Add(-began)}
	s.Canary.Spec.Analysis.Metrics = nil
	s.checked(passed, 0).Checks.Results = nil
	for _, m := range all {
		s.Canary.Spec.Analysis.Metrics = append(s.Canary.Spec.Analysis.Metrics, m.metric)
		s.Checks.Results = append(s.Checks.Results, m.result())
		if m.before != nil {
			known := *m.before
			known.Name, known.Window = m.metric.Name, "1m"
			s.Canary.Status.Checks = append(s.Canary.Status.Checks, known)
		}
	}
	return s
}

func metric(name string, change ...func(*v1beta1.CanaryMetric)) v1beta1.CanaryMetric {
	m := v1beta1.CanaryMetric{Name: name}
	for _, f := range change {
		f(&m)
	}
	return m
}

func dryRun(m *v1beta1.CanaryMetric) { m.DryRun = true }

func warmUp(d string) func(*v1beta1.CanaryMetric) {
	return func(m *v1beta1.CanaryMetric) { m.WarmUp = d }
}

func limit(n int32) func(*v1beta1.CanaryMetric) {
	return func(m *v1beta1.CanaryMetric) { m.FailureLimit = n }
}

// TestJudge is the table of rounds: what dry runs, warm-ups, failure limits and
// answers without a verdict make of a release.
func TestJudge(t *testing.T) {
	const waits = v1beta1.CheckWaiting
	type outcome struct {
		Phase   v1beta1.CanaryPhase
		Weight  int32
		Failed  int32
		Rounds  int32 // of this step, -1 without step
		History v1beta1.CheckVerdict
		Says    string // part of the last event
	}
	var (
		raised = outcome{v1beta1.PhaseProgressing, 40, 0, 0, passed, "All checks passed; "}
		stays  = outcome{v1beta1.PhaseProgressing, 20, 0, 1, passed, ""}
		counts = outcome{v1beta1.PhaseProgressing, 20, 1, 1, failed, "the weight stays at 20%"}
		holds  = outcome{v1beta1.PhaseProgressing, 20, 0, 0, "", "nothing moves until they do"}
		gone   = outcome{v1beta1.PhaseFailed, 0, 1, -1, failed, "failure limit"}
	)
	for name, tc := range map[string]struct {
		scene *scene
		want  outcome
	}{
		"all passed":                        {measuring(0, measured{metric: metric("a"), verdict: passed}, measured{metric: metric("b"), verdict: passed}), raised},
		"one failed":                        {measuring(0, measured{metric: metric("a"), verdict: passed}, measured{metric: metric("b"), verdict: failed}), counts},
		"one waits":                         {measuring(0, measured{metric: metric("a"), verdict: passed}, measured{metric: metric("b"), verdict: waits}), holds},
		"one is not measured":               {measuring(0, measured{metric: metric("a"), verdict: passed}, measured{metric: metric("b"), verdict: v1beta1.CheckUnmeasured}), holds},
		"a dry run is not measured":         {measuring(0, measured{metric: metric("a", dryRun), verdict: v1beta1.CheckUnmeasured}), raised},
		"one failed, one waits":             {measuring(0, measured{metric: metric("a"), verdict: failed}, measured{metric: metric("b"), verdict: waits}), counts},
		"an unknown verdict is a failure":   {measuring(0, measured{metric: metric("a"), verdict: "Perhaps"}), counts},
		"a dry run fails":                   {measuring(0, measured{metric: metric("a", dryRun), verdict: failed}, measured{metric: metric("b"), verdict: passed}), raised},
		"a dry run gets no answer":          {measuring(0, measured{metric: metric("a", dryRun), verdict: v1beta1.CheckUnavailable}), raised},
		"a dry run reaches its limit":       {measuring(0, measured{metric: metric("a", dryRun, limit(1)), verdict: failed}), raised},
		"a dry run warms up":                {measuring(0, measured{metric: metric("a", dryRun, warmUp("1m")), verdict: failed}), raised},
		"fails while it warms up":           {measuring(59*time.Second, measured{metric: metric("a", warmUp("1m")), verdict: failed}), stays},
		"passes while it warms up":          {measuring(59*time.Second, measured{metric: metric("a", warmUp("1m")), verdict: passed}), stays},
		"waits while it warms up":           {measuring(59*time.Second, measured{metric: metric("a", warmUp("1m")), verdict: waits}), stays},
		"another fails while one warms up":  {measuring(59*time.Second, measured{metric: metric("a", warmUp("1m")), verdict: failed}, measured{metric: metric("b"), verdict: failed}), counts},
		"fails when it is warm":             {measuring(time.Minute, measured{metric: metric("a", warmUp("1m")), verdict: failed}), counts},
		"passes when it is warm":            {measuring(time.Minute, measured{metric: metric("a", warmUp("1m")), verdict: passed}), raised},
		"the first failure is the limit":    {measuring(0, measured{metric: metric("a", limit(1)), verdict: failed}), gone},
		"no data is a failure to the limit": {measuring(0, measured{metric: metric("a", limit(1)), verdict: v1beta1.CheckNoData}), gone},
		"the second failure is the limit":   {measuring(0, measured{metric: metric("a", limit(2)), verdict: failed, before: &v1beta1.CheckStatus{Failures: 1}}), gone},
		"the limit is not reached":          {measuring(0, measured{metric: metric("a", limit(2)), verdict: failed}), counts},
		"at the limit, and it passes":       {measuring(0, measured{metric: metric("a", limit(1)), verdict: passed, before: &v1beta1.CheckStatus{Failures: 1}}), raised},
		"no failure to the limit in warm-up": {
			measuring(0, measured{metric: metric("a", limit(1), warmUp("1m")), verdict: failed}), stays,
		},
		"the name comes twice, only the second has reached its limit": {
			measuring(0, measured{metric: metric("a", limit(2)), verdict: failed, before: &v1beta1.CheckStatus{}},
				measured{metric: metric("a", limit(3)), verdict: failed, before: &v1beta1.CheckStatus{Failures: 2}}), gone,
		},
		"a hook of the same name is another check": {
			measuring(0, measured{metric: metric("a", limit(2)), verdict: failed}).with(func(o *release.Observation) {
				o.Canary.Status.Checks = []v1beta1.CheckStatus{{Name: "a", Failures: 9}}
			}), counts,
		},
		"the spec has other metrics by now": {
			measuring(0, measured{metric: metric("a"), verdict: passed}).with(func(o *release.Observation) { o.Canary.Spec.Analysis.Metrics[0].Name = "b" }),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20},
		},
		"the spec has a metric more by now": {
			measuring(0, measured{metric: metric("a"), verdict: passed}).with(func(o *release.Observation) {
				o.Canary.Spec.Analysis.Metrics = append(o.Canary.Spec.Analysis.Metrics, metric("b"))
			}),
			outcome{Phase: v1beta1.PhaseProgressing, Weight: 20},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			got := outcome{Phase: d.Status.Phase, Weight: d.Status.CanaryWeight, Failed: d.Status.FailedChecks, Rounds: -1, Says: tc.want.Says}
			if d.Status.Step != nil {
				got.Rounds = d.Status.Step.Checks
			}
			if n := len(d.Status.History); n > 0 {
				got.History = d.Status.History[n-1].Verdict
			}
			if n := len(d.Events); n == 0 || !strings.Contains(d.Events[n-1].Message, tc.want.Says) {
				if tc.want.Says != "" {
					got.Says = fmt.Sprint(d.Events)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is known of a metric is carried from round to round.
func TestChecksRemember(t *testing.T) {
	for name, tc := range map[string]struct {
		scene *scene
		want  []v1beta1.CheckStatus
	}{
		"a failure more": {
			measuring(0, measured{metric: metric("a"), verdict: failed, before: &v1beta1.CheckStatus{Failures: 1, HadValue: true}}),
			[]v1beta1.CheckStatus{{Name: "a", Verdict: failed, Message: "a: Failed", Window: "1m", Failures: 2, HadValue: true}},
		},
		"none more where the round has not ended": {
			measuring(0, measured{metric: metric("a", dryRun), verdict: failed, before: &v1beta1.CheckStatus{Failures: 1}}, measured{metric: metric("b"), verdict: v1beta1.CheckWaiting}),
			[]v1beta1.CheckStatus{
				{Name: "a", Verdict: failed, Message: "a: Failed", Window: "1m", Failures: 1, DryRun: true},
				{Name: "b", Verdict: v1beta1.CheckWaiting, Message: "b: Waiting", Window: "1m"},
			},
		},
		"a dry run counts its failures": {
			measuring(0, measured{metric: metric("a", dryRun), verdict: failed}),
			[]v1beta1.CheckStatus{{Name: "a", Verdict: failed, Message: "a: Failed", Window: "1m", Failures: 1, DryRun: true}},
		},
		"a warm-up counts nothing": {
			measuring(0, measured{metric: metric("a", warmUp("1m")), verdict: failed}),
			[]v1beta1.CheckStatus{{Name: "a", Verdict: failed, Message: "a: Failed", Window: "1m", WarmingUp: true}},
		},
		"pre-rollout hooks leave what is known of metrics": {
			newScene().step(0, 0, time.Second).hooked(v1beta1.PreRolloutHook).answered(v1beta1.PreRolloutHook, 0, passed).with(func(o *release.Observation) {
				o.Canary.Status.Checks = []v1beta1.CheckStatus{{Name: "old hook"}, {Name: "a", Window: "1m", HadValue: true, Failures: 1}}
			}),
			[]v1beta1.CheckStatus{
				{Name: "pre-rollout", Verdict: passed, Message: "it answered Passed"},
				{Name: "a", Window: "1m", HadValue: true, Failures: 1},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := rollout.Decide(tc.scene.Observation)
			if diff := cmp.Diff(tc.want, d.Status.Checks); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Pain 14: the rounds of a release stay readable, and the status stays small.
func TestHistory(t *testing.T) {
	s := measuring(0, measured{metric: metric("a"), verdict: failed})
	for i := range 20 {
		s.Canary.Status.History = append(s.Canary.Status.History, v1beta1.RoundStatus{Step: int32(i)})
	}
	s.Checks.Results[0].Message = strings.Repeat("ä", 1000)
	history := rollout.Decide(s.Observation).Status.History
	if len(history) != 20 || history[0].Step != 1 {
		t.Fatalf("%d rounds from step %d", len(history), history[0].Step)
	}
	last := history[19]
	if n := len(last.Message); n > 256 || !strings.HasSuffix(last.Message, "ä...") {
		t.Errorf("a message of %d bytes: %s", n, last.Message)
	}
	last.Message = ""
	if diff := cmp.Diff(v1beta1.RoundStatus{Step: 1, Weight: 20, Verdict: failed, Time: metav1.NewMicroTime(t0)}, last); diff != "" {
		t.Error(diff)
	}

	idle := measuring(0, measured{metric: metric("a"), verdict: passed}, measured{metric: metric("b"), verdict: passed, value: "1"})
	d := rollout.Decide(idle.Observation)
	if got := d.Status.History[0].Message; got != "a: Passed" {
		t.Errorf("the round that passed without a value says %q", got)
	}
	if got := d.Events[len(d.Events)-1].Message; !strings.Contains(got, "All checks passed; a: Passed; ") {
		t.Errorf("the event says %q", got)
	}
	anew := rollout.Decide(s.targetAt(revC, 2).Observation).Status
	if len(anew.History)+len(anew.Checks) > 0 {
		t.Errorf("a new release begins with %v %v", anew.History, anew.Checks)
	}
}

// The warm-up counts from the first step, whatever step the release is at.
func TestWarmUpBegins(t *testing.T) {
	s := newScene().step(0, 0, time.Second)
	first := rollout.Decide(s.Observation).Status
	if first.Step.Began == nil || !first.Step.Began.Equal(&metav1.MicroTime{Time: t0}) {
		t.Fatalf("at the first step: %+v", first.Step)
	}
	later := newScene().step(1, 20, 10*time.Second).checked(passed, 0)
	began := metav1.NewMicroTime(t0.Add(-time.Hour))
	later.Canary.Status.Step.Began = &began
	if got := rollout.Decide(later.Observation).Status.Step; got.Index != 2 || !got.Began.Equal(&began) {
		t.Errorf("at the next step: %+v", got)
	}
	lost := newScene().step(2, 40, time.Second).targetAvailable(0)
	lost.Canary.Status.Step.Began = &began
	if got := rollout.Decide(lost.Observation).Status.Step; got.Index != 0 || got.Began != nil {
		t.Errorf("after the canary was lost: %+v", got)
	}
}
