package metrics

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

func TestEvaluate(t *testing.T) {
	const success, duration = v1beta1.MetricRequestSuccessRate, v1beta1.MetricRequestDuration
	minimum := func(v float64) *v1beta1.CanaryThresholdRange { return &v1beta1.CanaryThresholdRange{Min: &v} }
	maximum := func(v float64) *v1beta1.CanaryThresholdRange { return &v1beta1.CanaryThresholdRange{Max: &v} }
	both := &v1beta1.CanaryThresholdRange{Min: ptr.To(1.0), Max: ptr.To(5.0)}

	for name, tc := range map[string]struct {
		metric      v1beta1.CanaryMetric
		value       float64
		err         error
		wantVerdict Verdict
		wantValue   string
		wantRange   string
		wantMessage string
	}{
		"min, at it": {
			v1beta1.CanaryMetric{Name: success, ThresholdRange: minimum(99)}, 99, nil,
			v1beta1.CheckPassed, "99", ">= 99", "request-success-rate is 99%, within >= 99",
		},
		"min, below": {
			v1beta1.CanaryMetric{Name: success, ThresholdRange: minimum(99)}, 97.123456, nil,
			v1beta1.CheckFailed, "97.1235", ">= 99", "request-success-rate is 97.1235%, below the minimum 99%",
		},
		"min, just below": {
			v1beta1.CanaryMetric{Name: success, ThresholdRange: minimum(99)}, 98.99999, nil,
			v1beta1.CheckFailed, "99", ">= 99", "request-success-rate is 98.99999%, below the minimum 99%",
		},
		"max, at it": {
			v1beta1.CanaryMetric{Name: duration, ThresholdRange: maximum(500)}, 500, nil,
			v1beta1.CheckPassed, "500", "<= 500", "request-duration is 500ms, within <= 500",
		},
		"max, above": {
			v1beta1.CanaryMetric{Name: duration, ThresholdRange: maximum(500)}, 500.5, nil,
			v1beta1.CheckFailed, "500.5", "<= 500", "request-duration is 500.5ms, above the maximum 500ms",
		},
		"both, below":  {v1beta1.CanaryMetric{Name: "x", ThresholdRange: both}, 0.5, nil, v1beta1.CheckFailed, "0.5", ">= 1 and <= 5", "x is 0.5, below the minimum 1"},
		"both, within": {v1beta1.CanaryMetric{Name: "x", ThresholdRange: both}, 3, nil, v1beta1.CheckPassed, "3", ">= 1 and <= 5", "x is 3, within >= 1 and <= 5"},
		"both, above":  {v1beta1.CanaryMetric{Name: "x", ThresholdRange: both}, 6, nil, v1beta1.CheckFailed, "6", ">= 1 and <= 5", "x is 6, above the maximum 5"},
		"empty range":  {v1beta1.CanaryMetric{Name: "x", ThresholdRange: &v1beta1.CanaryThresholdRange{}}, 6, nil, v1beta1.CheckPassed, "6", "", "x is 6; no limit is set"},
		"range wins over threshold": {
			v1beta1.CanaryMetric{Name: "x", ThresholdRange: maximum(1), Threshold: ptr.To(9.0)}, 5, nil,
			v1beta1.CheckFailed, "5", "<= 1", "x is 5, above the maximum 1",
		},
		"threshold of success rate is a minimum": {
			v1beta1.CanaryMetric{Name: success, Threshold: ptr.To(99.0)}, 100, nil,
			v1beta1.CheckPassed, "100", ">= 99", "request-success-rate is 100%, within >= 99",
		},
		"threshold of success rate missed": {
			v1beta1.CanaryMetric{Name: success, Threshold: ptr.To(99.0)}, 0, nil,
			v1beta1.CheckFailed, "0", ">= 99", "request-success-rate is 0%, below the minimum 99%",
		},
		"threshold of duration is a maximum": {
			v1beta1.CanaryMetric{Name: duration, Threshold: ptr.To(500.0)}, 501, nil,
			v1beta1.CheckFailed, "501", "<= 500", "request-duration is 501ms, above the maximum 500ms",
		},
		"threshold of a query is a maximum": {
			v1beta1.CanaryMetric{Name: "errors", Query: "q", Threshold: ptr.To(5.0)}, 4, nil,
			v1beta1.CheckPassed, "4", "<= 5", "errors is 4, within <= 5",
		},
		"nothing set, success rate": {v1beta1.CanaryMetric{Name: success}, 1, nil, v1beta1.CheckPassed, "1", ">= 0", "request-success-rate is 1%, within >= 0"},
		"nothing set, other":        {v1beta1.CanaryMetric{Name: "x"}, 1, nil, v1beta1.CheckFailed, "1", "<= 0", "x is 1, above the maximum 0"},
		"tiny value":                {v1beta1.CanaryMetric{Name: "x"}, 1e-7, nil, v1beta1.CheckFailed, "1e-07", "<= 0", "x is 1e-07, above the maximum 0"},
		"NaN": {
			v1beta1.CanaryMetric{Name: success, ThresholdRange: minimum(99)}, math.NaN(), nil,
			v1beta1.CheckNoData, "NaN", ">= 99", "request-success-rate: the value is not a number (NaN); probably the canary gets no requests",
		},
		"infinite":  {v1beta1.CanaryMetric{Name: "x", ThresholdRange: maximum(1)}, math.Inf(1), nil, v1beta1.CheckFailed, "+Inf", "<= 1", "x: the value is infinite (+Inf)"},
		"-infinite": {v1beta1.CanaryMetric{Name: "x", ThresholdRange: minimum(1)}, math.Inf(-1), nil, v1beta1.CheckFailed, "-Inf", ">= 1", "x: the value is infinite (-Inf)"},
		"no data": {
			v1beta1.CanaryMetric{Name: success, ThresholdRange: minimum(99)}, 0, fmt.Errorf("wrapped: %w", ErrNoData),
			v1beta1.CheckNoData, "", ">= 99", "request-success-rate: the query gave no value; probably the canary gets no requests",
		},
		"unavailable": {
			v1beta1.CanaryMetric{Name: "x", ThresholdRange: minimum(99)}, 0, &UnavailableError{Provider: "http://p", Err: errors.New("refused")},
			v1beta1.CheckUnavailable, "", ">= 99", "x: metric provider http://p is unavailable: refused",
		},
		"bad query": {
			v1beta1.CanaryMetric{Name: "x", ThresholdRange: minimum(99)}, 0, &QueryError{Expr: "q", Message: "parse error"},
			v1beta1.CheckFailed, "", ">= 99", "x: query failed: parse error",
		},
		"unknown metric": {
			v1beta1.CanaryMetric{Name: "x"}, 0, &UnknownMetricError{Provider: "istio", Metric: "x", Known: []string{"a", "b"}},
			v1beta1.CheckFailed, "", "<= 0", `x: no built-in metric "x" for provider "istio" (there are: a, b): use a templateRef or a query`,
		},
		"any other error": {v1beta1.CanaryMetric{Name: "x"}, 0, context.Canceled, v1beta1.CheckUnavailable, "", "<= 0", "x: context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
			got := Evaluate(tc.metric, Answer{Query: Query{Expr: "q"}, Sample: Sample{Value: tc.value}, Err: tc.err, At: at})
			usable := tc.err == nil && !math.IsNaN(tc.value) && !math.IsInf(tc.value, 0)
			want := v1beta1.CheckStatus{
				Name: tc.metric.Name, Query: "q", Value: tc.wantValue, Range: tc.wantRange, Window: "1m", HadValue: usable,
				Verdict: tc.wantVerdict, Message: tc.wantMessage, Time: metav1.NewMicroTime(at),
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}
