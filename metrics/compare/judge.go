package compare

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Version is that of the states that this package writes and reads.
const Version = 1

const (
	// miss is how often a regression may pass as ruled out.
	miss = 0.05
	// disaster is the regression that is ruled out before a step with more traffic.
	disaster = 0.5
	// suspicion is how far the evidence against the canary may have risen from its lowest before a release waits, and
	// relapse how far before what spoke for the canary counts no more.
	suspicion = 2
	relapse   = 10
	// leaning is the least evidence that no regression is there with which a release goes on that took too long.
	leaning = 1.0 / 3
	// fewest requests of the canary that are bet on: less is an error of interpolation.
	fewest = 0.01
)

// ErrState is wrapped by what is wrong with a state that cannot be gone on with.
var ErrState = errors.New("state of another comparison")

// Metric is what is compared of one metric. All of it but the name are shares of requests.
type Metric struct {
	Name string
	// Detect is the regression that matters: it is found fast, and ruled out before promotion.
	Detect float64
	// Settle is the regression that is ruled out where Detect could not be in time.
	Settle float64
	// Ratio and Points are what is tolerated: canary <= (1+Ratio)*primary + Points.
	Ratio, Points float64
	// Limit is the canary's greatest share of bad requests whatever the primary's; 0 is none.
	Limit float64
	// Alone is true where there is no primary to compare with: the limit is all there is.
	Alone bool
	// Dry is true of a metric that is compared and decides nothing.
	Dry bool
	// Latency is true where requests are bad that are slower than an edge.
	Latency bool
}

// Failures are the defaults for requests that fail.
func Failures(name string) Metric {
	return Metric{Name: name, Detect: 0.01, Settle: 0.1, Ratio: 0.1, Points: 0.001}
}

// Slowness are the defaults for requests that are slow.
func Slowness(name string) Metric {
	return Metric{Name: name, Detect: 0.01, Settle: 0.1, Ratio: 0.1, Points: 0.005, Latency: true}
}

// worse is the test of one edge. How many requests are slower than an edge varies with the load more than how many
// fail, so that the regression that is bet on most is twice the one that matters.
func (m Metric) worse() Test {
	if m.Latency {
		return Worse(m.Ratio, m.Points, 2*m.Detect)
	}
	return Worse(m.Ratio, m.Points, m.Detect)
}

func (m Metric) fine(d float64) Test {
	if m.Alone {
		return Within(m.Limit, d)
	}
	return Fine(d)
}

// Judge is what is asked of a release.
type Judge struct {
	// Confidence is that of a rollback, of the whole release over all metrics: 0.99 rolls back at most one good release
	// in a hundred.
	Confidence float64
	Metrics    []Metric
}

// History is what is known of the primary before a release.
type History struct {
	// Edges are those of a metric of latency, the one that counts most first; nil for any other metric.
	Edges []float64
	// Minutes are the primary's counts minute by minute, the oldest first, for each edge; a single one without edges.
	Minutes [][]Counts
}

// State is what is known of a release. It is a value: looks make new ones.
type State struct {
	Version int        `json:"version"`
	Metrics []Evidence `json:"metrics"`
	// Low is the lowest that the logarithm of the evidence against the canary has been.
	Low float64 `json:"low,omitempty"`
}

// Evidence is what is known of one metric.
type Evidence struct {
	Name  string `json:"name"`
	Edges []Edge `json:"edges"`
	// Step, Settle and Detect are against a regression of 50 points, of [Metric.Settle] and of [Metric.Detect], at the
	// first edge.
	Step   Wealth `json:"step,omitzero"`
	Settle Wealth `json:"settle,omitzero"`
	Detect Wealth `json:"detect,omitzero"`
	// Limit is against "within the limit", at the first edge.
	Limit Wealth `json:"limit,omitzero"`
	// Interval is what is known of the difference at the first edge.
	Interval Interval `json:"interval,omitzero"`
}

