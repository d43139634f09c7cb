package compare

import (
	"math"
	"time"
)

const (
	// expected is the correlation of requests of one minute where nothing is known (Adams et al. 2004: the median of
	// 1,039 adjusted intra-cluster correlations is 0.005), and expectedMinutes how many minutes of history weigh as much.
	expected        = 0.005
	expectedMinutes = 10
	// cluster is how long one draw of a version's rate lasts.
	cluster = time.Minute
	// troubled is the least correlation while both versions are in trouble: what history says of it does not hold then.
	troubled = 0.05
	// fewest pairs of neighbouring stretches that say something about stretches longer than a minute.
	fewestPairs = 8
)

// Inflation is by how much the variance of a block's difference of two shares exceeds that of independent requests
// where requests of one minute and version have the correlation rho: with h = n m/(n+m), and more of it where the
// block is a part of a minute, 1 + rho (2h - 1). Without a primary it is that of one share, 1 + rho (n - 1). It is at
// least 1.
func Inflation(b Block, rho float64) float64 {
	if b.Canary.Requests <= 0 {
		return 1
	}
	scale := math.Max(1, cluster.Seconds()/b.Length.Seconds())
	n, m := b.Canary.Requests, b.Primary.Requests
	if m <= 0 {
		return 1 + rho*math.Max(0, scale*n-1)
	}
	return 1 + rho*math.Max(0, 2*scale*n*m/(n+m)-1)
}

// Correlation is the correlation of the requests of one minute that explains how much the primary's share of bad
// requests has varied from minute to minute, from 5 to 5 and from 15 to 15: the greatest of the three. Neighbours are
// compared, so that a slow change over the day is no variation. With few minutes it is near what is expected where
// nothing is known.
func Correlation(minutes []Counts) float64 {
	var all Counts
	for _, m := range minutes {
		all = all.Plus(m)
	}
	if all.Requests <= 0 {
		return expected
	}
	rate := (all.Bad + 0.5) / (all.Requests + 1)
	perMinute := all.Requests / float64(len(minutes))

	rho, pairs := correlationOver(minutes, 1, rate, perMinute)
	rho = math.Max(rho, (expectedMinutes*expected+pairs*rho)/(expectedMinutes+pairs))
	for _, length := range []int{5, 15} {
		if r, pairs := correlationOver(minutes, length, rate, perMinute); pairs >= fewestPairs {
			// There are few long stretches: a standard error less.
			rho = math.Max(rho, r*(1-math.Sqrt(3/pairs)))
		}
	}
	return math.Min(rho, 1)
}

// correlationOver is the correlation that neighbouring stretches of some minutes show, as that of requests of one
// minute, and how many pairs of them there are. The mean of the squared differences over their variance were they
// independent, x, is 1 + rho (n-1) for n requests a stretch.
func correlationOver(minutes []Counts, length int, rate, perMinute float64) (rho, pairs float64) {
	sum := 0.0
	for i := 0; i+2*length <= len(minutes); i += length {
		var a, b Counts
		for k := range length {
			a, b = a.Plus(minutes[i+k]), b.Plus(minutes[i+length+k])
		}
		if a.Requests > 0 && b.Requests > 0 {
			d := b.Rate() - a.Rate()
			sum += d * d / (rate * (1 - rate) * (1/a.Requests + 1/b.Requests))
			pairs++
		}
	}
	if n := perMinute * float64(length); pairs > 0 && n > 1 {
		rho = math.Max(0, (sum/pairs-1)/(n-1)) * float64(length)
	}
	return rho, pairs
}

// memory is after how long what was counted weighs half as much.
const memory = time.Hour

// fade lets what was counted weigh less after a time.
func fade(c Counts, after time.Duration) Counts {
	f := math.Exp2(-after.Seconds() / memory.Seconds())
	return Counts{Requests: c.Requests * f, Bad: c.Bad * f}
}

// guess is the primary's share of bad requests as its past has it.
func guess(past Counts) float64 { return (past.Bad + 0.01) / (past.Requests + 2) }

// Past is what minutes of history, the oldest first, say of a version's share at their end.
func Past(minutes []Counts) Counts {
	var past Counts
	for _, m := range minutes {
		past = fade(past, time.Minute).Plus(m)
	}
	return past
}
