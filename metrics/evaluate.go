package metrics

import (
	"fmt"
	"math"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Verdict is how a check went.
type Verdict = v1beta1.CheckVerdict

// Evaluate judges what the query q of a check gave: s, or err. It is pure; at is
// the time at which the check ended.
//
// The value must be in thresholdRange, ends included. Without one the deprecated
// threshold is a minimum for request-success-rate and a maximum for anything
// else, and 0 where it is missing too, as Flagger has it.
//
// Not a number and no value at all are NoData, no answer is Unavailable. A query
// that can never work is Failed: waiting does not mend it.
func Evaluate(metric v1beta1.CanaryMetric, q Query, s Sample, err error, at time.Time) v1beta1.CheckStatus {
	limits := limitsOf(metric)
	status := v1beta1.CheckStatus{
		Name:  metric.Name,
		Query: q.Expr,
		Range: limits.String(),
		Time:  metav1.NewMicroTime(at),
	}
	if err != nil {
		status.Verdict, status.Message = judgeError(metric.Name, err)
		return status
	}
	unit := unitOf(metric)
	status.Value = number(s.Value)
	status.Verdict, status.Message = limits.judge(metric.Name, s.Value, unit)
	return status
}

func judgeError(name string, err error) (Verdict, string) {
	switch {
	case IsNoData(err):
		return v1beta1.CheckNoData, name + ": the query gave no value; probably the canary gets no requests"
	case IsQueryError(err), IsUnknownMetric(err):
		return v1beta1.CheckFailed, fmt.Sprintf("%s: %v", name, err)
	default:
		return v1beta1.CheckUnavailable, fmt.Sprintf("%s: %v", name, err)
	}
}

// limits are the accepted values, ends included; nil is no end.
type limits struct{ min, max *float64 }

func limitsOf(m v1beta1.CanaryMetric) limits {
	if r := m.ThresholdRange; r != nil {
		return limits{min: r.Min, max: r.Max}
	}
	threshold := m.Threshold
	if threshold == nil {
		threshold = new(float64)
	}
	if m.Name == v1beta1.MetricRequestSuccessRate {
		return limits{min: threshold}
	}
	return limits{max: threshold}
}

// String is the range for people: ">= 99 and <= 100", empty without limits.
func (l limits) String() string {
	switch {
	case l.min != nil && l.max != nil:
		return ">= " + number(*l.min) + " and <= " + number(*l.max)
	case l.min != nil:
		return ">= " + number(*l.min)
	case l.max != nil:
		return "<= " + number(*l.max)
	default:
		return ""
	}
}

func (l limits) judge(name string, v float64, unit string) (Verdict, string) {
	switch {
	case math.IsNaN(v):
		return v1beta1.CheckNoData, name + " is not a number (NaN); probably the canary gets no requests"
	case l.min != nil && v < *l.min:
		return v1beta1.CheckFailed, fmt.Sprintf("%s is %s%s, below the minimum %s%s", name, distinct(v, *l.min), unit, number(*l.min), unit)
	case l.max != nil && v > *l.max:
		return v1beta1.CheckFailed, fmt.Sprintf("%s is %s%s, above the maximum %s%s", name, distinct(v, *l.max), unit, number(*l.max), unit)
	case l.min == nil && l.max == nil:
		return v1beta1.CheckPassed, fmt.Sprintf("%s is %s%s; no limit is set", name, number(v), unit)
	default:
		return v1beta1.CheckPassed, fmt.Sprintf("%s is %s%s, within %s", name, number(v), unit, l)
	}
}

func unitOf(m v1beta1.CanaryMetric) string {
	if m.Query != "" || m.TemplateRef != nil {
		return ""
	}
	switch m.Name {
	case v1beta1.MetricRequestSuccessRate:
		return "%"
	case v1beta1.MetricRequestDuration:
		return "ms"
	default:
		return ""
	}
}

// number writes v with up to four decimals, and with all of them where that
// would leave nothing of it.
func number(v float64) string {
	const scale = 1e4
	if rounded := math.Round(v*scale) / scale; rounded != 0 && !math.IsInf(rounded, 0) || v == 0 {
		return strconv.FormatFloat(rounded, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// distinct writes v so that it does not look like the limit that it missed.
func distinct(v, limit float64) string {
	if s := number(v); s != number(limit) {
		return s
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
