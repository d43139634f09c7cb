package compare

import (
	"math"
	"time"
)

// effects are the regressions beyond what is tolerated that a [Worse] test bets on, in shares of requests.
var effects = [...]float64{0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8}

const (
	// most is how many parts a test's wealth can have.
	most = 2 + len(effects)
	// drift is the share of the wealth that is dealt out anew in driftTime.
	drift     = 0.05
	driftTime = 5 * time.Minute
)

// Test is a hypothesis and the alternatives on which its wealth is bet. Part 0 of the wealth is never bet.
type Test struct {
	null  Null
	prior []float64
	// alternative is the canary's share that part k bets on where the primary's is thought to be p.
	alternative func(k int, p float64) float64
}

// Wealth is the state of a test. The zero value is that before the first block.
type Wealth struct {
	// Log is the logarithm of the wealth: the evidence against the hypothesis.
	Log float64 `json:"log,omitempty"`
	// Shares is how the wealth is divided between what is never bet and the bets; empty before the first block.
	Shares []float64 `json:"shares,omitempty"`
}

// worsePrior is divided between nothing, the regression that is to be found fast, and all the effects.
var worsePrior = func() []float64 {
	const idle, focus = 0.10, 0.35
	prior := []float64{idle, focus}
	for range effects {
		prior = append(prior, (1-idle-focus)/float64(len(effects)))
	}
	return prior
}()

var finePrior = []float64{0.05, 0.60, 0.20, 0.15}

// Worse tests "the canary is no worse than tolerated", canary <= (1+ratio)*primary + share. A regression of detect
// is found fastest.
func Worse(ratio, share, detect float64) Test {
	null := Null{Ratio: 1 + ratio, Share: share}
	return Test{null: null, prior: worsePrior, alternative: func(k int, p float64) float64 {
		edge := null.Edge(p)
		if k == 1 {
			return math.Max(math.Min(p+detect, 0.999), edge+detect/4)
		}
		return math.Min(edge+effects[k-2], math.Max(0.999, (1+edge)/2))
	}}
}

// Beyond tests "the canary's share is at most limit", whatever the primary's. A canary that is beyond it by detect is
// found fastest.
func Beyond(limit, detect float64) Test {
	return Test{null: Null{Share: limit}, prior: worsePrior, alternative: func(k int, _ float64) float64 {
		if k == 1 {
			return math.Min(limit+detect, math.Max(0.999, (1+limit)/2))
		}
		return math.Min(limit+effects[k-2], math.Max(0.999, (1+limit)/2))
	}}
}

// Fine tests "the canary is worse than the primary by d or more", canary >= primary + d.
func Fine(d float64) Test {
	null := Null{Ratio: 1, Share: d, Above: true}
	return Test{null: null, prior: finePrior, alternative: func(k int, p float64) float64 { return better(k, p, d) }}
}

// Within tests "the canary is beyond the limit by d or more", whatever the primary's share. The canary is thought to
// be as the primary where that is within the limit, and in the middle below the limit where it is not.
func Within(limit, d float64) Test {
	null := Null{Share: math.Min(limit+d, 1-tiny), Above: true}
	return Test{null: null, prior: finePrior, alternative: func(k int, p float64) float64 {
		if p >= limit {
			p = limit / 2
		}
		return better(k, p, null.Share-p)
	}}
}

// better are the bets against a regression of d: none at all, a quarter of it and half of it.
func better(k int, p, d float64) float64 {
	switch k {
	case 1:
		return p
	case 2:
		return p + d/4
	default:
		return p + d/2
	}
}

// Take bets on a block. primary is the primary's share as it was thought to be before the block, and inflation, at
// least 1, by how much the variance of the counts exceeds that of independent requests: the e-variable to the power
// 1/inflation, whose expectation is at most 1 by Jensen's inequality too.
//
// After the block a part of the wealth is dealt out as at the beginning (fixed share, Herbster, Warmuth 1998): what
// was lost in a long time without regression does not slow down the finding of one that begins late.
func (t Test) Take(w Wealth, b Block, primary, inflation float64) Wealth {
	if b.Canary.Requests <= 0 || b.Primary.Requests <= 0 && t.null.Ratio != 0 {
		return w
	}
	shares := w.Shares
	if len(shares) != len(t.prior) {
		shares = t.prior
	}
	var factors [most]float64
	top := 0.0
	for k := 1; k < len(t.prior); k++ {
		factors[k] = t.null.LogFactor(b, t.alternative(k, primary), primary) / inflation
		top = math.Max(top, factors[k])
	}
	before, after := 0.0, 0.0
	for k, s := range shares {
		factors[k] = s * math.Exp(factors[k]-top)
		before += s
		after += factors[k]
	}
	dealt := 1 - math.Pow(1-drift, b.Length.Seconds()/driftTime.Seconds())
	next := make([]float64, len(shares))
	for k := range next {
		next[k] = round((1-dealt)*factors[k]/after + dealt*t.prior[k])
	}
	return Wealth{Log: round(w.Log + math.Log(after/before) + top), Shares: next}
}

// round keeps a state small: a millionth is nothing to any of its numbers, and a state that is read back is the
// state that was written.
func round(x float64) float64 { return math.Round(x*1e6) / 1e6 }
