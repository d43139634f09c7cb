// Package judgement compares canary and primary in a release: from the spec, the status and what was counted to the next
// status and a verdict. The statistics are in metrics/compare.
package judgement

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics/compare"
	"github.com/sluice-delivery/sluice/operator/release"
)

// LookEvery is the time between two looks: metrics servers hardly know more after less.
const LookEvery = 15 * time.Second

// Of is the comparison that an analysis asks for. Its metrics are those with a comparison, in the order of the spec.
func Of(a *v1beta1.CanaryAnalysis) compare.Judge {
	j := compare.Judge{Confidence: a.GetConfidence() / 100}
	for _, m := range a.Metrics {
		if m.Comparison != nil {
			j.Metrics = append(j.Metrics, metricOf(a, &m))
		}
	}
	return j
}

func metricOf(a *v1beta1.CanaryAnalysis, m *v1beta1.CanaryMetric) compare.Metric {
	out := compare.Failures(m.Name)
	if Latency(m) {
		out = compare.Slowness(m.Name)
	}
	c := m.Comparison
	share := func(of *float64, to *float64) {
		if of != nil {
			*to = *of / 100
		}
	}
	share(c.Detect, &out.Detect)
	out.Settle = math.Max(out.Settle, out.Detect)
	share(c.Settle, &out.Settle)
	share(c.Limit, &out.Limit)
	if t := c.Tolerate; t != nil {
		share(t.Points, &out.Points)
		share(t.Percent, &out.Ratio)
	}
	out.Alone, out.Dry = !a.Comparable(), m.DryRun
	return out
}

// Latency reports whether requests of a metric are bad that are slow.
func Latency(m *v1beta1.CanaryMetric) bool {
	return m.IsBuiltIn() && m.Name == v1beta1.MetricRequestDuration
}

// Begin has requests counted from a moment, when a step's weight came into effect: those of before had another weight.
func Begin(st *v1beta1.CanaryStatus, from time.Time) {
	next := v1beta1.JudgementStatus{}
	if st.Judgement != nil {
		next = *st.Judgement
	}
	if s, ok := stateOf(st.Judgement); ok {
		next.State = encode(s.NewWeight())
	}
	next.Counted, next.Step, next.CanaryShare = metav1.NewMicroTime(from), st.Step.Index, ""
	st.Judgement = &next
}

// Begun reports whether requests are counted at the present step, since a moment at which its weight was in effect.
func Begun(st *v1beta1.CanaryStatus, from time.Time) bool {
	return st.Judgement != nil && st.Step != nil && st.Judgement.Step == st.Step.Index &&
		st.Judgement.Counted.UnixMicro() >= from.UnixMicro()
}

// Known reports whether a status has evidence of the comparison that an analysis asks for; where it has none, the next
// counts come with the primary's history.
func Known(a *v1beta1.CanaryAnalysis, st *v1beta1.CanaryStatus) bool {
	s, ok := stateOf(st.Judgement)
	return ok && Of(a).Check(s) == nil
}

// Edges are the durations in milliseconds that the evidence of a metric is about.
func Edges(st *v1beta1.CanaryStatus, metric string) []float64 {
	s, _ := stateOf(st.Judgement)
	for _, e := range s.Metrics {
		if e.Name == metric {
			var out []float64
			for _, edge := range e.Edges {
				out = append(out, edge.Slower)
			}
			return out
		}
	}
	return nil
}

// Take adds what was counted to the evidence, once: counts that do not begin where the last ones ended say nothing. What
// is counted of metrics that are to warm up for longer than the canary has been warm is passed over. It returns whether it was taken.
func Take(a *v1beta1.CanaryAnalysis, st *v1beta1.CanaryStatus, counted *release.Counted, warm time.Duration) bool {
	if counted == nil || st.Judgement == nil || counted.Since.UnixMicro() != st.Judgement.Counted.UnixMicro() || !counted.At.After(counted.Since) {
		return false
	}
	j := Of(a)
	state, ok := stateOf(st.Judgement)
	if !ok || j.Check(state) != nil {
		var err error
		if state, err = begin(j, counted); err != nil {
			return false
		}
	}
	var readings []compare.Reading
	for _, r := range counted.Readings {
		if warmUp(a, r.Metric) <= warm {
			readings = append(readings, compare.Reading{Metric: r.Metric, Blocks: r.Blocks})
		}
	}
	next, err := j.Look(state, readings)
	if err != nil {
		return false
	}
	st.Judgement = &v1beta1.JudgementStatus{
		Counted: metav1.NewMicroTime(counted.At), Step: st.Judgement.Step, CanaryShare: share(a, counted), State: encode(next), Metrics: describe(j, next),
	}
	return true
}

