package metrics

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Verdict is how a check went.
type Verdict = v1beta1.CheckVerdict

// Answer is all that came of asking for a metric.
type Answer struct {
	// Query is what was asked.
	Query Query
	// Sample is what came back, unless Err says why nothing did.
	Sample Sample
	Err    error
	// Canary is how many requests the canary had in the check's interval, 0 or more; nil where nobody asked.
	Canary *float64
	// Primary is how many requests the primary had in the same time; nil where nobody asked, or where no query for it
	// is known.
	Primary *float64
	// HadValue is true when the metric had a value before in this release.
	HadValue bool
	// Source names who counts the requests of a built-in metric; empty for any other.
	Source string
	// Scraped are the series that must be there and stand still for an application without
	// requests to be idle, the primary's first; none where nobody asked.
	Scraped []Scraped
	// At is when the check ended.
	At time.Time
}

// Scraped is a series and how often the metrics server has scraped it in the interval.
type Scraped struct {
	// Series is its name and labels.
	Series string
	// Times is 0 where the server has no such series.
	Times float64
	// Advice says what to do where it is missing.
	Advice string
}

// enough is how often a series must have been scraped to be seen standing still.
const enough = 2

// Evaluate judges what came of asking for a metric. It is pure.
//
// A value must be in thresholdRange, ends included. Without one the deprecated
// threshold is a minimum for request-success-rate and a maximum for anything
// else, and 0 where it is missing too, as Flagger has it.
//
// No value, not a number, an infinite one and no answer are four different
// things, and the metric's policy says what is made of each. A query that can
// never work is Failed: waiting does not mend it.
func Evaluate(metric v1beta1.CanaryMetric, a Answer) v1beta1.CheckStatus {
	limits := limitsOf(metric)
	a = Reduce(metric, a)
	status := v1beta1.CheckStatus{
		Name:     metric.Name,
		Query:    a.Query.Expr,
		Range:    limits.String(),
		Window:   metric.GetInterval(),
		Time:     metav1.NewMicroTime(a.At),
		DryRun:   metric.DryRun,
		HadValue: a.HadValue,
		Source:   a.Source,
	}
	is := kindOf(metric, a)
	if a.Err == nil || is == value {
		status.Value = number(a.Sample.Value)
	}
	if is == value {
		status.HadValue = true
		status.Verdict, status.Message = limits.judge(metric.Name, a.Sample.Value, unitOf(metric))
		return status
	}
	verdict, message := without(metric, a, is)
	status.Verdict, status.Message = verdict, metric.Name+": "+message
	return status
}

// AsksForCanary reports whether the verdict on a metric depends on how many
// requests the canary had.
func AsksForCanary(metric v1beta1.CanaryMetric) bool {
	return metric.IsBuiltIn() && metric.MinRequests > 0
}

// AsksForPrimary reports whether the verdict depends on how many requests the
// primary had, and on whether anybody measures it, too: the canary has no value, and no policy says what is made of
// that.
func AsksForPrimary(metric v1beta1.CanaryMetric, a Answer) bool {
	is := kindOf(metric, a)
	return metric.IsBuiltIn() && (is == noData || is == notANumber) && actionOn(metric, is) == ""
}

// kind is what an answer is.
type kind int

const (
	value       kind = iota // a number that can be judged
	noData                  // an answer without value
	fewRequests             // some requests, and too few of them for a verdict
	notANumber
	infinite
	unavailable // no answer
	refused     // the query can never work
)

func kindOf(metric v1beta1.CanaryMetric, a Answer) kind {
	switch {
	case IsQueryError(a.Err), IsUnknownMetric(a.Err), IsConfigError(a.Err):
		return refused
	case a.Err != nil && !IsNoData(a.Err):
		return unavailable
	case AsksForCanary(metric) && a.Canary != nil && *a.Canary < float64(metric.MinRequests):
		if *a.Canary > 0 {
			return fewRequests
		}
		return noData
	case errors.Is(a.Err, ErrNothingCounted) && actionOn(metric, noData) == "":
		return value // of 0, as Flagger has it
	case a.Err != nil:
		return noData
	case math.IsNaN(a.Sample.Value):
		return notANumber
	case math.IsInf(a.Sample.Value, 0):
		return infinite
	default:
		return value
	}
}

