package rollout_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics/compare"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
)

// comparing is a release of one metric with a comparison, at 100 requests a second of which the primary fails one in a hundred.
type comparing struct {
	*scene
	canary, primary float64 // shares of failed requests
	perSecond       float64
	looks           int  // that were asked for
	fails           bool // what is checked beside the comparison
	events          []release.Event
}

// newComparing is at step 1 of 20, 40 and 60 %, which begins now.
func newComparing(canary float64, change ...func(*v1beta1.CanaryAnalysis)) *comparing {
	s := newScene().step(1, 20, 0)
	a := s.Canary.Spec.Analysis
	a.Interval, a.Metrics = "60s", []v1beta1.CanaryMetric{{Name: "request-success-rate", Comparison: &v1beta1.MetricComparison{}}}
	for _, f := range change {
		f(a)
	}
	s.Canary.Status.Step.Began = &metav1.MicroTime{Time: s.Now}
	s.Canary.Status.StartedAt = &metav1.MicroTime{Time: s.Now}
	return &comparing{scene: s, canary: canary, primary: 0.01, perSecond: 100}
}

// decide decides, and persists the status as JSON, as an API server does.
func (c *comparing) decide(t *testing.T) release.Decision {
	t.Helper()
	d := rollout.Decide(c.Observation)
	data, err := json.Marshal(d.Status)
	if err != nil {
		t.Fatal(err)
	}
	c.Canary = c.Canary.DeepCopy()
	c.Canary.Status = v1beta1.CanaryStatus{}
	if err := json.Unmarshal(data, &c.Canary.Status); err != nil {
		t.Fatal(err)
	}
	c.events = append(c.events, d.Events...)
	return d
}

// answer does what a decision asks for: a round or a look, of what was counted since the status says.
func (c *comparing) answer(id release.CheckID) {
	c.Checks = &release.CheckRun{ID: id, At: c.Now}
	if id.Look == 0 {
		for _, m := range c.Canary.Spec.Analysis.Metrics {
			verdict := passed
			if m.Comparison == nil && c.fails {
				verdict = failed
			}
			c.Checks.Results = append(c.Checks.Results, v1beta1.CheckStatus{Name: m.Name, Window: "1m", Verdict: verdict})
		}
	} else {
		c.looks++
	}
	if j := c.Canary.Status.Judgement; j != nil {
		c.Checks.Counted = c.count(j.Counted.Time)
	}
}

// count is what comes in a time, without chance.
func (c *comparing) count(since time.Time) *release.Counted {
	length := c.Now.Sub(since)
	if length <= 0 {
		return nil
	}
	n := c.perSecond * length.Seconds() * float64(c.Canary.Status.CanaryWeight) / 100
	m := c.perSecond*length.Seconds() - n
	out := &release.Counted{Since: since, At: c.Now}
	for _, metric := range c.Canary.Spec.Analysis.Metrics {
		if metric.Comparison == nil {
			continue
		}
		out.Readings = append(out.Readings, release.Reading{
			Metric:  metric.Name,
			Blocks:  []compare.Block{{Canary: compare.Counts{Requests: n, Bad: n * c.canary}, Primary: compare.Counts{Requests: m, Bad: m * c.primary}, Length: length}},
			History: &compare.History{Minutes: [][]compare.Counts{minutesOf(60, c.perSecond*60, c.primary)}},
		})
	}
	return out
}

func minutesOf(n int, requests, share float64) []compare.Counts {
	out := make([]compare.Counts, n)
	for i := range out {
		out[i] = compare.Counts{Requests: requests, Bad: requests * share}
	}
	return out
}

// run goes on until the release has ended or a time is over, and returns how long it took.
func (c *comparing) run(t *testing.T, most time.Duration) time.Duration {
	t.Helper()
	for c.Now.Sub(t0) < most {
		d := c.decide(t)
		if d.Status.Phase != v1beta1.PhaseProgressing {
			break
		}
		switch {
		case d.RunChecks != nil:
			c.answer(*d.RunChecks)
		case d.RequeueAfter > 0:
			c.Now = c.Now.Add(d.RequeueAfter)
		default:
			t.Fatalf("nothing is waited for: %+v", d.Status.Conditions)
		}
	}
	return c.Now.Sub(t0)
}