// warmUp is for how long a metric that compares is to warm up.
func warmUp(a *v1beta1.CanaryAnalysis, metric string) time.Duration {
	for _, m := range a.Metrics {
		if m.Name == metric && m.Comparison != nil {
			d, _ := m.GetWarmUp() // one that can't be parsed is a Mistake, so it does not come here
			return d
		}
	}
	return 0
}

// share is how many of the requests that were counted were the canary's, in percent; empty where there were none, and where
// they are not a share of those that the primary has. All metrics count the same requests: the first one that counts any tells.
func share(a *v1beta1.CanaryAnalysis, counted *release.Counted) string {
	if !a.Comparable() || a.Mirror {
		return ""
	}
	for _, r := range counted.Readings {
		if len(r.Blocks) == 0 {
			continue
		}
		if all := r.Blocks[0].Canary.Requests + r.Blocks[0].Primary.Requests; all > 0 {
			return strconv.FormatFloat(math.Round(1000*r.Blocks[0].Canary.Requests/all)/10, 'f', -1, 64)
		}
	}
	return ""
}

// begin is the state before the first counts, with the histories that came with them.
func begin(j compare.Judge, counted *release.Counted) (compare.State, error) {
	histories := make([]compare.History, len(j.Metrics))
	for i, m := range j.Metrics {
		at := slices.IndexFunc(counted.Readings, func(r release.Reading) bool { return r.Metric == m.Name })
		if at >= 0 && counted.Readings[at].History != nil {
			histories[i] = *counted.Readings[at].History
		}
	}
	return j.Begin(histories)
}

// stateOf reads the evidence of a status. ok is false where there is none that can be read.
func stateOf(st *v1beta1.JudgementStatus) (s compare.State, ok bool) {
	if st == nil || st.State == "" || json.Unmarshal([]byte(st.State), &s) != nil || s.Version != compare.Version {
		return compare.State{}, false
	}
	return s, true
}

func encode(s compare.State) string {
	data, err := json.Marshal(s)
	if err != nil {
		return "" // numbers that no JSON has: the evidence begins anew
	}
	return string(data)
}

// describe is what a status tells people of the evidence.
func describe(j compare.Judge, s compare.State) []v1beta1.ComparisonStatus {
	out := make([]v1beta1.ComparisonStatus, len(j.Metrics))
	for i, m := range j.Metrics {
		e := s.Metrics[i]
		edge := e.Edges[0]
		out[i] = v1beta1.ComparisonStatus{
			Name:           m.Name,
			CanaryRequests: whole(edge.Total.Canary.Requests), CanaryBad: whole(edge.Total.Canary.Bad),
			PrimaryRequests: whole(edge.Total.Primary.Requests), PrimaryBad: whole(edge.Total.Primary.Bad),
		}
		if edge.Slower > 0 {
			out[i].SlowerThan = decimal(edge.Slower)
		}
		if low, high := e.Interval.Ends(j.Confidence); !m.Alone {
			if low > -1 {
				out[i].Low = decimal(low * 100)
			}
			if high < 1 {
				out[i].High = decimal(high * 100)
			}
		}
	}
	return out
}

func whole(x float64) int64 { return int64(math.Round(math.Min(x, 1e15))) }

// decimal is a number with as many digits as a person needs.
func decimal(x float64) string {
	return strconv.FormatFloat(math.Round(x*1e4)/1e4, 'f', -1, 64)
}
