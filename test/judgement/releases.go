package judgement

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/sluice-delivery/sluice/metrics/compare"
)

const (
	tick    = 15 * time.Second
	horizon = 3600.0 // seconds in which those are counted whom a regression hurts
)

// scenario is an application and what becomes of its release.
type scenario struct {
	name string
	// perSecond are the requests, base is the primary's share of bad ones, regression what the canary adds.
	perSecond, base, regression float64
	// correlation is that of the requests of one version in the same stretch of some minutes, 1 where 0 is written.
	correlation float64
	stretch     int
	// outage is the share of the requests of both versions that fail in the third and fourth minute.
	outage float64
	// from is when the regression begins, in seconds.
	from float64
	// node is the standard deviation of what the canary's place adds to the logarithm of its share of bad requests.
	node float64
	// history are the minutes of it, six hours where 0 is written.
	history int
}

// contender makes a rule for a release.
type contender struct {
	name string
	make func(*rand.Rand, scenario) rule
}

func contenders() []contender {
	onePoint := func(s scenario) float64 { return 1 - s.base - 0.01 }
	return []contender{
		{"flagger 99 %", func(*rand.Rand, scenario) rule {
			return &threshold{steps: newSteps(), least: 0.99, failures: 5, holds: true}
		}},
		{"flagger base + 1", func(_ *rand.Rand, s scenario) rule {
			return &threshold{steps: newSteps(), least: onePoint(s), failures: 5, holds: true}
		}},
		{"flagger base + 1, idle passes", func(_ *rand.Rand, s scenario) rule {
			return &threshold{steps: newSteps(), least: onePoint(s), failures: 5, holds: true, idlePasses: true}
		}},
		{"rollouts base + 1", func(_ *rand.Rand, s scenario) rule {
			return &threshold{steps: newSteps(), least: onePoint(s), failures: 4}
		}},
		{"kayenta", func(r *rand.Rand, _ scenario) rule {
			return &mannWhitney{steps: newSteps(), random: r, minutesBetweenVerdict: 10}
		}},
		own("comparison", 1),
		own("comparison each minute", ticksPerMinute),
		early("comparison, steps early"),
	}
}

// early is the operator's rule with steps that end early.
func early(name string) contender {
	usual := own(name, 1)
	return contender{name, func(r *rand.Rand, s scenario) rule {
		c := usual.make(r, s).(*comparison)
		c.early = true
		return c
	}}
}

// own is the operator's rule. It has two metrics and one that a regression is in, which needs twice the evidence.
func own(name string, look int) contender {
	return contender{name, func(r *rand.Rand, s scenario) rule {
		judge := compare.Judge{Confidence: 0.995, Metrics: []compare.Metric{compare.Failures("errors")}}
		state, err := judge.Begin([]compare.History{{Minutes: [][]compare.Counts{past(r, s)}}})
		if err != nil {
			panic(err) // one history for one metric
		}
		return &comparison{steps: newSteps(), judge: judge, state: state, look: look}
	}}
}

// past are the primary's minutes before the release.
func past(r *rand.Rand, s scenario) []compare.Counts {
	n := s.history
	if n == 0 {
		n = 360
	}
	out := make([]compare.Counts, n)
	share := 0.0
	for i := range out {
		if i%max(1, s.stretch) == 0 {
			share = correlated(r, s.base, s.correlation)
		}
		requests := poisson(r, s.perSecond*60)
		out[i] = compare.Counts{Requests: requests, Bad: binomial(r, requests, share)}
	}
	return out
}

// result is how one release went.
type result struct {
	outcome outcome
	// seconds until its end.
	seconds float64
	// hurt are the requests that failed because of the regression within the hour.
	hurt float64
}