// last is the last event with a reason.
func (c *comparing) last(reason string) string {
	for i := len(c.events) - 1; i >= 0; i-- {
		if c.events[i].Reason == reason {
			return c.events[i].Message
		}
	}
	return ""
}

// said tells whether an event has said something.
func (c *comparing) said(what string) bool {
	return slices.ContainsFunc(c.events, func(e release.Event) bool { return strings.Contains(e.Message, what) })
}

func judged(j v1beta1.CanaryJudgement) func(*v1beta1.CanaryAnalysis) {
	return func(a *v1beta1.CanaryAnalysis) { a.Judgement = &j }
}

// TestEvidence is the table of releases that compare.
func TestEvidence(t *testing.T) {
	halfTraffic := func(c *comparing) { c.perSecond = 0.2 }
	none := func(c *comparing) { c.perSecond = 0 }
	outage := func(c *comparing) { c.canary, c.primary = 0.5, 0.5 }
	const soon, half, long = 5 * time.Minute, 35 * time.Minute, 3 * time.Hour
	for name, tc := range map[string]struct {
		release *comparing
		change  func(*comparing)
		most    time.Duration
		phase   v1beta1.CanaryPhase
		weight  int32
		reason  string // of an event
		says    string // in it
		atMost  time.Duration
	}{
		"as good as the primary":    {release: newComparing(0.01), most: soon, phase: v1beta1.PhasePromoting, weight: 60, reason: release.ReasonPromoting, says: "request-success-rate: the canary has 1.0 % bad requests, the primary 1.0 %", atMost: 185 * time.Second},
		"better":                    {release: newComparing(0), most: soon, phase: v1beta1.PhasePromoting, weight: 60, reason: release.ReasonPromoting, atMost: 185 * time.Second},
		"half of the requests fail": {release: newComparing(0.5), most: soon, phase: v1beta1.PhaseFailed, reason: release.ReasonCanaryWorse, says: "the canary has 50 % bad requests, the primary 1.0 % (150 of 300; 12 of 1,200); worse than tolerated, 99 % sure", atMost: 15 * time.Second},
		"three points worse":        {release: newComparing(0.04), most: soon, phase: v1beta1.PhaseFailed, reason: release.ReasonCanaryWorse, says: "; worse by ", atMost: time.Minute},
		"a point worse":             {release: newComparing(0.02), most: half, phase: v1beta1.PhaseFailed, reason: release.ReasonCanaryWorse, says: "; worse by ", atMost: 6 * time.Minute},
		"a point worse, it is tolerated": {release: newComparing(0.02, func(a *v1beta1.CanaryAnalysis) {
			a.Metrics[0].Comparison = &v1beta1.MetricComparison{Tolerate: &v1beta1.MetricTolerance{Points: new(2.0)}, Detect: new(5.0)}
		}), most: soon, phase: v1beta1.PhasePromoting, weight: 60, reason: release.ReasonPromoting},
		"it only compares": {release: newComparing(0.5, func(a *v1beta1.CanaryAnalysis) { a.Metrics[0].DryRun = true }), most: soon, phase: v1beta1.PhasePromoting, weight: 60, reason: release.ReasonPromoting},
		"both fail":        {release: newComparing(0.01), change: outage, most: half, phase: v1beta1.PhasePromoting, weight: 60, reason: release.ReasonPromoting},
		"nobody comes":     {release: newComparing(0.01), change: none, most: long, phase: v1beta1.PhaseProgressing, weight: 20, reason: release.ReasonNoEvidence, says: "Too little evidence for 30m0s; the weight stays where it is until there is more: request-success-rate: the canary had no requests"},
		"nobody comes, it is rolled back": {release: newComparing(0.01, judged(v1beta1.CanaryJudgement{OnNoEvidence: v1beta1.NoEvidenceRollback, MaxDuration: "10m"})), change: none,
			most: long, phase: v1beta1.PhaseFailed, reason: release.ReasonNoEvidence, says: "too little evidence for 10m0s", atMost: 11 * time.Minute},
		"nobody comes, it goes on": {release: newComparing(0.01, judged(v1beta1.CanaryJudgement{OnNoEvidence: v1beta1.NoEvidencePromote, MaxDuration: "10m"})), change: none,
			most: long, phase: v1beta1.PhasePromoting, weight: 60, reason: release.ReasonPromoting, says: "onNoEvidence is Promote", atMost: 14 * time.Minute},
		"the last step has all requests": {release: newComparing(0.01, func(a *v1beta1.CanaryAnalysis) { a.StepWeight, a.MaxWeight = 40, 100 }), most: 10 * time.Minute,
			phase: v1beta1.PhasePromoting, weight: 100, reason: release.ReasonPromoting, atMost: 245 * time.Second},
		"few come": {release: newComparing(0.01), change: halfTraffic, most: long, phase: v1beta1.PhasePromoting, weight: 60, reason: release.ReasonNoEvidence, says: "more requests of the canary are needed"},
	} {
		t.Run(name, func(t *testing.T) {
			c := tc.release
			if tc.change != nil {
				tc.change(c)
			}
			took := c.run(t, tc.most)
			if c.Canary.Status.Phase != tc.phase || c.Canary.Status.CanaryWeight != tc.weight {
				t.Errorf("after %s it is %s at %d %%, want %s at %d %%; events %v; judgement %+v", took, c.Canary.Status.Phase, c.Canary.Status.CanaryWeight, tc.phase, tc.weight, c.events, c.Canary.Status.Judgement)
			}
			if tc.atMost > 0 && took > tc.atMost {
				t.Errorf("it took %s, want at most %s", took, tc.atMost)
			}
			if checks := c.Canary.Status.Checks; tc.reason == release.ReasonCanaryWorse && (len(checks) != 1 || checks[0].Verdict != failed) {
				t.Errorf("the checks are %+v", checks)
			}
			if message := c.last(tc.reason); message == "" || !strings.Contains(message, tc.says) {
				t.Errorf("event %s says %q, want %q", tc.reason, message, tc.says)
			}
		})
	}
}

