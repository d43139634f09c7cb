package judgement

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/sluice-delivery/sluice/metrics/compare"
)

// sample is how many requests of the canary a test needs.
type sample struct {
	base, regression, weight float64
	// ratio and points are tolerated.
	ratio, points float64
	// history is how many requests of the primary are known, and off by what factor they mislead about its share.
	history, off float64
}

func (s sample) null() compare.Null { return compare.Null{Ratio: 1 + s.ratio, Share: s.points} }

// wald is the mean number of requests of the canary that Wald's sequential probability ratio test needs between the
// true shares and the nearest of the hypothesis, with errors of 1 and 5 %.
func (s sample) wald(r *rand.Rand, repeats int) float64 {
	c, p := s.base+s.regression, s.base
	n := (1 - s.weight) / s.weight
	c0, p0 := nearest(s.null(), c, p, n)
	upper, lower := math.Log(0.95/0.01), math.Log(0.05/0.99)
	badC, goodC := math.Log(c/c0), math.Log((1-c)/(1-c0))
	badP, goodP := math.Log(p/p0), math.Log((1-p)/(1-p0))
	total := 0.0
	for range repeats {
		l, due := 0.0, 0.0
		for l < upper && l > lower {
			total++
			due += n
			if r.Float64() < c {
				l += badC
			} else {
				l += goodC
			}
			for ; due >= 1; due-- {
				if r.Float64() < p {
					l += badP
				} else {
					l += goodP
				}
			}
		}
	}
	return total / float64(repeats)
}

// nearest is the point of a hypothesis' edge that is nearest to the shares c and p, by bisection.
func nearest(n compare.Null, c, p, ratio float64) (c0, p0 float64) {
	low, high := p, (c-n.Share)/n.Ratio
	for range 80 {
		p0 = (low + high) / 2
		c0 = n.Edge(p0)
		if n.Ratio*(c0-c)/(c0*(1-c0))+ratio*(p0-p)/(p0*(1-p0)) < 0 {
			low = p0
		} else {
			high = p0
		}
	}
	return c0, p0
}

// own is the mean number of requests of the canary until the comparison refutes the hypothesis at 99 %, with about 50
// looks in the time of Wald's test.
func (s sample) own(r *rand.Rand, wald float64, repeats int) float64 {
	test := compare.Worse(s.ratio, s.points, 0.01)
	off := s.off
	if off == 0 {
		off = 1
	}
	n := math.Max(1, math.Round(wald/50))
	m := math.Round(n * (1 - s.weight) / s.weight)
	total := 0.0
	for range repeats {
		past := compare.Counts{Requests: s.history, Bad: binomial(r, s.history, s.base*off)}
		var w compare.Wealth
		for w.Log < math.Log(100) {
			b := compare.Block{
				Canary:  compare.Counts{Requests: n, Bad: binomial(r, n, s.base+s.regression)},
				Primary: compare.Counts{Requests: m, Bad: binomial(r, m, s.base)},
				Length:  12 * time.Second,
			}
			w = test.Take(w, b, (past.Bad+0.01)/(past.Requests+2), 1)
			past = past.Plus(b.Primary)
			total += n
		}
	}
	return total / float64(repeats)
}

func samples() []sample {
	return []sample{
		{0.01, 0.01, 0.1, 0, 0, 1e5, 1},
		{0.01, 0.01, 0.5, 0, 0, 1e5, 1},
		{0.001, 0.01, 0.1, 0, 0, 1e5, 1},
		{0.0001, 0.01, 0.1, 0, 0, 1e5, 1},
		{0.02, 0.01, 0.1, 0, 0, 1e5, 1},
		{0.01, 0.01, 0.1, 0.1, 0.001, 1e5, 1},
		{0.01, 0.01, 0.5, 0.1, 0.001, 1e5, 1},
		{0.001, 0.01, 0.1, 0.1, 0.001, 1e5, 1},
		{0.0001, 0.01, 0.1, 0.1, 0.001, 1e5, 1},
		{0.02, 0.01, 0.1, 0.1, 0.001, 1e5, 1},
		{0.01, 0.01, 0.1, 0.1, 0.001, 1000, 1},
		{0.01, 0.01, 0.1, 0.1, 0.001, 10, 1},
		{0.01, 0.05, 0.1, 0.1, 0.001, 1e5, 1},
		{0.01, 0.5, 0.1, 0.1, 0.001, 1e5, 1},
		{0.01, 0.01, 0.1, 0.1, 0.001, 1e5, 0.3},
		{0.01, 0.01, 0.1, 0.1, 0.001, 1e5, 3},
	}
}
