package metrics

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// TestPolicies is the table of answers that are no value: what comes of each
// under each policy, and what people are told. The rows without policy settle
// pain 13: an idle service can be released, and one whose traffic stopped is
// not.
func TestPolicies(t *testing.T) {
	const (
		fail, pass, wait                             = v1beta1.MetricFail, v1beta1.MetricPass, v1beta1.MetricWait
		passed, failed, none, silent, waits          = v1beta1.CheckPassed, v1beta1.CheckFailed, v1beta1.CheckNoData, v1beta1.CheckUnavailable, v1beta1.CheckWaiting
		unmeasured                                   = v1beta1.CheckUnmeasured
		success                                      = v1beta1.MetricRequestSuccessRate
		forGood                                      = "; that is taken for good, as the metric's policy says"
		waiting                                      = "; nothing moves until that changes, as the metric's policy says"
		noValue, nan, inf, several, refusal, timeout = "the query gave no value", "the value is not a number (NaN)", "the value is infinite (+Inf)",
			"query failed: it selects 3 series where one is needed: aggregate them", "query failed: parse error", "metric provider http://p is unavailable: no answer within 10s: context deadline exceeded"
	)
	var (
		nothing = Answer{Err: ErrNoData}
		isNaN   = Answer{Sample: Sample{Value: math.NaN()}}
		isInf   = Answer{Sample: Sample{Value: math.Inf(1)}}
		many    = Answer{Err: &QueryError{Expr: "q", Message: "it selects 3 series where one is needed: aggregate them", Series: []float64{99.5, 12, 100}}}
		wrong   = Answer{Err: &QueryError{Expr: "q", Message: "parse error"}}
		tooLate = Answer{Err: &UnavailableError{Provider: "http://p", Err: fmt.Errorf("no answer within 10s: %w", context.DeadlineExceeded)}}
		good    = Answer{Sample: Sample{Value: 99.5}}
		// scraped has the series of the primary, and those of the canary where they are needed, scraped so often.
		scraped = func(a Answer, times ...float64) Answer {
			a.Scraped = nil
			for i, n := range times {
				a.Scraped = append(a.Scraped, Scraped{Series: []string{`x{app="primary"}`, `x{app="canary"}`}[i], Times: n, Advice: "is it scraped?"})
			}
			return a
		}
		requests = func(a Answer, canary, primary float64) Answer {
			a.Canary, a.Primary = &canary, &primary
			return scraped(a, 4)
		}
		before = func(a Answer) Answer {
			a.HadValue = true
			return a
		}
		primary = func(a Answer, n float64) Answer {
			a.Primary = &n
			return scraped(a, 4)
		}
	)
	noData := func(a v1beta1.MetricAction) *v1beta1.MetricPolicy { return &v1beta1.MetricPolicy{NoData: a} }
	notANumber := func(a v1beta1.MetricAction) *v1beta1.MetricPolicy { return &v1beta1.MetricPolicy{NotANumber: a} }
	infinite := func(a v1beta1.MetricAction) *v1beta1.MetricPolicy { return &v1beta1.MetricPolicy{Infinite: a} }
	unavailable := func(a v1beta1.MetricAction) *v1beta1.MetricPolicy { return &v1beta1.MetricPolicy{Unavailable: a} }

	for name, tc := range map[string]struct {
		name        string // success-rate without
		query       string
		min         int32 // minRequests
		policy      *v1beta1.MetricPolicy
		answer      Answer
		wantVerdict Verdict
		wantMessage string
	}{
		"no data of a query":           {query: "q", answer: nothing, wantVerdict: none, wantMessage: noValue + "; probably the canary gets no requests"},
		"no data, Fail":                {query: "q", policy: noData(fail), answer: nothing, wantVerdict: none, wantMessage: noValue},
		"no data, Pass":                {query: "q", policy: noData(pass), answer: nothing, wantVerdict: passed, wantMessage: noValue + forGood},
		"no data, Wait":                {query: "q", policy: noData(wait), answer: nothing, wantVerdict: waits, wantMessage: noValue + waiting},
		"no data where nobody counts":  {answer: nothing, wantVerdict: none, wantMessage: noValue + "; probably the canary gets no requests"},
		"pain 13: idle from the start": {answer: primary(nothing, 0), wantVerdict: passed, wantMessage: "idle: neither version gets requests"},
		"pain 13: idle, NaN":           {answer: primary(isNaN, 0), wantVerdict: passed, wantMessage: "idle: neither version gets requests"},
		"pain 13: traffic stopped": {
			answer: before(primary(nothing, 0)), wantVerdict: failed,
			wantMessage: noValue + ", and had one before in this release: traffic stopped, the primary gets no requests either",
		},
		"pain 13: traffic goes to the primary only": {
			answer: primary(nothing, 119.7), wantVerdict: failed,
			wantMessage: noValue + " although the primary had 120 requests: they go to the primary only, or those of the canary are not measured",
		},
		"not measured": {
			answer: scraped(primary(nothing, 0), 0), wantVerdict: unmeasured,
			wantMessage: noValue + ", and the application is not known to be measured: the metrics server has no series x{app=\"primary\"} of the last 1m; is it scraped? To release without them, set policy.noData",
		},
		"not measured any more": {
			answer: before(scraped(primary(isNaN, 0), 0)), wantVerdict: unmeasured,
			wantMessage: nan + ", and the application is not known to be measured: the metrics server has no series x{app=\"primary\"} of the last 1m; is it scraped? To release without them, set policy.noData",
		},
		"not measured, but the policy says Pass": {policy: noData(pass), answer: scraped(primary(nothing, 0), 0), wantVerdict: passed, wantMessage: noValue + forGood},
		"scraped too seldom": {
			answer: scraped(primary(nothing, 0), 1), wantVerdict: unmeasured,
			wantMessage: noValue + ", and nobody can tell why: the metrics server has scraped x{app=\"primary\"} once in 1m, and twice is needed to see requests or that there are none; make the metric's interval at least twice the scrape interval",
		},
		"scraped too seldom, and the primary has requests": {
			answer: scraped(primary(nothing, 9), 1), wantVerdict: unmeasured,
			wantMessage: noValue + ", and nobody can tell why: the metrics server has scraped x{app=\"primary\"} once in 1m, and twice is needed to see requests or that there are none; make the metric's interval at least twice the scrape interval",
		},
		"only the primary is measured": {
			answer: scraped(primary(nothing, 0), 4, 0), wantVerdict: unmeasured,
			wantMessage: noValue + ", and the application is not known to be measured: the metrics server has no series x{app=\"canary\"} of the last 1m; is it scraped? To release without them, set policy.noData",
		},
		"only the primary is measured, and has requests": {
			answer: scraped(primary(nothing, 3), 4, 0), wantVerdict: failed,
			wantMessage: noValue + " although the primary had 3 requests: they go to the primary only, or those of the canary are not measured",
		},
		"both are measured and idle":              {answer: scraped(primary(nothing, 0), 2, 2), wantVerdict: passed, wantMessage: "idle: neither version gets requests"},
		"nobody looked what is scraped":           {answer: scraped(primary(nothing, 0)), wantVerdict: none, wantMessage: noValue + "; probably the canary gets no requests"},
		"pain 13: idle, but the policy says Fail": {policy: noData(fail), answer: primary(nothing, 0), wantVerdict: none, wantMessage: noValue},

		"NaN of a query":                {query: "q", answer: isNaN, wantVerdict: none, wantMessage: nan + "; probably the canary gets no requests"},
		"NaN, Fail":                     {query: "q", policy: notANumber(fail), answer: isNaN, wantVerdict: none, wantMessage: nan},
		"NaN, Pass":                     {query: "q", policy: notANumber(pass), answer: isNaN, wantVerdict: passed, wantMessage: nan + forGood},
		"NaN, Wait":                     {query: "q", policy: notANumber(wait), answer: isNaN, wantVerdict: waits, wantMessage: nan + waiting},
		"NaN goes by no data":           {query: "q", policy: noData(pass), answer: isNaN, wantVerdict: passed, wantMessage: nan + forGood},
		"no data does not go by NaN":    {query: "q", policy: notANumber(pass), answer: nothing, wantVerdict: none, wantMessage: noValue + "; probably the canary gets no requests"},
		"NaN's own policy comes first":  {query: "q", policy: &v1beta1.MetricPolicy{NoData: pass, NotANumber: wait}, answer: isNaN, wantVerdict: waits, wantMessage: nan + waiting},
		"Inf":                           {query: "q", answer: isInf, wantVerdict: failed, wantMessage: inf},
		"Inf, Fail":                     {query: "q", policy: infinite(fail), answer: isInf, wantVerdict: failed, wantMessage: inf},
		"Inf, Pass":                     {query: "q", policy: infinite(pass), answer: isInf, wantVerdict: passed, wantMessage: inf + forGood},
		"Inf, Wait":                     {query: "q", policy: infinite(wait), answer: isInf, wantVerdict: waits, wantMessage: inf + waiting},
		"time-out":                      {query: "q", answer: tooLate, wantVerdict: silent, wantMessage: timeout},
		"time-out, Fail":                {query: "q", policy: unavailable(fail), answer: tooLate, wantVerdict: failed, wantMessage: timeout},
		"time-out, Pass":                {query: "q", policy: unavailable(pass), answer: tooLate, wantVerdict: passed, wantMessage: timeout + forGood},
		"time-out, Wait":                {query: "q", policy: unavailable(wait), answer: tooLate, wantVerdict: waits, wantMessage: timeout + waiting},
		"several series":                {query: "q", answer: many, wantVerdict: failed, wantMessage: several},
		"several series, all else Pass": {query: "q", policy: &v1beta1.MetricPolicy{NoData: pass, NotANumber: pass, Infinite: pass, Unavailable: pass}, answer: many, wantVerdict: failed, wantMessage: several},
		"a query that is refused":       {query: "q", answer: wrong, wantVerdict: failed, wantMessage: refusal},

		"enough requests": {min: 10, answer: requests(good, 10, 0), wantVerdict: passed, wantMessage: ""},
		"too few requests": {
			min: 10, answer: requests(good, 9.4, 0), wantVerdict: waits, wantMessage: "the canary had fewer than the 10 requests in 1m that a verdict needs",
		},
		"too few requests, Pass": {
			min: 10, policy: noData(pass), answer: requests(good, 3, 0), wantVerdict: passed, wantMessage: "the canary had fewer than the 10 requests in 1m that a verdict needs" + forGood,
		},
		"too few requests, Fail": {
			min: 10, policy: noData(fail), answer: requests(good, 3, 0), wantVerdict: none, wantMessage: "the canary had fewer than the 10 requests in 1m that a verdict needs",
		},
		"no request at all": {min: 10, answer: requests(good, 0, 0), wantVerdict: passed, wantMessage: "idle: neither version gets requests"},
		"no request at all but at the primary": {
			min: 10, answer: requests(isNaN, 0, 5), wantVerdict: failed,
			wantMessage: noValue + " although the primary had 5 requests: they go to the primary only, or those of the canary are not measured",
		},
	} {
		t.Run(name, func(t *testing.T) {
			metric := v1beta1.CanaryMetric{Name: success, Query: tc.query, MinRequests: tc.min, Policy: tc.policy, ThresholdRange: &v1beta1.CanaryThresholdRange{Min: new(99.0)}}
			tc.answer.At = time.Unix(0, 0)
			got := Evaluate(metric, tc.answer)
			want := success + ": " + tc.wantMessage
			if tc.wantMessage == "" {
				want = success + " is 99.5%, within >= 99"
			}
			if got.Verdict != tc.wantVerdict {
				t.Errorf("verdict %s, want %s", got.Verdict, tc.wantVerdict)
			}
			if d := cmp.Diff(want, got.Message); d != "" {
				t.Error(d)
			}
			if wantHad := tc.answer.HadValue || tc.wantMessage == ""; got.HadValue != wantHad {
				t.Errorf("hadValue is %t", got.HadValue)
			}
		})
	}
}