// TestStepEarly: steps end before their interval where the evidence allows the next one, and only there; the last one lasts it.
func TestStepEarly(t *testing.T) {
	early := judged(v1beta1.CanaryJudgement{StepEarly: true})
	alone := func(a *v1beta1.CanaryAnalysis) { a.Metrics[0].DryRun = true }
	gate := func(a *v1beta1.CanaryAnalysis) {
		a.Metrics = append(a.Metrics, v1beta1.CanaryMetric{Name: "queue", Query: "queue", ThresholdRange: &v1beta1.CanaryThresholdRange{Max: new(1.0)}})
	}
	for name, tc := range map[string]struct {
		canary          float64
		change          []func(*v1beta1.CanaryAnalysis)
		traffic         float64
		fails           bool // the check beside the comparison
		atLeast, atMost time.Duration
		weight          int32
		says            string
	}{
		"evidence comes fast":              {canary: 0.01, change: []func(*v1beta1.CanaryAnalysis){early}, traffic: 100, atLeast: 90 * time.Second, atMost: 95 * time.Second, weight: 60, says: "All checks passed before the interval was over"},
		"it is not asked for":              {canary: 0.01, traffic: 100, atLeast: 180 * time.Second, atMost: 185 * time.Second, weight: 60, says: "All checks passed; "},
		"evidence comes slowly":            {canary: 0.01, change: []func(*v1beta1.CanaryAnalysis){early}, traffic: 1, atLeast: 180 * time.Second, weight: 60},
		"nobody comes":                     {canary: 0.01, change: []func(*v1beta1.CanaryAnalysis){early}, traffic: 0, atLeast: 10 * time.Minute, weight: 20},
		"nothing decides":                  {canary: 0.01, change: []func(*v1beta1.CanaryAnalysis){early, alone}, traffic: 100, atLeast: 180 * time.Second, atMost: 185 * time.Second, weight: 60},
		"another check passes":             {canary: 0.01, change: []func(*v1beta1.CanaryAnalysis){early, gate}, traffic: 100, atLeast: 90 * time.Second, atMost: 95 * time.Second, weight: 60},
		"another check fails":              {canary: 0.01, change: []func(*v1beta1.CanaryAnalysis){early, gate}, traffic: 100, fails: true, atMost: 5 * time.Minute, weight: 0},
		"the canary is three points worse": {canary: 0.04, change: []func(*v1beta1.CanaryAnalysis){early}, traffic: 100, atMost: time.Minute, weight: 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := newComparing(tc.canary, tc.change...)
			c.perSecond, c.fails = tc.traffic, tc.fails
			took := c.run(t, 10*time.Minute)
			if took < tc.atLeast || tc.atMost > 0 && took > tc.atMost || c.Canary.Status.CanaryWeight != tc.weight {
				t.Errorf("after %s it is at %d %%, want %d %% after %s to %s; events %v", took, c.Canary.Status.CanaryWeight, tc.weight, tc.atLeast, tc.atMost, c.events)
			}
			if message := c.last(release.ReasonWeightRaised); tc.says != "" && !c.said(tc.says) {
				t.Errorf("the weight was raised with %q, want %q", message, tc.says)
			}
			if step := c.Canary.Status.Step; step != nil && step.Early {
				t.Error("the last step is to end early")
			}
		})
	}
}