// simulate runs one release.
func simulate(r *rand.Rand, s scenario, rule rule) result {
	out := result{seconds: horizon}
	factor := math.Exp(s.node * r.NormFloat64())
	canary, primary := 0.0, 0.0
	for k := 0; float64(k)*tick.Seconds() < horizon; k++ {
		at := float64(k) * tick.Seconds()
		regression := s.regression
		if at < s.from {
			regression = 0
		}
		if k%(ticksPerMinute*max(1, s.stretch)) == 0 || at == s.from {
			canary = correlated(r, math.Min(s.base*factor+regression, 1), s.correlation)
			primary = correlated(r, s.base, s.correlation)
		}
		c, p := canary, primary
		if s.outage > 0 && at >= 120 && at < 240 {
			c, p = c+(1-c)*s.outage, p+(1-p)*s.outage
		}
		weight := rule.weight()
		expected := s.perSecond * tick.Seconds()
		b := compare.Block{Length: tick}
		b.Canary.Requests, b.Primary.Requests = poisson(r, expected*weight), poisson(r, expected*(1-weight))
		b.Canary.Bad, b.Primary.Bad = binomial(r, b.Canary.Requests, c), binomial(r, b.Primary.Requests, p)
		out.hurt += expected * weight * regression
		at += tick.Seconds()
		if o := rule.take(at, b); o != running {
			out.outcome, out.seconds = o, at
			if o == promoted {
				out.hurt += s.perSecond * (horizon - math.Max(at, s.from)) * s.regression
			}
			return out
		}
	}
	return out
}

// summary is how many releases went.
type summary struct {
	releases                            int
	rolledBack, promoted                float64 // shares
	secondsToRollback, secondsToPromote float64
	hurt                                float64 // a release
}

func run(c contender, s scenario, releases int, seed uint64) summary {
	out := summary{releases: releases}
	bits := math.Float64bits
	for i := range releases {
		r := source(seed, uint64(i), bits(s.perSecond), bits(s.base), bits(s.regression), bits(s.correlation), bits(s.outage))
		one := simulate(r, s, c.make(r, s))
		switch one.outcome {
		case rolledBack:
			out.rolledBack++
			out.secondsToRollback += one.seconds
		case promoted:
			out.promoted++
			out.secondsToPromote += one.seconds
		case running:
		}
		out.hurt += one.hurt / float64(releases)
	}
	out.finish()
	return out
}

// finish makes sums means.
func (s *summary) finish() {
	s.secondsToRollback /= math.Max(1, s.rolledBack)
	s.secondsToPromote /= math.Max(1, s.promoted)
	s.rolledBack /= float64(s.releases)
	s.promoted /= float64(s.releases)
}

var (
	traffics     = []float64{0.1, 1, 10, 100, 1000}
	bases        = []float64{0.0001, 0.001, 0.01, 0.02}
	regressions  = []float64{0, 0.001, 0.005, 0.01, 0.05, 0.5}
	correlations = []float64{0, 0.001, 0.01}
)

// cells are all scenarios of whole releases.
func cells() []scenario {
	var out []scenario
	for _, n := range traffics {
		for _, base := range bases {
			for _, d := range regressions {
				for _, rho := range correlations {
					out = append(out, scenario{perSecond: n, base: base, regression: d, correlation: rho})
				}
			}
			out = append(out,
				scenario{perSecond: n, base: base, outage: 0.3},
				scenario{perSecond: n, base: base, outage: 0.3, correlation: 0.001},
				scenario{perSecond: n, base: base, outage: 0.3, regression: 0.05},
				scenario{perSecond: n, base: base, regression: 0.05, from: 180})
		}
	}
	return out
}

// adversities are good releases in worse conditions than those of cells.
func adversities() []scenario {
	var out []scenario
	for _, s := range []scenario{
		{name: "independent"},
		{name: "correlation 0.001", correlation: 0.001},
		{name: "correlation 0.01", correlation: 0.01},
		{name: "correlation 0.05", correlation: 0.05},
		{name: "correlation 0.001 over 5 minutes", correlation: 0.001, stretch: 5},
		{name: "correlation 0.01 over 5 minutes", correlation: 0.01, stretch: 5},
		{name: "correlation 0.01, 10 minutes of history", correlation: 0.01, history: 10},
		{name: "correlation 0.01, an hour of history", correlation: 0.01, history: 60},
		{name: "no history to speak of", history: 1},
		{name: "a node 5 % off", node: 0.05},
		{name: "a node 10 % off", node: 0.1},
		{name: "outage of 30 %", outage: 0.3},
		{name: "outage of 90 %", outage: 0.9},
		{name: "outage of 30 %, correlation 0.01", outage: 0.3, correlation: 0.01},
	} {
		for _, n := range []float64{1, 10, 100, 1000} {
			for _, base := range []float64{0.0001, 0.001, 0.01} {
				s.perSecond, s.base = n, base
				out = append(out, s)
			}
		}
	}
	return out
}
