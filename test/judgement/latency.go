package judgement

import (
	"math"
	"math/rand/v2"

	"github.com/sluice-delivery/sluice/metrics/compare"
)

// bounds are Istio's buckets in milliseconds, and limit is the threshold of the 99th percentile.
var bounds = []float64{.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000}

const limit = 500.0

// part is a share of the requests whose durations are log-normal, after a wait.
type part struct{ share, median, sigma, wait float64 }

// beyond is the share of requests that take longer than x where all medians are multiplied.
func beyond(parts []part, x, factor float64) float64 {
	sum := 0.0
	for _, p := range parts {
		if x <= p.wait {
			sum += p.share
			continue
		}
		sum += p.share * math.Erfc(math.Log((x-p.wait)/(p.median*factor))/(p.sigma*math.Sqrt2)) / 2
	}
	return sum
}

// durations draws those of n requests.
func durations(r *rand.Rand, parts []part, factor, n float64) compare.Histogram {
	h := compare.Histogram{Bounds: bounds, Below: make([]float64, len(bounds)), Requests: n}
	left, before := n, 1.0
	for i, b := range bounds {
		share := beyond(parts, b, factor)
		if before > 0 {
			left = binomial(r, left, math.Min(1, share/before))
		}
		h.Below[i], before = n-left, share
	}
	return h
}

func plus(a, b compare.Histogram) compare.Histogram {
	out := compare.Histogram{Bounds: bounds, Below: make([]float64, len(bounds)), Requests: a.Requests + b.Requests}
	for i := range bounds {
		out.Below[i] = b.Below[i]
		if len(a.Below) > 0 {
			out.Below[i] += a.Below[i]
		}
	}
	return out
}

// percentile99 is the 99th percentile as histogram_quantile has it; not a number without requests.
func percentile99(h compare.Histogram) float64 {
	if h.Requests <= 0 {
		return math.NaN()
	}
	rank, from, below := 0.99*h.Requests, 0.0, 0.0
	for i, b := range bounds {
		if h.Below[i] >= rank {
			if h.Below[i] == below {
				return b
			}
			return from + (b-from)*(rank-below)/(h.Below[i]-below)
		}
		from, below = b, h.Below[i]
	}
	return bounds[len(bounds)-1]
}

// slowdown is an application's latency and what becomes of it in a release.
type slowdown struct {
	name  string
	parts []part
	good  bool
}

var usual = []part{{1, 60, .69, 0}}

func slowdowns() []slowdown {
	return []slowdown{
		{"none", usual, true},
		{"all 5 % slower", []part{{1, 63, .69, 0}}, false},
		{"all 20 % slower", []part{{1, 72, .69, 0}}, false},
		{"all twice as slow", []part{{1, 120, .69, 0}}, false},
		{"the bulk slower, the tail not", []part{{.9, 80, .5, 0}, {.1, 110, .6, 0}}, false},
		{"2 % wait a second more", []part{{.98, 60, .69, 0}, {.02, 60, .69, 1000}}, false},
		{"5 % time out at 3 s", []part{{.95, 60, .69, 0}, {.05, 60, .69, 3000}}, false},
		{"1 % wait 400 ms more", []part{{.99, 60, .69, 0}, {.01, 60, .69, 400}}, false},
	}
}

// slowScenario is a release of an application with a slowdown.
type slowScenario struct {
	slowdown
	perSecond float64
	// noise is the standard deviation of the logarithm by which a version's minute is slower.
	noise float64
	// both is by how much both versions are slower in the third and fourth minute; 0 is not at all.
	both float64
}

// latencyRule takes what was counted in each tick.
type latencyRule interface {
	weight() float64
	takeLatency(seconds float64, canary, primary compare.Histogram) outcome
}

// percentile is Flagger's rule for request-duration.
type percentile struct {
	steps
	minute compare.Histogram
	ticks  int
	failed int
}

func (f *percentile) takeLatency(_ float64, canary, _ compare.Histogram) outcome {
	f.minute = plus(f.minute, canary)
	f.ticks++
	if f.ticks%ticksPerMinute != 0 {
		return running
	}
	if f.failed >= 5 {
		return rolledBack
	}
	p99 := percentile99(f.minute)
	f.minute = compare.Histogram{}
	if math.IsNaN(p99) || p99 > limit {
		f.failed++
		return running
	}
	return f.next()
}

// percentiles compares the minutes' 99th percentiles, as Kayenta does.
type percentiles struct {
	steps
	canary, primary     compare.Histogram
	canaries, primaries []float64
	ticks               int
}