// TestEvidenceIsCountedOnce: the same counts again, and counts that begin elsewhere, change nothing.
func TestEvidenceIsCountedOnce(t *testing.T) {
	c := newComparing(0.01)
	c.decide(t)
	c.Now = c.Now.Add(15 * time.Second)
	d := c.decide(t)
	if d.RunChecks == nil || d.RunChecks.Look == 0 {
		t.Fatalf("no look is asked for: %+v", d.RunChecks)
	}
	c.answer(*d.RunChecks)
	c.decide(t)
	after := c.Canary.Status.Judgement.DeepCopy()
	if after.Metrics[0].CanaryRequests != 300 || after.Metrics[0].PrimaryBad != 12 {
		t.Errorf("counted %+v", after.Metrics)
	}
	for range 3 { // an operator that was restarted sees the same results again
		c.decide(t)
	}
	if got := c.Canary.Status.Judgement; got.State != after.State || !got.Counted.Equal(&after.Counted) {
		t.Error("the same counts were taken twice")
	}
	c.Now = c.Now.Add(15 * time.Second)
	d = c.decide(t)
	c.answer(*d.RunChecks)
	c.Checks.Counted.Since = c.Checks.Counted.Since.Add(-time.Second)
	c.decide(t)
	if got := c.Canary.Status.Judgement; got.State != after.State {
		t.Error("counts were taken that begin before the last ones ended")
	}
}

// TestEvidenceOfAWeight: counting begins anew when the mesh has another weight, and the evidence stays.
func TestEvidenceOfAWeight(t *testing.T) {
	c := newComparing(0.01)
	c.Route.Since = t0.Add(3 * time.Second)
	c.Now = t0.Add(4 * time.Second)
	c.decide(t)
	if got := c.Canary.Status.Judgement.Counted.Time; !got.Equal(c.Route.Since) {
		t.Errorf("counted since %s, the route is there since %s", got, c.Route.Since)
	}
	c.Now = t0.Add(20 * time.Second)
	d := c.decide(t)
	c.answer(*d.RunChecks)
	c.decide(t)
	state := c.Canary.Status.Judgement.State
	c.Route.Since = t0.Add(30 * time.Second) // somebody has changed it meanwhile
	c.Now = t0.Add(31 * time.Second)
	c.decide(t)
	if got := c.Canary.Status.Judgement; !got.Counted.Time.Equal(c.Route.Since) || got.State != state {
		t.Errorf("counted since %s", got.Counted)
	}
}

