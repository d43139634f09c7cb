package metrics

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// What is made of several series under each policy, and what of nothing.
func TestSeveralSeries(t *testing.T) {
	const passed, failed = v1beta1.CheckPassed, v1beta1.CheckFailed
	atLeast := func(v float64) *v1beta1.CanaryThresholdRange { return &v1beta1.CanaryThresholdRange{Min: &v} }
	atMost := func(v float64) *v1beta1.CanaryThresholdRange { return &v1beta1.CanaryThresholdRange{Max: &v} }
	both := &v1beta1.CanaryThresholdRange{Min: new(10.0), Max: new(20.0)}
	for name, tc := range map[string]struct {
		policy      v1beta1.SeveralSeries
		limits      *v1beta1.CanaryThresholdRange
		series      []float64
		wantVerdict Verdict
		wantValue   string
	}{
		"no policy":              {"", atMost(9), []float64{1, 2}, failed, ""},
		"Fail":                   {v1beta1.SeriesFail, atMost(9), []float64{1, 2}, failed, ""},
		"values are not known":   {v1beta1.SeriesMax, atMost(9), nil, failed, ""},
		"Sum":                    {v1beta1.SeriesSum, atMost(9), []float64{4, 5}, passed, "9"},
		"Sum above":              {v1beta1.SeriesSum, atMost(9), []float64{4, 5.5}, failed, "9.5"},
		"Max":                    {v1beta1.SeriesMax, atMost(9), []float64{4, 8, 5}, passed, "8"},
		"Max with a lower limit": {v1beta1.SeriesMax, atLeast(99), []float64{100, 50}, passed, "100"},
		"Worst of a maximum":     {v1beta1.SeriesWorst, atMost(9), []float64{4, 12, 5}, failed, "12"},
		"Worst of a minimum":     {v1beta1.SeriesWorst, atLeast(99), []float64{100, 50, 99}, failed, "50"},
		"Worst, all within":      {v1beta1.SeriesWorst, atLeast(99), []float64{100, 99.5}, passed, "99.5"},
		"Worst of both, below":   {v1beta1.SeriesWorst, both, []float64{15, 4, 23}, failed, "4"},
		"Worst of both, above":   {v1beta1.SeriesWorst, both, []float64{15, 8, 23}, failed, "23"},
		"Worst without limits":   {v1beta1.SeriesWorst, &v1beta1.CanaryThresholdRange{}, []float64{15, 23, 8}, passed, "23"},
		"Worst, NaN":             {v1beta1.SeriesWorst, atMost(9), []float64{1, math.NaN(), 2}, v1beta1.CheckNoData, "NaN"},
		"Sum, NaN":               {v1beta1.SeriesSum, atMost(9), []float64{1, math.NaN(), 2}, v1beta1.CheckNoData, "NaN"},
	} {
		t.Run(name, func(t *testing.T) {
			metric := v1beta1.CanaryMetric{Name: "x", Query: "q", ThresholdRange: tc.limits}
			if tc.policy != "" {
				metric.Policy = &v1beta1.MetricPolicy{SeveralSeries: tc.policy}
			}
			got := Evaluate(metric, Answer{Err: &QueryError{Message: "it selects several", Series: tc.series}})
			if got.Verdict != tc.wantVerdict || got.Value != tc.wantValue {
				t.Errorf("%s %q: %s", got.Verdict, got.Value, got.Message)
			}
		})
	}
}

// A query that counts has no row where there is nothing; its policy comes first.
func TestNothingCounted(t *testing.T) {
	for name, tc := range map[string]struct {
		policy      *v1beta1.MetricPolicy
		wantVerdict Verdict
		wantValue   string
	}{
		"no policy": {nil, v1beta1.CheckPassed, "0"},
		"Fail":      {&v1beta1.MetricPolicy{NoData: v1beta1.MetricFail}, v1beta1.CheckNoData, ""},
		"Wait":      {&v1beta1.MetricPolicy{NoData: v1beta1.MetricWait}, v1beta1.CheckWaiting, ""},
	} {
		t.Run(name, func(t *testing.T) {
			metric := v1beta1.CanaryMetric{Name: "errors", Query: "q", ThresholdRange: &v1beta1.CanaryThresholdRange{Max: new(5.0)}, Policy: tc.policy}
			got := Evaluate(metric, Answer{Err: fmt.Errorf("influxdb: %w", ErrNothingCounted)})
			if got.Verdict != tc.wantVerdict || got.Value != tc.wantValue {
				t.Errorf("%s %q: %s", got.Verdict, got.Value, got.Message)
			}
		})
	}
}

func TestAggregates(t *testing.T) {
	for expr, want := range map[string]bool{
		"sum(rate(x[1m]))": true,
		"SUM (x)":          true,
		"sum by (le) (x)":  true,
		"histogram_quantile(0.9, sum by (le) (rate(x_bucket[1m])))": true,
		"100 - avg without (pod) (x)":                               true,
		"scalar(x)":                                                 true,
		"up":                                                        false,
		"rate(x[1m])":                                               false,
		`x{job="sum(1)"}`:                                           false,
		`x{job='it\'s sum(1)'}`:                                     false,
		"x{job=`sum(1)`}":                                           false,
		"sum_of_things(x)":                                          false,
		"max_over_time(x[5m])":                                      false,
		"sum":                                                       false,
		"":                                                          false,
		strings.Repeat("x ", 100) + "+ max(y)":                      true,
	} {
		if got := Aggregates(expr); got != want {
			t.Errorf("%s: %t", expr, got)
		}
	}
}
