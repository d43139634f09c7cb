package compare

import "math"

// Verdict is what the evidence allows.
type Verdict int

const (
	// Open is not enough evidence for anything.
	Open Verdict = iota
	// WorseThanTolerated is a canary to roll back.
	WorseThanTolerated
	// NotMuchWorse is a canary that may have what was asked for: more traffic, or promotion.
	NotMuchWorse
)

// Cause says why a verdict is open.
type Cause int

const (
	// NoCause is that of a verdict that is not open.
	NoCause Cause = iota
	// FewRequests were counted of the canary for the question.
	FewRequests
	// Suspicion is evidence against the canary that has risen, and does not suffice.
	Suspicion
	// BeyondLimit is a canary beyond its absolute limit that is not shown to be worse than the primary.
	BeyondLimit
)

// Question is what a release wants to do next.
type Question struct {
	// Promote is true where there is no further step.
	Promote bool
	// Overdue is true after the longest that the release may take: the lesser regression need not be ruled out then, if
	// the evidence leans to the canary.
	Overdue bool
}

// Answer is what the evidence says to a question.
type Answer struct {
	Verdict Verdict
	Cause   Cause
	// Metric is the index of the metric that the verdict is about: that with the most evidence against the canary, or
	// that which lacks most.
	Metric int
	// Missing is about how many more requests of the canary settle the question, were it as good as the primary; 0
	// where no number of them is known to.
	Missing float64
	// Evidence is how sure it is that the canary is worse than tolerated: the evidence against it, of which 1/alpha
	// rolls back.
	Evidence float64
	// Lacking are the metrics that decide and have too few requests for the question, whatever the verdict is.
	Lacking []Lack
}

// Lack is what a metric lacks for a question.
type Lack struct {
	// Metric is its index, and Missing as in [Answer].
	Metric  int
	Missing float64
}

// Answer says what may be done. It depends on the state alone: asked again, it says the same.
func (j Judge) Answer(s State, q Question) Answer {
	if j.Check(s) != nil || len(s.Metrics) == 0 {
		return Answer{Verdict: Open, Cause: FewRequests}
	}
	against := j.against(s)
	a := Answer{Evidence: math.Exp(against), Metric: j.worst(s), Lacking: j.lacking(s, q)}
	if against >= math.Log(1/(1-j.Confidence)) {
		a.Verdict = WorseThanTolerated
		return a
	}
	if against-s.Low >= math.Log(suspicion) {
		a.Cause = Suspicion
		return a
	}
	for i, m := range j.Metrics {
		if !m.Dry && m.Limit > 0 && !m.Alone && s.Metrics[i].Limit.Log >= math.Log(1/miss) {
			a.Cause, a.Metric = BeyondLimit, i
			return a
		}
	}
	a.Verdict = NotMuchWorse
	for _, l := range a.Lacking {
		if a.Verdict == NotMuchWorse || l.Missing > a.Missing {
			a.Verdict, a.Cause, a.Metric, a.Missing = Open, FewRequests, l.Metric, l.Missing
		}
	}
	return a
}

// lacking are the metrics that decide and of which the regression is not ruled out that the question is about.
func (j Judge) lacking(s State, q Question) []Lack {
	var out []Lack
	for i, m := range j.Metrics {
		if e := s.Metrics[i]; !m.Dry && !m.ruledOut(e, q) {
			out = append(out, Lack{Metric: i, Missing: m.missing(e, q)})
		}
	}
	return out
}

// worst is the metric with the most evidence against the canary.
func (j Judge) worst(s State) int {
	worst, most := 0, math.Inf(-1)
	for i, m := range j.Metrics {
		if against := m.against(s.Metrics[i]); !m.Dry && against > most {
			worst, most = i, against
		}
	}
	return worst
}

// Of is the answer of one metric alone, whether it decides or not: what it would say if there were no other.
func (j Judge) Of(s State, i int, q Question) Answer {
	if j.Check(s) != nil {
		return Answer{Verdict: Open, Cause: FewRequests}
	}
	m := j.Metrics[i]
	m.Dry = false
	alone := Judge{Confidence: j.Confidence, Metrics: []Metric{m}}
	one := State{Version: s.Version, Metrics: s.Metrics[i : i+1], Low: math.Min(s.Low, m.against(s.Metrics[i]))}
	a := alone.Answer(one, q)
	a.Metric = i
	return a
}

// ruledOut reports whether the regression is refuted that the question is about.
func (m Metric) ruledOut(e Evidence, q Question) bool {
	enough := math.Log(1 / miss)
	switch {
	case !q.Promote:
		return e.Step.Log >= enough
	case e.Detect.Log >= enough:
		return true
	default:
		return q.Overdue && e.Settle.Log >= enough && e.Detect.Log > math.Log(leaning)
	}
}

// missing is about how many more requests of the canary the question needs: what evidence lacks, over how much of it
// a request is expected to give.
func (m Metric) missing(e Evidence, q Question) float64 {
	d, have := disaster, e.Step.Log
	if q.Promote {
		d, have = m.Detect, e.Detect.Log
		if q.Overdue {
			d, have = m.Settle, e.Settle.Log
		}
	}
	edge := e.Edges[0]
	ratio, inflation := 1.0, 1.0
	if b := edge.Last; b.Canary.Requests > 0 {
		ratio, inflation = b.Primary.Requests/b.Canary.Requests, Inflation(b, edge.Correlation)
	}
	p := guess(edge.Past)
	perRequest := m.fine(d).perRequest(1, p, ratio)
	if perRequest <= 0 {
		return 0
	}
	return math.Max(1, math.Ceil((math.Log(1/miss)-have)/perRequest*inflation))
}

// perRequest is the evidence that a request of the canary is expected to give, where bet k is right and the primary
// has ratio requests in the same time: the divergence from the hypothesis (Kelly, "A new interpretation of
// information rate", 1956).
func (t Test) perRequest(k int, p, ratio float64) float64 {
	return t.evidence(t.alternative(k, p), p, ratio)
}

// evidence is what a request of the canary is expected to give where the shares are c and p, to one who knows them.
func (t Test) evidence(c, p, ratio float64) float64 {
	return t.null.LogFactor(Block{Canary: Counts{1, c}, Primary: Counts{ratio, ratio * p}}, c, p)
}
