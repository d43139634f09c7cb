package compare

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// counts is the distribution of the number of bad requests where each has a share of its own.
func counts(shares []float64) []float64 {
	dist := []float64{1}
	for _, q := range shares {
		next := make([]float64, len(dist)+1)
		for k, p := range dist {
			next[k] += p * (1 - q)
			next[k+1] += p * q
		}
		dist = next
	}
	return dist
}

// expectation is that of a function of a block where each request has a share of its own.
func expectation(canary, primary []float64, of func(Block) float64) float64 {
	sum := 0.0
	for i, p := range counts(canary) {
		for k, q := range counts(primary) {
			sum += p * q * of(Block{
				Canary:  Counts{Requests: float64(len(canary)), Bad: float64(i)},
				Primary: Counts{Requests: float64(len(primary)), Bad: float64(k)},
				Length:  15 * time.Second,
			})
		}
	}
	return sum
}

func times(n int, q float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = q
	}
	return out
}

// TestFactorExpectsAtMostOne: the expectation of the e-variable, exactly, at and inside the edge of hypotheses.
func TestFactorExpectsAtMostOne(t *testing.T) {
	greatest := 0.0
	for _, null := range []Null{
		{Ratio: 1},
		{Ratio: 1.1, Share: 0.001},
		{Ratio: 1.25, Share: 0.005},
		{Ratio: 1, Share: -0.05},
		{Ratio: 1, Share: 0.05, Above: true},
		{Ratio: 1, Share: 0.2, Above: true},
		{Ratio: 1, Share: -0.1, Above: true},
		{Share: 0.01},
		{Share: 0.1},
		{Share: 0.1, Above: true},
	} {
		for _, n := range [][2]int{{1, 9}, {3, 7}, {5, 5}, {8, 2}, {20, 30}} {
			for _, alt := range [][2]float64{{.02, .01}, {.1, .01}, {.5, .01}, {.9, .3}, {.01, .01}, {.05, .05}, {.3, .3}, {.11, .1}} {
				for _, p := range []float64{1e-6, .001, .01, .05, .2, .5, .8} {
					for _, in := range []float64{0, .01, .1} {
						c := null.Edge(p) - in
						if null.Above {
							c = null.Edge(p) + in
						}
						if c <= 0 || c >= 1 {
							continue
						}
						e := expectation(times(n[0], c), times(n[1], p), func(b Block) float64 {
							return math.Exp(null.LogFactor(b, alt[0], alt[1]))
						})
						greatest = math.Max(greatest, e)
					}
				}
			}
		}
	}
	t.Logf("the greatest expectation is %.12f", greatest)
	if greatest > 1+1e-9 {
		t.Errorf("an expectation is %.12f", greatest)
	}
}

// share draws shares of bad requests of all sizes.
func share(t *rapid.T, name string) float64 {
	return math.Pow(10, rapid.Float64Range(-6, -0.01).Draw(t, name))
}

// drawNull draws hypotheses that metrics have.
func drawNull(t *rapid.T) Null {
	ratio := rapid.SampledFrom([]float64{0, 1, 1.1, 1.5, 3}).Draw(t, "ratio")
	n := Null{Ratio: ratio, Share: share(t, "share"), Above: rapid.Bool().Draw(t, "above")}
	if ratio == 1 && rapid.Bool().Draw(t, "negative") {
		n.Share = -n.Share
	}
	return n
}

// inHypothesis draws shares of n requests of the canary and m of the primary whose means are in the hypothesis.
func inHypothesis(t *rapid.T, null Null, n, m int) (canary, primary []float64) {
	for range m {
		primary = append(primary, share(t, "primary"))
	}
	mean := 0.0
	for _, p := range primary {
		mean += p / float64(m)
	}
	edge := math.Min(math.Max(null.Edge(mean), 0), 1)
	c := edge * rapid.Float64Range(0, 1).Draw(t, "below")
	if null.Above {
		c = edge + (1-edge)*rapid.Float64Range(0, 1).Draw(t, "beyond")
	}
	canary = times(n, c)
	// Move a part from one request to the next: the mean stays.
	for i := 1; i < n; i += 2 {
		d := math.Min(c, 1-c) * rapid.Float64Range(0, 1).Draw(t, "moved")
		canary[i-1], canary[i] = c-d, c+d
	}
	return canary, primary
}

