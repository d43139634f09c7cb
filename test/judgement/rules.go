package judgement

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/sluice-delivery/sluice/metrics/compare"
)

// outcome is how a release ended.
type outcome int

const (
	running outcome = iota
	promoted
	rolledBack
)

// A rule takes what was counted in each tick and says when the release ends. Steps are 10, 20, 30, 40 and 50 %.
type rule interface {
	weight() float64
	take(seconds float64, b compare.Block) outcome
}

const (
	firstWeight, stepWeight, lastWeight = 0.1, 0.1, 0.5
	ticksPerMinute                      = 4
)

// steps are what all rules have in common.
type steps struct{ at float64 }

func newSteps() steps { return steps{at: firstWeight} }

func (s *steps) weight() float64 { return s.at }

// next goes one step on, after the last one to promotion.
func (s *steps) next() outcome {
	if s.last() {
		return promoted
	}
	s.at += stepWeight
	return running
}

func (s *steps) last() bool { return s.at > lastWeight-1e-9 }

// threshold compares each minute's success rate with a limit.
type threshold struct {
	steps
	// least is the success rate that a check needs.
	least float64
	// failures is the number of failed checks that rolls back.
	failures int
	// holds is true where a failed check holds the weight, and where the rollback comes with the next check: Flagger.
	// Argo Rollouts goes on, and rolls back at once.
	holds bool
	// idlePasses is true where a check without requests passes.
	idlePasses bool

	minute compare.Counts
	ticks  int
	failed int
}

func (f *threshold) take(_ float64, b compare.Block) outcome {
	f.minute = f.minute.Plus(b.Canary)
	f.ticks++
	if f.ticks%ticksPerMinute != 0 {
		return running
	}
	if f.holds && f.failed >= f.failures {
		return rolledBack
	}
	bad := 1-f.minute.Rate() < f.least
	if f.minute.Requests == 0 {
		bad = !f.idlePasses
	}
	f.minute = compare.Counts{}
	if !bad {
		return f.next()
	}
	f.failed++
	if f.holds {
		return running
	}
	if f.failed >= f.failures {
		return rolledBack
	}
	return f.next()
}

// mannWhitney compares the minutes' error rates with those of a baseline of the canary's size after each ten minutes,
// as Kayenta does.
type mannWhitney struct {
	steps
	random                *rand.Rand
	canary, baseline      compare.Counts
	canaries, baselines   []float64
	ticks                 int
	minutesBetweenVerdict int
}

func (k *mannWhitney) take(_ float64, b compare.Block) outcome {
	k.canary = k.canary.Plus(b.Canary)
	n := math.Min(b.Canary.Requests, b.Primary.Requests)
	k.baseline = k.baseline.Plus(compare.Counts{Requests: n, Bad: binomial(k.random, n, b.Primary.Rate())})
	k.ticks++
	if k.ticks%ticksPerMinute == 0 {
		if k.canary.Requests > 0 {
			k.canaries = append(k.canaries, k.canary.Rate())
		}
		if k.baseline.Requests > 0 {
			k.baselines = append(k.baselines, k.baseline.Rate())
		}
		k.canary, k.baseline = compare.Counts{}, compare.Counts{}
	}
	if k.ticks%(k.minutesBetweenVerdict*ticksPerMinute) != 0 {
		return running
	}
	if isHigh(k.canaries, k.baselines) {
		return rolledBack
	}
	return k.next()
}

// isHigh is Kayenta's verdict "High": the lower end of the 98 % confidence interval of the shift, with the normal
// approximation and corrected for ties, is beyond a quarter of its estimate, and the mean is not lower.
func isHigh(canary, baseline []float64) bool {
	if len(canary) == 0 || len(baseline) == 0 {
		return false
	}
	all := slices.Concat(canary, baseline)
	if slices.Min(all) == slices.Max(all) {
		return false
	}
	const z98 = 2.3263478740408408
	low, estimate := shift(canary, baseline, z98), shift(canary, baseline, 0)
	return low > math.Abs(estimate)/4+1e-6 && mean(canary) >= mean(baseline)
}

func mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

// shift is by how much canary must be shifted for the rank statistic to be z.
func shift(canary, baseline []float64, z float64) float64 {
	low, high := slices.Min(canary)-slices.Max(baseline), slices.Max(canary)-slices.Min(baseline)
	if ranks(canary, baseline, low) <= z {
		return low
	}
	if ranks(canary, baseline, high) >= z {
		return high
	}
	for high-low >= 1e-9 {
		if m := (low + high) / 2; ranks(canary, baseline, m) > z {
			low = m
		} else {
			high = m
		}
	}
	return (low + high) / 2
}

// ranks is the standardised Mann-Whitney statistic of canary less a shift.
func ranks(canary, baseline []float64, by float64) float64 {
	type value struct {
		x      float64
		canary bool
	}
	var all []value
	for _, x := range canary {
		all = append(all, value{x - by, true})
	}
	for _, x := range baseline {
		all = append(all, value{x, false})
	}
	slices.SortFunc(all, func(a, b value) int {
		switch {
		case a.x < b.x:
			return -1
		case a.x > b.x:
			return 1
		default:
			return 0
		}
	})
	sum, ties := 0.0, 0.0
	for i := 0; i < len(all); {
		k, n := i, 0.0
		for ; k < len(all) && all[k].x == all[i].x; k++ {
			if all[k].canary {
				n++
			}
		}
		sum += n * float64(i+k+1) / 2
		t := float64(k - i)
		ties += t*t*t - t
		i = k
	}
	n, m := float64(len(canary)), float64(len(baseline))
	d := sum - n*(n+1)/2 - n*m/2
	switch {
	case d > 0:
		d -= 0.5
	case d < 0:
		d += 0.5
	}
	sigma := math.Sqrt(n * m / 12 * (n + m + 1 - ties/((n+m)*(n+m-1))))
	if sigma == 0 {
		return math.Inf(-1)
	}
	return d / sigma
}

// comparison is the operator's own rule with its defaults, and the longest that a release takes half an hour.
type comparison struct {
	steps
	judge compare.Judge
	state compare.State
	// look is every how many ticks it looks.
	look int
	// early is true where a step but the last ends as soon as the evidence allows the next one.
	early   bool
	ticks   int
	pending compare.Block
	since   float64
}

const (
	maxSeconds  = 1800
	stepSeconds = 60
)

func (c *comparison) take(seconds float64, b compare.Block) outcome {
	c.pending = c.pending.Plus(b)
	c.ticks++
	if c.ticks%c.look != 0 {
		return c.decide(seconds)
	}
	b, c.pending = c.pending, compare.Block{}
	return c.takeBlocks(seconds, []compare.Block{b})
}

// takeBlocks looks, with a block for each edge of the metric.
func (c *comparison) takeBlocks(seconds float64, blocks []compare.Block) outcome {
	state, err := c.judge.Look(c.state, []compare.Reading{{Metric: c.judge.Metrics[0].Name, Blocks: blocks}})
	if err != nil {
		panic(err) // simulated counts are usable
	}
	c.state = state
	return c.decide(seconds)
}

func (c *comparison) decide(seconds float64) outcome {
	answer := c.judge.Answer(c.state, compare.Question{Promote: c.last(), Overdue: seconds >= maxSeconds})
	if answer.Verdict == compare.WorseThanTolerated {
		return rolledBack
	}
	if answer.Verdict == compare.Open || seconds-c.since < stepSeconds-1e-9 && (!c.early || c.last()) {
		return running
	}
	c.since = seconds
	c.state = c.state.NewWeight()
	return c.next()
}