// Requests are counted only where the verdict depends on them: each is a query
// more.
func TestAsks(t *testing.T) {
	builtIn := v1beta1.CanaryMetric{Name: "request-duration"}
	with := func(change func(*v1beta1.CanaryMetric)) v1beta1.CanaryMetric {
		m := builtIn
		change(&m)
		return m
	}
	for name, tc := range map[string]struct {
		metric                  v1beta1.CanaryMetric
		answer                  Answer
		wantCanary, wantPrimary bool
	}{
		"a value":           {metric: builtIn, answer: Answer{Sample: Sample{Value: 1}}},
		"no value":          {metric: builtIn, answer: Answer{Err: ErrNoData}, wantPrimary: true},
		"NaN":               {metric: builtIn, answer: Answer{Sample: Sample{Value: math.NaN()}}, wantPrimary: true},
		"no answer":         {metric: builtIn, answer: Answer{Err: context.Canceled}},
		"infinite":          {metric: builtIn, answer: Answer{Sample: Sample{Value: math.Inf(1)}}},
		"a query":           {metric: with(func(m *v1beta1.CanaryMetric) { m.Query = "q" }), answer: Answer{Err: ErrNoData}},
		"a policy":          {metric: with(func(m *v1beta1.CanaryMetric) { m.Policy = &v1beta1.MetricPolicy{NoData: v1beta1.MetricFail} }), answer: Answer{Err: ErrNoData}},
		"a minimum":         {metric: with(func(m *v1beta1.CanaryMetric) { m.MinRequests = 1 }), answer: Answer{Canary: new(1.0)}, wantCanary: true},
		"a minimum, none":   {metric: with(func(m *v1beta1.CanaryMetric) { m.MinRequests = 1 }), answer: Answer{Canary: new(0.0)}, wantCanary: true, wantPrimary: true},
		"a minimum, some":   {metric: with(func(m *v1beta1.CanaryMetric) { m.MinRequests = 9 }), answer: Answer{Canary: new(2.0)}, wantCanary: true},
		"a minimum, query":  {metric: with(func(m *v1beta1.CanaryMetric) { m.MinRequests, m.Query = 9, "q" }), answer: Answer{Err: ErrNoData}},
		"policy of NaN":     {metric: with(func(m *v1beta1.CanaryMetric) { m.Policy = &v1beta1.MetricPolicy{NotANumber: v1beta1.MetricPass} }), answer: Answer{Sample: Sample{Value: math.NaN()}}},
		"policy of another": {metric: with(func(m *v1beta1.CanaryMetric) { m.Policy = &v1beta1.MetricPolicy{NotANumber: v1beta1.MetricPass} }), answer: Answer{Err: ErrNoData}, wantPrimary: true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := AsksForCanary(tc.metric); got != tc.wantCanary {
				t.Errorf("asks for the canary: %t", got)
			}
			if got := AsksForPrimary(tc.metric, tc.answer); got != tc.wantPrimary {
				t.Errorf("asks for the primary: %t", got)
			}
		})
	}
}
