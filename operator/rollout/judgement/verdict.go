package judgement

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics/compare"
)

// Verdict is what the evidence says of a release, and in words of each of its metrics.
type Verdict struct {
	// Worse is true of a canary that is to be rolled back, and Because says why in a sentence.
	Worse   bool
	Because string
	// Suspected is true where evidence speaks against the canary, or both versions are beyond a limit: that is no lack of it.
	Suspected bool
	// Metrics are the verdicts on the metrics with a comparison, in the order of the spec.
	Metrics []MetricVerdict
}

// MetricVerdict is what the evidence says of one metric.
type MetricVerdict struct {
	// Name of the metric, its verdict, and a sentence that says why.
	Name    string
	Verdict v1beta1.CheckVerdict
	Message string
	// Missing is about how many more requests of the canary the question needs.
	Missing int64
}

// Judge says what the evidence of a status means for what the release wants to do next.
func Judge(a *v1beta1.CanaryAnalysis, st *v1beta1.CanaryStatus, q compare.Question) Verdict {
	j := Of(a)
	s, ok := stateOf(st.Judgement)
	if !ok || j.Check(s) != nil {
		var out Verdict
		for _, m := range j.Metrics {
			out.Metrics = append(out.Metrics, MetricVerdict{Name: m.Name, Verdict: v1beta1.CheckUndecided, Message: m.Name + ": no requests were compared yet"})
		}
		return out
	}
	all := j.Answer(s, q)
	out := Verdict{Worse: all.Verdict == compare.WorseThanTolerated, Suspected: all.Cause == compare.Suspicion || all.Cause == compare.BeyondLimit}
	for i, m := range j.Metrics {
		lacks := slices.IndexFunc(all.Lacking, func(l compare.Lack) bool { return l.Metric == i })
		v := MetricVerdict{Name: m.Name, Verdict: v1beta1.CheckPassed, Message: m.Name + ": " + sentence(j, i, s.Metrics[i])}
		switch {
		case m.Dry:
			v.Verdict = dry(j.Of(s, i, q))
		case out.Worse && i == all.Metric:
			v.Verdict = v1beta1.CheckFailed
			out.Because = v.Message + fmt.Sprintf("; worse than tolerated, %s %% sure", decimal(j.Confidence*100))
			v.Message = out.Because
		case out.Suspected && i == all.Metric:
			v.Verdict = v1beta1.CheckUndecided
			v.Message += "; " + causes[all.Cause]
		case lacks >= 0:
			v.Verdict, v.Missing = v1beta1.CheckUndecided, whole(all.Lacking[lacks].Missing)
			v.Message += "; " + missing(all.Lacking[lacks].Missing)
		}
		out.Metrics = append(out.Metrics, v)
	}
	return out
}

// Allows is true where the evidence of metrics that decide allows what the release wants to do next.
func Allows(a *v1beta1.CanaryAnalysis, st *v1beta1.CanaryStatus, q compare.Question) bool {
	j := Of(a)
	s, ok := stateOf(st.Judgement)
	decides := slices.ContainsFunc(j.Metrics, func(m compare.Metric) bool { return !m.Dry })
	return ok && decides && j.Answer(s, q).Verdict == compare.NotMuchWorse
}

// Prospect says how soon the comparison can be expected to find the regressions that matter, and a good canary to be
// promoted, for people to read before it has. Empty where no requests were compared yet.
func Prospect(a *v1beta1.CanaryAnalysis, st *v1beta1.CanaryStatus) string {
	j := Of(a)
	s, ok := stateOf(st.Judgement)
	if !ok || j.Check(s) != nil {
		return ""
	}
	var all []string
	for i, m := range j.Metrics {
		traffic := s.Metrics[i].Edges[0].Traffic(LookEvery)
		if traffic.PerSecond <= 0 || traffic.Weight >= 1 || m.Alone {
			continue
		}
		find, promote := j.ToFind(m, m.Detect, traffic), j.ToPromote(m, traffic)
		if find.Time == 0 || promote.Time == 0 {
			all = append(all, fmt.Sprintf("%s: a regression of %s points is within what is tolerated", m.Name, decimal(m.Detect*100)))
			continue
		}
		all = append(all, fmt.Sprintf("%s: at %s requests a second, %s %% of them the canary's, and %s %% bad ones of the primary a regression of %s points is found in about %s, and ruled out in about %s",
			m.Name, shortly(traffic.PerSecond), shortly(traffic.Weight*100), shortly(traffic.Bad*100), decimal(m.Detect*100), find.Time, promote.Time))
	}
	return strings.Join(all, "; ")
}