// TestFactorOfVaryingRequests: the expectation is at most 1 too where each request has its own share, as in an
// outage of both versions that lasts for a part of the block.
func TestFactorOfVaryingRequests(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		null := drawNull(t)
		n, m := rapid.IntRange(1, 8).Draw(t, "n"), rapid.IntRange(1, 8).Draw(t, "m")
		canary, primary := inHypothesis(t, null, n, m)
		if null.Edge(mean(primary)) < 0 && !null.Above || null.Edge(mean(primary)) > 1 && null.Above {
			t.Skip("no canary is in the hypothesis")
		}
		altCanary, altPrimary := share(t, "alternative"), share(t, "alternative of the primary")
		e := expectation(canary, primary, func(b Block) float64 {
			return math.Exp(null.LogFactor(b, altCanary, altPrimary))
		})
		if e > 1+1e-9 {
			t.Fatalf("the expectation is %.12f", e)
		}
	})
}

func mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

// TestTestIsASupermartingale: whatever the state of a test, its wealth is not expected to grow while its hypothesis
// is true.
func TestTestIsASupermartingale(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := share(t, "regression")
		test := rapid.SampledFrom([]Test{
			Worse(0.1, 0.001, d), Worse(0, 0, d), Worse(0.5, 0.02, d), Fine(d), Beyond(d, 0.01), Within(d, 0.01),
		}).Draw(t, "test")
		w := Wealth{Log: rapid.Float64Range(-20, 20).Draw(t, "log")}
		if rapid.Bool().Draw(t, "begun") {
			for range test.prior {
				w.Shares = append(w.Shares, rapid.Float64Range(0.001, 1).Draw(t, "share"))
			}
		}
		n, m := rapid.IntRange(1, 7).Draw(t, "n"), rapid.IntRange(1, 7).Draw(t, "m")
		canary, primary := inHypothesis(t, test.null, n, m)
		if test.null.Edge(mean(primary)) > 1 && test.null.Above {
			t.Skip("no canary is in the hypothesis")
		}
		thought := share(t, "thought")
		inflation := rapid.Float64Range(1, 10).Draw(t, "inflation")
		e := expectation(canary, primary, func(b Block) float64 {
			return math.Exp(test.Take(w, b, thought, inflation).Log - w.Log)
		})
		if e > 1+1e-5 { // states are rounded to a millionth
			t.Fatalf("the wealth is expected to grow by %.9f", e)
		}
	})
}

// TestProjectionIsNearest: no other point of the edge is nearer to the alternative.
func TestProjectionIsNearest(t *testing.T) {
	kl := func(a, b float64) float64 { return a*math.Log(a/b) + (1-a)*math.Log((1-a)/(1-b)) }
	rapid.Check(t, func(t *rapid.T) {
		null := drawNull(t)
		if null.Ratio == 0 {
			t.Skip("a limit has no edge to search")
		}
		qc, qp := share(t, "canary"), share(t, "primary")
		n, m := rapid.Float64Range(1, 1000).Draw(t, "n"), rapid.Float64Range(1, 1000).Draw(t, "m")
		c, p, ok := null.project(qc, qp, n, m)
		if !ok {
			t.Skip("in the hypothesis")
		}
		found := n*kl(qc, c) + m*kl(qp, p)
		for i := 1; i < 400; i++ {
			p := float64(i) / 400
			if c := null.Edge(p); c > 0 && c < 1 {
				if at := n*kl(qc, c) + m*kl(qp, p); at < found*(1-1e-9)-1e-9 {
					t.Fatalf("at %g the divergence is %g, at the projection %g", p, at, found)
				}
			}
		}
	})
}
