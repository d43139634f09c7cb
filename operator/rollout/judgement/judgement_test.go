package judgement

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics/compare"
	"github.com/sluice-delivery/sluice/operator/release"
)

func TestSameVerdicts(t *testing.T) {
	of := func(verdicts ...v1beta1.CheckVerdict) (out []v1beta1.CheckStatus) {
		for i, v := range verdicts {
			out = append(out, v1beta1.CheckStatus{Name: string(rune('a' + i)), Verdict: v, Value: "another each time"})
		}
		return out
	}
	passed := of(v1beta1.CheckPassed, v1beta1.CheckPassed)
	renamed := of(v1beta1.CheckPassed, v1beta1.CheckPassed)
	renamed[1].Name = "z"
	for name, tc := range map[string]struct {
		a, b []v1beta1.CheckStatus
		want bool
	}{
		"the same":     {passed, of(v1beta1.CheckPassed, v1beta1.CheckPassed), true},
		"none":         {nil, nil, true},
		"another":      {passed, of(v1beta1.CheckPassed, v1beta1.CheckFailed), false},
		"another name": {passed, renamed, false},
		"fewer":        {passed, of(v1beta1.CheckPassed), false},
		"more":         {of(v1beta1.CheckPassed), passed, false},
	} {
		if got := SameVerdicts(tc.a, tc.b); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestRate(t *testing.T) {
	for want, c := range map[string]compare.Counts{
		"": {}, "12": {Requests: 1000, Bad: 123}, "1.2": {Requests: 1000, Bad: 12.3}, "0.5": {Requests: 1000, Bad: 5}, "0": {Requests: 1000}, "100": {Requests: 3, Bad: 3},
	} {
		if got := rate(c); got != want {
			t.Errorf("%+v: %q, want %q", c, got, want)
		}
	}
}

func compared() *v1beta1.CanaryAnalysis {
	return &v1beta1.CanaryAnalysis{StepWeight: 20, Metrics: []v1beta1.CanaryMetric{
		{Name: "slo"}, {Name: v1beta1.MetricRequestSuccessRate, Comparison: &v1beta1.MetricComparison{}, WarmUp: "60s"},
	}}
}

// isWarm is for how long a canary has been warm that warms up no more.
const isWarm = time.Minute

var began = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func counted(since, at time.Time, bad float64) *release.Counted {
	return &release.Counted{Since: since, At: at, Readings: []release.Reading{{Metric: v1beta1.MetricRequestSuccessRate, Blocks: []compare.Block{{
		Canary: compare.Counts{Requests: 1000, Bad: bad}, Primary: compare.Counts{Requests: 4000, Bad: 4}, Length: at.Sub(since),
	}}}}}
}

// TestTake: counts are taken once, and only where they begin at the end of the last ones.
func TestTake(t *testing.T) {
	next := began.Add(15 * time.Second)
	for name, tc := range map[string]struct {
		counted *release.Counted
		warm    time.Duration
		none    bool // nothing was begun
		want    bool
		bad     int64
	}{
		"the first":          {counted(began, next, 7), isWarm, false, true, 7},
		"none":               {nil, isWarm, false, false, 0},
		"nothing was begun":  {counted(began, next, 7), isWarm, true, false, 0},
		"of a while before":  {counted(began.Add(-time.Second), next, 7), isWarm, false, false, 0},
		"of no time":         {counted(began, began, 7), isWarm, false, false, 0},
		"while it warms up":  {counted(began, next, 7), 59 * time.Second, false, true, 0},
		"of another quality": {&release.Counted{Since: began, At: next, Readings: []release.Reading{{Metric: "other"}}}, isWarm, false, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			st := &v1beta1.CanaryStatus{Judgement: &v1beta1.JudgementStatus{Counted: metav1.NewMicroTime(began)}}
			if tc.none {
				st.Judgement = nil
			}
			if got := Take(compared(), st, tc.counted, tc.warm); got != tc.want {
				t.Fatalf("taken: %t", got)
			}
			if !tc.want {
				return
			}
			if m := st.Judgement.Metrics[0]; m.CanaryBad != tc.bad || !st.Judgement.Counted.Time.Equal(next) {
				t.Errorf("counted until %s: %+v", st.Judgement.Counted, m)
			}
			if Take(compared(), st, tc.counted, tc.warm) {
				t.Error("it is taken twice")
			}
		})
	}
}

// TestShare: the status has the share that was counted at the last look, at the present step alone.
func TestShare(t *testing.T) {
	mirrored := compared()
	mirrored.Mirror = true
	matched := compared()
	matched.Match = []v1beta1.RawObject{{}}
	nobody := counted(began, began.Add(15*time.Second), 0)
	nobody.Readings[0].Blocks[0].Canary, nobody.Readings[0].Blocks[0].Primary = compare.Counts{}, compare.Counts{}
	for name, tc := range map[string]struct {
		analysis *v1beta1.CanaryAnalysis
		counted  *release.Counted
		want     string
	}{
		"a fifth":        {compared(), counted(began, began.Add(15*time.Second), 7), "20"},
		"of nothing":     {compared(), nobody, ""},
		"of copies":      {mirrored, counted(began, began.Add(15*time.Second), 7), ""},
		"of those alone": {matched, counted(began, began.Add(15*time.Second), 7), ""},
	} {
		st := &v1beta1.CanaryStatus{Judgement: &v1beta1.JudgementStatus{Counted: metav1.NewMicroTime(began), CanaryShare: "99"}, Step: &v1beta1.StepStatus{Index: 2}}
		if !Take(tc.analysis, st, tc.counted, isWarm) || st.Judgement.CanaryShare != tc.want {
			t.Errorf("%s: the share is %q, want %q", name, st.Judgement.CanaryShare, tc.want)
		}
		if Begin(st, began.Add(time.Minute)); st.Judgement.CanaryShare != "" {
			t.Errorf("%s: at another weight the share is %q", name, st.Judgement.CanaryShare)
		}
	}
}

// TestCompared: the comparison has its say only of what no other check has found wrong, and the status says what it lacks.
func TestCompared(t *testing.T) {
	a := compared()
	st := &v1beta1.CanaryStatus{Judgement: &v1beta1.JudgementStatus{Counted: metav1.NewMicroTime(began)}}
	if !Take(a, st, counted(began, began.Add(15*time.Second), 700), isWarm) {
		t.Fatal("nothing is taken")
	}
	results := []v1beta1.CheckStatus{{Name: "slo", Verdict: v1beta1.CheckPassed}, {Name: a.Metrics[1].Name, Verdict: v1beta1.CheckPassed}}
	got := Compared(a, st, compare.Question{}, results, true)
	if got[0].Verdict != v1beta1.CheckPassed || got[1].Verdict == v1beta1.CheckPassed || got[1].Message == "" || results[1].Message != "" {
		t.Errorf("700 of 1000 requests are bad: %+v", got)
	}
	results[1].Verdict = v1beta1.CheckUnavailable
	if got := Compared(a, st, compare.Question{}, results, true); got[1].Verdict != v1beta1.CheckUnavailable {
		t.Errorf("nobody could tell, and it is %s", got[1].Verdict)
	}
	few := &v1beta1.CanaryStatus{Judgement: &v1beta1.JudgementStatus{Counted: metav1.NewMicroTime(began)}}
	Take(a, few, counted(began, began.Add(15*time.Second), 1), isWarm)
	few.Judgement.Metrics[0].Missing = math.MinInt64
	results[1].Verdict = v1beta1.CheckPassed
	Compared(a, few, compare.Question{}, results, true)
	if got := Compared(a, &v1beta1.CanaryStatus{}, compare.Question{Promote: true}, results, false); got[1].Verdict != v1beta1.CheckUndecided || !strings.Contains(got[1].Message, "the primary serves nobody") {
		t.Errorf("without a primary that serves: %+v", got[1])
	}
	if few.Judgement.Metrics[0].Missing == math.MinInt64 {
		t.Error("it is not told how many requests are missing")
	}
	if got := Compared(a, &v1beta1.CanaryStatus{}, compare.Question{}, results, true); len(got) != 2 {
		t.Errorf("before anything is counted: %+v", got)
	}
}

// TestVerdictsAgree: the metrics pass where the whole does, and only there, whatever was counted: a metric that is suspected for
// itself alone has not passed, and nor has one that lacks requests beside another that is suspected.
func TestVerdictsAgree(t *testing.T) {
	a := &v1beta1.CanaryAnalysis{Metrics: []v1beta1.CanaryMetric{
		{Name: "a", TemplateRef: &v1beta1.CrossNamespaceObjectReference{Name: "a"}, Comparison: &v1beta1.MetricComparison{}},
		{Name: "b", TemplateRef: &v1beta1.CrossNamespaceObjectReference{Name: "b"}, Comparison: &v1beta1.MetricComparison{Limit: new(3.0)}},
		{Name: "c", TemplateRef: &v1beta1.CrossNamespaceObjectReference{Name: "c"}, Comparison: &v1beta1.MetricComparison{}, DryRun: true},
	}}
	r := rand.New(rand.NewPCG(1, 2))
	seen := map[string]int{}
	for range 150 {
		st := &v1beta1.CanaryStatus{Judgement: &v1beta1.JudgementStatus{Counted: metav1.NewMicroTime(began)}}
		worse, base := []float64{0, 0, 0.005, 0.01, 0.03}, []float64{0.002, 0.002, 0.002, 0.08}[r.IntN(4)]
		var extra [3]float64
		for i := range extra {
			extra[i] = worse[r.IntN(len(worse))]
		}
		for look := range 12 {
			at := began.Add(time.Duration(look) * 15 * time.Second)
			c := &release.Counted{Since: at, At: at.Add(15 * time.Second)}
			for i, m := range a.Metrics {
				bad := func(n, share float64) float64 {
					return math.Max(0, math.Round(n*share+math.Sqrt(n*share)*r.NormFloat64()))
				}
				c.Readings = append(c.Readings, release.Reading{
					Metric: m.Name, History: &compare.History{Minutes: [][]compare.Counts{{{Requests: 1e5, Bad: 200}}}},
					Blocks: []compare.Block{{Canary: compare.Counts{Requests: 300, Bad: bad(300, base+extra[i])}, Primary: compare.Counts{Requests: 300, Bad: bad(300, base)}, Length: 15 * time.Second}},
				})
			}
			if !Take(a, st, c, isWarm) {
				t.Fatal("counts are not taken")
			}
			for _, q := range []compare.Question{{}, {Promote: true}, {Promote: true, Overdue: true}} {
				s, _ := stateOf(st.Judgement)
				whole, v := Of(a).Answer(s, q), Judge(a, st, q)
				passed := v.Metrics[0].Verdict == v1beta1.CheckPassed && v.Metrics[1].Verdict == v1beta1.CheckPassed
				if passed != (whole.Verdict == compare.NotMuchWorse) || v.Worse != (whole.Verdict == compare.WorseThanTolerated) {
					t.Fatalf("the whole is %+v, the metrics are %+v", whole, v.Metrics)
				}
				seen[fmt.Sprint(whole.Verdict, whole.Cause)]++
				if alone := Of(a).Of(s, 0, q); alone.Cause == compare.Suspicion && whole.Cause == compare.FewRequests {
					seen["suspected alone"]++
				}
			}
		}
	}
	if len(seen) < 6 {
		t.Errorf("not all verdicts were seen, only %v", seen)
	}
}