func (k *percentiles) takeLatency(_ float64, canary, primary compare.Histogram) outcome {
	k.canary, k.primary = plus(k.canary, canary), plus(k.primary, primary)
	k.ticks++
	if k.ticks%ticksPerMinute != 0 {
		return running
	}
	if p := percentile99(k.canary); !math.IsNaN(p) {
		k.canaries = append(k.canaries, p)
	}
	if p := percentile99(k.primary); !math.IsNaN(p) {
		k.primaries = append(k.primaries, p)
	}
	k.canary, k.primary = compare.Histogram{}, compare.Histogram{}
	if k.ticks%(10*ticksPerMinute) != 0 {
		return running
	}
	if isHigh(k.canaries, k.primaries) {
		return rolledBack
	}
	return k.next()
}

// latencyComparison is the operator's own rule, with two metrics.
type latencyComparison struct {
	comparison
	edges []int
}

func newLatencyComparison(r *rand.Rand, s slowScenario) *latencyComparison {
	var all compare.Histogram
	var history []compare.Histogram
	for range 360 {
		h := durations(r, usual, math.Exp(s.noise*r.NormFloat64()), poisson(r, s.perSecond*60))
		history, all = append(history, h), plus(all, h)
	}
	edges := compare.Edges(all, limit)
	past := compare.History{}
	for _, e := range edges {
		var minutes []compare.Counts
		for _, h := range history {
			minutes = append(minutes, h.SlowerThan(e))
		}
		past.Edges, past.Minutes = append(past.Edges, bounds[e]), append(past.Minutes, minutes)
	}
	judge := compare.Judge{Confidence: 0.995, Metrics: []compare.Metric{compare.Slowness("latency")}}
	state, err := judge.Begin([]compare.History{past})
	if err != nil {
		panic(err) // one history for one metric
	}
	return &latencyComparison{comparison: comparison{steps: newSteps(), judge: judge, state: state, look: 1}, edges: edges}
}

func (c *latencyComparison) takeLatency(seconds float64, canary, primary compare.Histogram) outcome {
	blocks := make([]compare.Block, len(c.edges))
	for k, e := range c.edges {
		blocks[k] = compare.Block{Canary: canary.SlowerThan(e), Primary: primary.SlowerThan(e), Length: tick}
	}
	return c.takeBlocks(seconds, blocks)
}

// simulateLatency runs one release.
func simulateLatency(r *rand.Rand, s slowScenario, rule latencyRule) result {
	out := result{seconds: horizon}
	canary, primary := 1.0, 1.0
	for k := 0; float64(k)*tick.Seconds() < horizon; k++ {
		at := float64(k) * tick.Seconds()
		if k%ticksPerMinute == 0 {
			canary, primary = math.Exp(s.noise*r.NormFloat64()), math.Exp(s.noise*r.NormFloat64())
		}
		slow := 1.0
		if s.both > 0 && at >= 120 && at < 240 {
			slow = s.both
		}
		weight, expected := rule.weight(), s.perSecond*tick.Seconds()
		c := durations(r, s.parts, canary*slow, poisson(r, expected*weight))
		p := durations(r, usual, primary*slow, poisson(r, expected*(1-weight)))
		at += tick.Seconds()
		if o := rule.takeLatency(at, c, p); o != running {
			out.outcome, out.seconds = o, at
			return out
		}
	}
	return out
}

type latencyContender struct {
	name string
	make func(*rand.Rand, slowScenario) latencyRule
}

func latencyContenders() []latencyContender {
	return []latencyContender{
		{"flagger p99", func(*rand.Rand, slowScenario) latencyRule { return &percentile{steps: newSteps()} }},
		{"kayenta p99", func(*rand.Rand, slowScenario) latencyRule { return &percentiles{steps: newSteps()} }},
		{"comparison", func(r *rand.Rand, s slowScenario) latencyRule { return newLatencyComparison(r, s) }},
	}
}

func runLatency(c latencyContender, s slowScenario, releases int, seed uint64) summary {
	out := summary{releases: releases}
	for i := range releases {
		r := source(seed, uint64(i), math.Float64bits(s.perSecond), math.Float64bits(s.noise), math.Float64bits(s.parts[0].median))
		switch one := simulateLatency(r, s, c.make(r, s)); one.outcome {
		case rolledBack:
			out.rolledBack++
			out.secondsToRollback += one.seconds
		case promoted:
			out.promoted++
			out.secondsToPromote += one.seconds
		case running:
		}
	}
	out.finish()
	return out
}

func slowScenarios() []slowScenario {
	var out []slowScenario
	for _, d := range slowdowns() {
		for _, n := range []float64{1, 10, 100, 1000} {
			for _, noise := range []float64{0, .05, .15} {
				out = append(out, slowScenario{slowdown: d, perSecond: n, noise: noise})
				if d.good {
					out = append(out, slowScenario{slowdown: d, perSecond: n, noise: noise, both: 3})
				}
			}
		}
	}
	return out
}
