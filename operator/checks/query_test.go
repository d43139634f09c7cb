package checks

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
)

// Pain 13: what is asked beside a built-in metric before it may say something
// of a service without traffic.
func TestRequestsAreAsked(t *testing.T) {
	const (
		metric  = "metric"
		canary  = "requests of podinfo"
		primary = "requests of podinfo-primary"
	)
	for name, tc := range map[string]struct {
		values      map[string]float64 // no data where there is none; -1 is no answer
		min         int32
		hadValue    bool
		provider    string
		want        []string
		wantVerdict v1beta1.CheckVerdict
		wantPart    string
	}{
		"a value":                    {values: map[string]float64{metric: 100}, want: []string{metric}, wantVerdict: v1beta1.CheckPassed},
		"idle":                       {want: []string{metric, primary}, wantVerdict: v1beta1.CheckPassed, wantPart: "idle"},
		"idle, counted as 0":         {values: map[string]float64{metric: math.NaN(), primary: 0}, want: []string{metric, primary}, wantVerdict: v1beta1.CheckPassed, wantPart: "idle"},
		"idle, counted as NaN":       {values: map[string]float64{primary: math.NaN()}, want: []string{metric, primary}, wantVerdict: v1beta1.CheckPassed, wantPart: "idle"},
		"traffic stopped":            {hadValue: true, want: []string{metric, primary}, wantVerdict: v1beta1.CheckFailed, wantPart: "traffic stopped"},
		"primary only":               {values: map[string]float64{primary: 3}, want: []string{metric, primary}, wantVerdict: v1beta1.CheckFailed, wantPart: "the primary had 3 requests"},
		"no answer about primary":    {values: map[string]float64{primary: -1}, want: []string{metric, primary}, wantVerdict: v1beta1.CheckUnavailable},
		"enough requests":            {values: map[string]float64{metric: 100, canary: 10}, min: 10, want: []string{canary, metric}, wantVerdict: v1beta1.CheckPassed},
		"too few requests":           {values: map[string]float64{metric: 100, canary: 9}, min: 10, want: []string{canary, metric}, wantVerdict: v1beta1.CheckWaiting},
		"no answer about the canary": {values: map[string]float64{metric: 100, canary: -1}, min: 10, want: []string{canary}, wantVerdict: v1beta1.CheckUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			provider := &fakeProvider{answer: func(_ context.Context, q metrics.Query) (metrics.Sample, error) {
				what := metric
				switch {
				case strings.HasPrefix(q.Expr, "sum(increase(") && strings.Contains(q.Expr, `"podinfo-primary"`):
					what = primary
				case strings.HasPrefix(q.Expr, "sum(increase("):
					what = canary
				}
				asked = append(asked, what)
				v, ok := tc.values[what]
				switch {
				case !ok:
					return metrics.Sample{}, metrics.ErrNoData
				case v == -1:
					return metrics.Sample{}, &metrics.UnavailableError{Provider: "p", Err: context.DeadlineExceeded}
				}
				return metrics.Sample{Value: v}, nil
			}}
			k := newTestChecker(provider)
			c := newCanary("podinfo").with(func(s *v1beta1.CanarySpec) {
				s.Analysis.Metrics = []v1beta1.CanaryMetric{{Name: v1beta1.MetricRequestSuccessRate, MinRequests: tc.min, ThresholdRange: &v1beta1.CanaryThresholdRange{Min: new(99.0)}}}
			}).Canary
			c.Status.Checks = []v1beta1.CheckStatus{{Name: v1beta1.MetricRequestSuccessRate, Window: "1m", HadValue: tc.hadValue}}
			k.Run(t.Context(), c, id(1))
			awaitFinished(t, k)
			got := round(k, c).Results[0]
			if d := cmp.Diff(tc.want, asked); d != "" {
				t.Error(d)
			}
			if got.Verdict != tc.wantVerdict || !strings.Contains(got.Message, tc.wantPart) {
				t.Errorf("%s: %s", got.Verdict, got.Message)
			}
		})
	}
}