// TestNoComparison: a release that compares nothing has no judgement and asks for no look.
func TestNoComparison(t *testing.T) {
	c := newComparing(0.5, func(a *v1beta1.CanaryAnalysis) { a.Metrics[0].Comparison = nil })
	c.run(t, 10*time.Minute)
	if c.looks > 0 || c.Canary.Status.Judgement != nil || c.Canary.Status.Phase != v1beta1.PhasePromoting {
		t.Errorf("%d looks, judgement %+v, phase %s", c.looks, c.Canary.Status.Judgement, c.Canary.Status.Phase)
	}
}

// TestProspect: once requests are counted it is said how long a verdict takes, once.
func TestProspect(t *testing.T) {
	c := newComparing(0.01)
	c.run(t, 5*time.Minute)
	seen := 0
	for _, e := range c.events {
		if e.Reason == release.ReasonComparing {
			seen++
		}
	}
	const want = "request-success-rate: at 100 requests a second, 20 % of them the canary's, and 1 % bad ones of the primary a regression of 1 points is found in about "
	if got := c.last(release.ReasonComparing); seen != 1 || !strings.Contains(got, want) {
		t.Errorf("told %d times: %q", seen, got)
	}
}

// TestEvidenceCondition: the condition says what is waited for, and until when.
func TestEvidenceCondition(t *testing.T) {
	c := newComparing(0.01)
	c.perSecond = 0.2
	c.run(t, 3*time.Minute)
	message := c.Canary.Status.GetCondition(v1beta1.ConditionPromoted).Message
	for _, want := range []string{"waiting for evidence (until ", "then onNoEvidence: Wait)", "more requests of the canary are needed"} {
		if !strings.Contains(message, want) {
			t.Errorf("the condition says %q, want %q", message, want)
		}
	}
}