// shortly is a number with two digits.
func shortly(x float64) string {
	if x >= 10 {
		return grouped(x)
	}
	return strconv.FormatFloat(x, 'g', 2, 64)
}

// dry is the verdict that a metric would have given if it decided.
func dry(one compare.Answer) v1beta1.CheckVerdict {
	switch one.Verdict {
	case compare.WorseThanTolerated:
		return v1beta1.CheckFailed
	case compare.NotMuchWorse:
		return v1beta1.CheckPassed
	case compare.Open:
		return v1beta1.CheckUndecided
	default:
		return v1beta1.CheckUndecided
	}
}

var causes = map[compare.Cause]string{
	compare.Suspicion:   "the evidence against the canary has risen, and does not suffice for a rollback",
	compare.BeyondLimit: "it is beyond its limit, and not shown to be worse than the primary",
}

func missing(requests float64) string {
	if requests <= 0 {
		return "more requests of the canary are needed"
	}
	return "about " + grouped(requests) + " more requests of the canary are needed"
}

// sentence says what was counted and what follows for the difference: "the canary has 2.1 % bad requests, the primary 1 %
// (71 of 3,400; 300 of 30,600); worse by 0.5 to 2 points, 99 % sure".
func sentence(j compare.Judge, i int, e compare.Evidence) string {
	m, edge := j.Metrics[i], worst(e)
	bad := "bad requests"
	if edge.Slower > 0 {
		bad = "requests slower than " + decimal(edge.Slower) + " ms"
	}
	canary, primary := edge.Total.Canary, edge.Total.Primary
	if canary.Requests < 0.5 {
		return "the canary had no requests to be compared"
	}
	if m.Alone {
		return fmt.Sprintf("the canary has %s %% %s (%s of %s), the limit is %s %%", rate(canary), bad, grouped(canary.Bad), grouped(canary.Requests), decimal(m.Limit*100))
	}
	out := fmt.Sprintf("the canary has %s %% %s, the primary %s %% (%s of %s; %s of %s)", rate(canary), bad, rate(primary),
		grouped(canary.Bad), grouped(canary.Requests), grouped(primary.Bad), grouped(primary.Requests))
	if edge.Slower == e.Edges[0].Slower {
		out += between(e.Interval, j.Confidence)
	}
	return out
}

// between says where the difference lies, empty where nothing is known.
func between(v compare.Interval, confidence float64) string {
	low, high := v.Ends(confidence)
	sure := ", " + decimal(confidence*100) + " % sure"
	switch {
	case low <= -1 && high >= 1 || low > high:
		return ""
	case low >= 0 && high < 1:
		return fmt.Sprintf("; worse by %s to %s points%s", decimal(low*100), decimal(high*100), sure)
	case low >= 0:
		return fmt.Sprintf("; worse by %s points or more%s", decimal(low*100), sure)
	case high < 1:
		return fmt.Sprintf("; worse by no more than %s points%s", decimal(high*100), sure)
	default:
		return ""
	}
}

// worst is the edge with the most evidence against the canary, the first of several.
func worst(e compare.Evidence) compare.Edge {
	out := e.Edges[0]
	for _, edge := range e.Edges[1:] {
		if edge.Worse.Log > math.Max(out.Worse.Log, math.Log(2)) {
			out = edge
		}
	}
	return out
}

// rate is a share of bad requests in percent, empty without requests.
func rate(c compare.Counts) string {
	if c.Requests <= 0 {
		return ""
	}
	percent := c.Rate() * 100
	switch {
	case percent >= 10:
		return strconv.FormatFloat(percent, 'f', 0, 64)
	case percent >= 1:
		return strconv.FormatFloat(percent, 'f', 1, 64)
	default:
		return strings.TrimRight(strings.TrimRight(strconv.FormatFloat(percent, 'f', 3, 64), "0"), ".")
	}
}

// grouped is a whole number with commas between thousands.
func grouped(x float64) string {
	digits := strconv.FormatInt(whole(x), 10)
	var out strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			out.WriteByte(',')
		}
		out.WriteRune(d)
	}
	return out.String()
}