// Edge is what is known of one way of being bad.
type Edge struct {
	// Slower is the edge in the unit of the metric; 0 where failed requests are counted.
	Slower float64 `json:"slower,omitempty"`
	// Correlation is that of the requests of one minute.
	Correlation float64 `json:"correlation,omitempty"`
	// Past is what was counted of the primary, the last hour's most.
	Past Counts `json:"past,omitzero"`
	// Total is what was compared since the release began, for people to read.
	Total Block `json:"total,omitzero"`
	// Pending is what was counted and not bet on yet: one of the versions had no request.
	Pending Block `json:"pending,omitzero"`
	// Last is the last block that was bet on.
	Last Block `json:"last,omitzero"`
	// Worse is against "no worse than tolerated".
	Worse Wealth `json:"worse,omitzero"`
}

// Reading is what was counted of a metric since the last look, a block for each edge.
type Reading struct {
	Metric string
	Blocks []Block
}

// Begin gives the state before the first look, with a history for each metric.
func (j Judge) Begin(histories []History) (State, error) {
	if len(histories) != len(j.Metrics) {
		return State{}, fmt.Errorf("%w: %d histories of %d metrics", ErrState, len(histories), len(j.Metrics))
	}
	s := State{Version: Version}
	for i, m := range j.Metrics {
		h := histories[i]
		e := Evidence{Name: m.Name, Edges: make([]Edge, max(1, len(h.Edges)))}
		for k := range e.Edges {
			edge := Edge{Correlation: expected}
			if k < len(h.Edges) {
				edge.Slower = h.Edges[k]
			}
			if k < len(h.Minutes) {
				edge.Correlation, edge.Past = round(Correlation(h.Minutes[k])), rounded(Past(h.Minutes[k]))
			}
			e.Edges[k] = edge
		}
		s.Metrics = append(s.Metrics, e)
	}
	return s, nil
}

// Check reports whether a state is one of this comparison: of this version, with these metrics.
func (j Judge) Check(s State) error {
	if s.Version != Version {
		return fmt.Errorf("%w: version %d, not %d", ErrState, s.Version, Version)
	}
	if len(s.Metrics) != len(j.Metrics) {
		return fmt.Errorf("%w: %d metrics, not %d", ErrState, len(s.Metrics), len(j.Metrics))
	}
	for i, m := range j.Metrics {
		if e := s.Metrics[i]; e.Name != m.Name || len(e.Edges) == 0 {
			return fmt.Errorf("%w: metric %q, not %q", ErrState, e.Name, m.Name)
		}
	}
	return nil
}

// Look takes what was counted since the last look. The state that it is given stays as it is.
//
// A block is bet on when the canary has had a request and the primary one: until then counts add up, so that what the
// primary had meanwhile is not lost.
func (j Judge) Look(s State, readings []Reading) (State, error) {
	if err := j.Check(s); err != nil {
		return s, err
	}
	next := State{Version: s.Version, Metrics: slices.Clone(s.Metrics), Low: s.Low}
	for _, r := range readings {
		i := slices.IndexFunc(j.Metrics, func(m Metric) bool { return m.Name == r.Metric })
		if i < 0 || len(r.Blocks) != len(s.Metrics[i].Edges) {
			return s, fmt.Errorf("%w: %d blocks of %q", ErrState, len(r.Blocks), r.Metric)
		}
		for k, b := range r.Blocks {
			if !b.usable() {
				return s, fmt.Errorf("%w: %+v at edge %d of %q", ErrCounts, b, k, r.Metric)
			}
		}
		next.Metrics[i] = j.Metrics[i].take(s.Metrics[i], r.Blocks)
	}
	against := j.against(next)
	next.Low = math.Min(next.Low, against)
	if against-next.Low >= math.Log(relapse) {
		for i := range next.Metrics {
			e := &next.Metrics[i]
			e.Step, e.Settle, e.Detect = Wealth{}, Wealth{}, Wealth{}
		}
	}
	return next, nil
}