// Where the primary is gone, or could not serve for as long as the deadline, there is nothing to compare with, and users have the
// canary already: the release goes on by a range of values, and brings a primary back. Where there is none nobody has judged
// it, and a person has to.
func TestNothingToCompareWith(t *testing.T) {
	const gone, down = "gone", "down"
	for name, tc := range map[string]struct {
		verdict v1beta1.CheckVerdict
		primary string        // "" is there
		since   time.Duration // the canary stands in
		absent  time.Duration // for how long of that nobody was there to see a primary
		alone   bool          // without a range of values
		limited bool          // a limit of the canary alone is asked for
		want    string
		seen    string
	}{
		"the primary is there":                         {verdict: passed, want: "NoEvidence", seen: "no requests were compared yet"},
		"it is gone":                                   {verdict: passed, primary: gone, want: "WeightRaised", seen: "not compared, as the primary is gone"},
		"it is gone, and a range is left":              {verdict: failed, primary: gone, want: "CheckFailed", seen: "because"},
		"it is gone, and nothing else is known":        {verdict: passed, primary: gone, alone: true, want: "NoEvidence", seen: "there is nothing to compare with; promote the canary"},
		"it is gone, and the canary has a limit alone": {verdict: passed, primary: gone, alone: true, limited: true, want: "NoEvidence", seen: "no requests were compared yet"},
		"it has no pod at the moment":                  {verdict: passed, primary: down, since: 9 * time.Minute, want: "NoEvidence", seen: "the primary serves nobody"},
		"it has had no pod for the deadline":           {verdict: passed, primary: down, since: 10 * time.Minute, want: "WeightRaised", seen: "not compared, as the primary could not serve for 10m0s"},
		"most of it without an operator":               {verdict: passed, primary: down, since: 10 * time.Minute, absent: 9 * time.Minute, want: "NoEvidence", seen: "the primary serves nobody"},
		"for the deadline, and a range is left":        {verdict: failed, primary: down, since: time.Hour, want: "CheckFailed", seen: "because"},
		"for the deadline, and nothing else is known":  {verdict: passed, primary: down, since: time.Hour, alone: true, want: "NoEvidence", seen: "there is nothing to compare with; promote the canary"},
		"it has a pod again, and too few":              {verdict: passed, primary: "too few", since: 9 * time.Minute, want: "NoEvidence", seen: "the primary serves nobody"},
		"it has had too few for the deadline":          {verdict: passed, primary: "too few", since: 10 * time.Minute, want: "WeightRaised", seen: "could not serve for 10m0s"},
		"a limit alone is asked for":                   {verdict: passed, primary: down, since: time.Minute, limited: true, want: "NoEvidence", seen: "no requests were compared yet"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene().step(1, 20, 10*time.Second).checked(tc.verdict, 0)
			s.Canary.Spec.Analysis.Metrics[0].Comparison = &v1beta1.MetricComparison{}
			if !tc.alone {
				s.Canary.Spec.Analysis.Metrics[0].ThresholdRange = &v1beta1.CanaryThresholdRange{Min: new(99.0)}
			}
			if tc.limited {
				s.iterations(2, true)
				s.Canary.Spec.Analysis.Metrics[0].Comparison.Limit = new(5.0)
			}
			if tc.primary != "" {
				s.Canary.Status.Traffic = &v1beta1.TrafficStatus{Reason: v1beta1.TrafficPrimaryUnavailable}
				s.Canary.Status.CanaryWeight = 100
				s.Canary.Status.LastTransitionTime = metav1.NewTime(t0.Add(-tc.since))
			}
			if tc.absent > 0 {
				s.Absence = release.Absence{From: t0.Add(-tc.absent), To: t0}
			}
			switch tc.primary {
			case gone:
				s.Primary = release.Workload{}
			case down:
				s.primaryAvailable(0)
			case "too few": // so that the canary stands in until it has all
				s.primaryAvailable(1)
				s.Primary.Ready = false
			}
			d := rollout.Decide(s.Observation)
			if got := strings.Join(outcomeOf(d).Events, " "); got != tc.want {
				t.Errorf("events: %s, want %s; %+v", got, tc.want, d.Status.Checks)
			}
			if seen := d.Status.Checks[0].Message; !strings.Contains(seen, tc.seen) {
				t.Errorf("the check says %q", seen)
			}
		})
	}
}

// A release with evidence against its canary waits in any case, also where nothing can be added to the evidence as the primary
// could not serve for long.
func TestEvidenceOutlivesThePrimary(t *testing.T) {
	for name, tc := range map[string]struct {
		limit *float64
		phase v1beta1.CanaryPhase
	}{
		"nothing speaks against it":    {phase: v1beta1.PhasePromoting},
		"both were beyond their limit": {limit: new(10.0), phase: v1beta1.PhaseProgressing},
	} {
		t.Run(name, func(t *testing.T) {
			c := newComparing(0.5, func(a *v1beta1.CanaryAnalysis) {
				a.Metrics[0].ThresholdRange, a.Metrics[0].Comparison.Limit = &v1beta1.CanaryThresholdRange{Max: new(99.0)}, tc.limit
			})
			c.primary = 0.5
			c.run(t, 50*time.Second)
			c.primaryAvailable(0)
			c.Canary.Status.Traffic = &v1beta1.TrafficStatus{Reason: v1beta1.TrafficPrimaryUnavailable}
			c.Canary.Status.CanaryWeight, c.Canary.Status.LastTransitionTime, c.perSecond = 100, metav1.NewTime(t0.Add(-time.Hour)), 0
			c.run(t, 10*time.Minute)
			if got := c.Canary.Status.Phase; got != tc.phase {
				t.Errorf("phase %s, want %s; events %v", got, tc.phase, c.events)
			}
		})
	}
}
