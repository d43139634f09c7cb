package compare

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestSince(t *testing.T) {
	for name, tc := range map[string]struct{ now, before, want Counts }{
		"more":                        {Counts{10, 2}, Counts{4, 1}, Counts{6, 1}},
		"the same":                    {Counts{10, 2}, Counts{10, 2}, Counts{}},
		"a counter that began anew":   {Counts{3, 0}, Counts{10, 2}, Counts{}},
		"more bad ones than requests": {Counts{11, 5}, Counts{10, 2}, Counts{1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.now.Since(tc.before); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestInflation(t *testing.T) {
	for name, tc := range map[string]struct {
		block Block
		rho   float64
		want  float64
	}{
		"independent":        {block(150, 0, 1350, 0), 0, 1},
		"a part of a minute": {block(10, 0, 10, 0), 0.01, 1 + 0.01*(2*4*5-1)},
		"five minutes":       {Block{Counts{10, 0}, Counts{10, 0}, 5 * time.Minute}, 0.01, 1 + 0.01*9},
		"one request":        {Block{Counts{1, 0}, Counts{1, 0}, time.Minute}, 0.5, 1},
		"no primary":         {Block{Counts{100, 0}, Counts{}, time.Minute}, 0.01, 1.99},
		"no canary":          {block(0, 0, 10, 0), 0.5, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Inflation(tc.block, tc.rho); math.Abs(got-tc.want) > 1e-12 {
				t.Errorf("got %g, want %g", got, tc.want)
			}
		})
	}
}

func TestCorrelation(t *testing.T) {
	alternating := func(n int, a, b Counts, each int) []Counts {
		out := make([]Counts, n)
		for i := range out {
			out[i] = a
			if i/each%2 == 1 {
				out[i] = b
			}
		}
		return out
	}
	for name, tc := range map[string]struct {
		minutes   []Counts
		low, high float64
	}{
		"no history":                      {nil, 0.005, 0.005},
		"no requests":                     {make([]Counts, 60), 0.005, 0.005},
		"steady for six hours":            {alternating(360, Counts{6000, 60}, Counts{6000, 60}, 1), 0.0001, 0.0002},
		"another rate each minute":        {alternating(360, Counts{6000, 30}, Counts{6000, 90}, 1), 0.004, 0.006},
		"another rate each five minutes":  {alternating(360, Counts{6000, 30}, Counts{6000, 90}, 5), 0.018, 0.022},
		"another rate each 15 minutes":    {alternating(720, Counts{6000, 30}, Counts{6000, 90}, 15), 0.05, 0.065},
		"too few stretches of 15 minutes": {alternating(60, Counts{6000, 30}, Counts{6000, 90}, 30), 0, 0.002},
		"all requests fail now and then":  {alternating(360, Counts{600, 0}, Counts{600, 600}, 1), 0.9, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Correlation(tc.minutes); got < tc.low || got > tc.high {
				t.Errorf("got %g, want %g to %g", got, tc.low, tc.high)
			}
		})
	}
}

func TestEdges(t *testing.T) {
	history := Histogram{
		Bounds:   []float64{10, 50, 100, 250, 500, 1000, 5000},
		Below:    []float64{100, 5000, 9000, 9900, 9980, 9995, 10000},
		Requests: 10000,
	}
	for name, tc := range map[string]struct {
		limit float64
		want  []int
	}{
		"no limit":                      {0, []int{3, 1, 2, 5}},
		"a limit between bounds":        {400, []int{4, 1, 2, 3, 5}},
		"a limit on a bound":            {100, []int{2, 1, 3, 5}},
		"a limit beyond the last bound": {9999, []int{3, 1, 2, 5}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Edges(history, tc.limit); !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
	if got := (Histogram{Bounds: []float64{1}, Below: []float64{30}, Requests: 100}).SlowerThan(0); got != (Counts{100, 70}) {
		t.Errorf("slower than the bound are %+v", got)
	}
	if got := Edges(Histogram{Bounds: []float64{1}, Below: []float64{0}, Requests: 1000}, 0); len(got) > 0 {
		t.Errorf("edges %v where nearly all requests are beyond all bounds", got)
	}
}

// draw is a binomial number.
func draw(r *rand.Rand, n int, q float64) float64 {
	k := 0.0
	for range n {
		if r.Float64() < q {
			k++
		}
	}
	return k
}

// TestIntervalCovers: over a thousand releases, read at every look, the interval misses the difference at some look in
// at most the share that confidence leaves, and in the end it is narrow.
func TestIntervalCovers(t *testing.T) {
	for _, tc := range []struct{ base, regression, low, high float64 }{
		{0.01, 0, -0.012, 0.012},
		{0.01, 0.02, 0.007, 0.05},
		{0.001, 0.01, 0.003, 0.03},
		{0.2, 0.1, 0.05, 0.2},
	} {
		r := rand.New(rand.NewPCG(1, math.Float64bits(tc.base)))
		const releases, looks, confidence = 400, 60, 0.95
		missed, low, high := 0, 0.0, 0.0
		for range releases {
			var v Interval
			var canary Counts
			past := Counts{10000, 10000 * tc.base}
			wrong := false
			for range looks {
				b := block(50, draw(r, 50, tc.base+tc.regression), 100, draw(r, 100, tc.base))
				v = v.take(canary, b, guess(past), 1)
				canary, past = canary.Plus(b.Canary), past.Plus(b.Primary)
				l, h := v.Ends(confidence)
				wrong = wrong || l > tc.regression+1e-12 || h < tc.regression-1e-12
			}
			if wrong {
				missed++
			}
			l, h := v.Ends(confidence)
			low, high = low+l/releases, high+h/releases
		}
		t.Logf("base %g, %+g: missed in %d of %d releases; on average from %.4f to %.4f", tc.base, tc.regression, missed, releases, low, high)
		if float64(missed) > releases*(1-confidence) {
			t.Errorf("base %g, %+g: the interval missed in %d of %d releases", tc.base, tc.regression, missed, releases)
		}
		if low < tc.low || high > tc.high {
			t.Errorf("base %g, %+g: the interval is from %g to %g", tc.base, tc.regression, low, high)
		}
	}
}

// TestPower: what is said before a release is within a third of what the simulation needs on average, two metrics, the
// canary's share 10 and 50 %.
func TestPower(t *testing.T) {
	j := judge(Failures("errors"), Failures("others"))
	for _, tc := range []struct{ base, regression, weight, requests float64 }{
		{0.0001, 0.01, 0.1, 466},
		{0.001, 0.01, 0.1, 706},
		{0.01, 0.01, 0.1, 3172},
		{0.01, 0.01, 0.5, 6289},
		{0.02, 0.01, 0.1, 7177},
		{0.01, 0.05, 0.1, 195},
		{0.01, 0.05, 0.5, 412},
	} {
		got := j.ToFind(j.Metrics[0], tc.regression, Traffic{PerSecond: 100, Weight: tc.weight, Bad: tc.base, Look: second})
		if ratio := got.Requests / tc.requests; ratio < 0.67 || ratio > 1.33 {
			t.Errorf("base %g, %+g at %g: %g requests, simulated %g", tc.base, tc.regression, tc.weight, got.Requests, tc.requests)
		}
	}
	for _, tc := range []struct{ base, weight, requests float64 }{
		{0.0001, 0.1, 336}, {0.001, 0.1, 425}, {0.01, 0.1, 1035}, {0.01, 0.5, 1321}, {0.02, 0.1, 1940},
	} {
		got := j.ToPromote(j.Metrics[0], Traffic{PerSecond: 100, Weight: tc.weight, Bad: tc.base, Look: second})
		if ratio := got.Requests / tc.requests; ratio < 0.67 || ratio > 1.33 {
			t.Errorf("base %g at %g: promoted after %g requests, simulated %g", tc.base, tc.weight, got.Requests, tc.requests)
		}
	}
	if got := j.ToFind(j.Metrics[0], 0.01, Traffic{Weight: 0.1, Bad: 0.01, Look: second}); got != (Power{}) {
		t.Errorf("without traffic: %+v", got)
	}
	few := j.ToFind(j.Metrics[0], 0.01, Traffic{PerSecond: 3, Weight: 0.5, Bad: 0.001, Look: second})
	correlated := j.ToFind(j.Metrics[0], 0.01, Traffic{PerSecond: 3, Weight: 0.5, Bad: 0.001, Correlation: 0.01, Look: second})
	if few.Time%second != 0 || few.Time < time.Minute || correlated.Time <= few.Time {
		t.Errorf("at 3 requests a second %+v, correlated %+v", few, correlated)
	}
	t.Logf("at 3 requests a second and half of them the canary's: %+v", few)
}