// take bets on what was counted of a metric.
func (m Metric) take(e Evidence, blocks []Block) Evidence {
	e.Edges = slices.Clone(e.Edges)
	for k := range e.Edges {
		edge := &e.Edges[k]
		edge.Pending = edge.Pending.Plus(blocks[k])
		b := edge.Pending
		if b.Canary.Requests < fewest || b.Primary.Requests < 1 && !m.Alone {
			continue
		}
		p := guess(edge.Past)
		if m.Alone {
			b.Primary = Counts{}
		}
		inflation := edge.inflation(b, p)
		if !m.Alone {
			edge.Worse = m.worse().Take(edge.Worse, b, p, inflation)
		}
		if k == 0 {
			e.Step = m.fine(disaster).Take(e.Step, b, p, inflation)
			e.Settle = m.fine(m.Settle).Take(e.Settle, b, p, inflation)
			e.Detect = m.fine(m.Detect).Take(e.Detect, b, p, inflation)
			if m.Limit > 0 {
				e.Limit = Beyond(m.Limit, m.Detect).Take(e.Limit, b, p, inflation)
			}
			if !m.Alone {
				e.Interval = e.Interval.take(edge.Total.Canary, b, p, inflation)
			}
		}
		edge.settle(b)
	}
	return e
}

// Traffic is what a release can expect from here, by its last block and the primary's past. It is the zero value where no
// block was bet on.
func (e Edge) Traffic(look time.Duration) Traffic {
	n, m := e.Last.Canary.Requests, e.Last.Primary.Requests
	if n <= 0 {
		return Traffic{}
	}
	return Traffic{PerSecond: (n + m) / e.Last.Length.Seconds(), Weight: n / (n + m), Bad: guess(e.Past), Correlation: e.Correlation, Look: look}
}

// inflation is that of a block. While both versions are in trouble, what history says of the correlation does not
// hold: whether they are is seen in the block before, never in this one.
func (e Edge) inflation(b Block, p float64) float64 {
	rho := e.Correlation
	if e.Last.Primary.Rate() > 3*p+0.01 {
		rho = math.Max(rho, troubled)
	}
	return Inflation(b, rho)
}

// settle makes a block that was bet on a part of the past.
func (e *Edge) settle(b Block) {
	e.Past = rounded(fade(e.Past, b.Length).Plus(b.Primary))
	e.Total = e.Total.Plus(b)
	e.Last, e.Pending = b, Block{}
}

// NewWeight is the state when the weight changes: a block has one weight only, and what is left of one that could not
// be bet on says nothing of the canary.
func (s State) NewWeight() State {
	s.Metrics = slices.Clone(s.Metrics)
	for i := range s.Metrics {
		s.Metrics[i].Edges = slices.Clone(s.Metrics[i].Edges)
		for k := range s.Metrics[i].Edges {
			e := &s.Metrics[i].Edges[k]
			e.Past = rounded(fade(e.Past, e.Pending.Length).Plus(e.Pending.Primary))
			e.Pending = Block{}
		}
	}
	return s
}

// against is the logarithm of the evidence against the canary: the mean over the metrics of the mean over their
// tests, which is an e-process whatever the metrics have to do with each other (Vovk, Wang 2021).
func (j Judge) against(s State) float64 {
	var logs []float64
	for i, e := range s.Metrics {
		if !j.Metrics[i].Dry {
			logs = append(logs, j.Metrics[i].against(e))
		}
	}
	return logMean(logs)
}

func (m Metric) against(e Evidence) float64 {
	if m.Alone {
		return e.Limit.Log
	}
	logs := make([]float64, 0, len(e.Edges)+1)
	for _, edge := range e.Edges {
		logs = append(logs, edge.Worse.Log)
	}
	if m.Limit > 0 {
		// A canary alone beyond the limit: both that it is beyond and that it is worse than the primary must be shown,
		// or an outage of both would be the canary's fault.
		logs = append(logs, math.Min(e.Limit.Log, e.Edges[0].Worse.Log))
	}
	return logMean(logs)
}

func logMean(logs []float64) float64 {
	if len(logs) == 0 {
		return 0
	}
	top := slices.Max(logs)
	sum := 0.0
	for _, l := range logs {
		sum += math.Exp(l - top)
	}
	return top + math.Log(sum/float64(len(logs)))
}

func rounded(c Counts) Counts { return Counts{Requests: round(c.Requests), Bad: round(c.Bad)} }