// actionOn is what the metric's policy says of a kind of answer, empty for the
// default.
func actionOn(metric v1beta1.CanaryMetric, is kind) v1beta1.MetricAction {
	policy := metric.Policy
	if policy == nil {
		policy = &v1beta1.MetricPolicy{}
	}
	switch is {
	case noData, fewRequests:
		return policy.NoData
	case notANumber:
		if policy.NotANumber != "" {
			return policy.NotANumber
		}
		return policy.NoData
	case infinite:
		return policy.Infinite
	case unavailable:
		return policy.Unavailable
	case value, refused:
		return ""
	default:
		return ""
	}
}

// without is the verdict on an answer that is no usable value.
func without(metric v1beta1.CanaryMetric, a Answer, is kind) (Verdict, string) {
	what := described(metric, a, is)
	switch action := actionOn(metric, is); action {
	case v1beta1.MetricFail:
		return failure(is), what
	case v1beta1.MetricPass:
		return v1beta1.CheckPassed, what + "; that is taken for good, as the metric's policy says"
	case v1beta1.MetricWait:
		return v1beta1.CheckWaiting, what + "; nothing moves until that changes, as the metric's policy says"
	default:
		return byDefault(metric, a, is, what)
	}
}

// byDefault is the verdict where the policy says nothing.
func byDefault(metric v1beta1.CanaryMetric, a Answer, is kind, what string) (Verdict, string) {
	switch is {
	case fewRequests:
		return v1beta1.CheckWaiting, what
	case noData, notANumber:
		return withoutRequests(metric, a, what)
	case unavailable:
		return v1beta1.CheckUnavailable, what
	case value, infinite, refused:
		return failure(is), what
	default:
		return failure(is), what
	}
}

// withoutRequests is the verdict on a canary of whose requests nothing is known. An idle
// service must not be blocked for ever, one whose traffic stopped must not be promoted, and
// one that nobody measures looks like either: it is idle only where its series are there
// and stand still.
func withoutRequests(metric v1beta1.CanaryMetric, a Answer, what string) (Verdict, string) {
	if a.Primary == nil || len(a.Scraped) == 0 {
		return v1beta1.CheckNoData, what + "; probably the canary gets no requests"
	}
	for i, of := range a.Scraped {
		if i > 0 && *a.Primary > 0 {
			break // the primary has requests and the canary none: that is known
		}
		switch {
		case of.Times >= enough:
		case of.Times > 0:
			return v1beta1.CheckUnmeasured, fmt.Sprintf(
				"%s, and nobody can tell why: the metrics server has scraped %s once in %s, and twice is needed to see requests or that there are none; make the metric's interval at least twice the scrape interval", what, of.Series, metric.GetInterval())
		default:
			return v1beta1.CheckUnmeasured, fmt.Sprintf(
				"%s, and the application is not known to be measured: the metrics server has no series %s of the last %s; %s To release without them, set policy.noData", what, of.Series, metric.GetInterval(), of.Advice)
		}
	}
	switch {
	case *a.Primary > 0:
		return v1beta1.CheckFailed, fmt.Sprintf("%s although the primary had %s requests: they go to the primary only, or those of the canary are not measured", what, number(math.Ceil(*a.Primary)))
	case a.HadValue:
		return v1beta1.CheckFailed, what + ", and had one before in this release: traffic stopped, the primary gets no requests either"
	default:
		return v1beta1.CheckPassed, "idle: neither version gets requests"
	}
}

// failure is the verdict that is against the release: it tells no value from
// a bad one.
func failure(is kind) Verdict {
	if is == noData || is == notANumber || is == fewRequests {
		return v1beta1.CheckNoData
	}
	return v1beta1.CheckFailed
}

func described(metric v1beta1.CanaryMetric, a Answer, is kind) string {
	switch is {
	case noData:
		return "the query gave no value"
	case fewRequests:
		// Without their number: it changes with every look, and what changes is written and told.
		return fmt.Sprintf("the canary had fewer than the %d requests in %s that a verdict needs", metric.MinRequests, metric.GetInterval())
	case notANumber:
		return "the value is not a number (NaN)"
	case infinite:
		return "the value is infinite (" + number(a.Sample.Value) + ")"
	case unavailable, refused:
		return a.Err.Error()
	case value:
		return ""
	default:
		return ""
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
	if !m.IsBuiltIn() {
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
