package judgement

import (
	"math"
	"math/rand/v2"
)

// source is a stream of random numbers that depends on all the seeds.
func source(seeds ...uint64) *rand.Rand {
	h := uint64(1)
	for _, s := range seeds {
		h = (h ^ s) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	return rand.New(rand.NewPCG(h, 0x2545f4914f6cdd1d))
}

// binomial is how many of n requests are bad that are each with probability p. It is exact: few by the distance from
// one to the next, many by the order statistic in the middle, which is beta-distributed (Devroye, "Non-uniform random
// variate generation", 1986, X.4.3).
func binomial(r *rand.Rand, n, p float64) float64 {
	sum := 0.0
	for n > 0 && p > 0 {
		if p >= 1 {
			return sum + n
		}
		if p > 0.5 {
			return sum + n - binomial(r, n, 1-p)
		}
		if n*p < 200 {
			return sum + waiting(r, n, p)
		}
		i := math.Floor((n + 1) / 2)
		x := beta(r, i, n+1-i)
		if x <= p { // the i smallest of n uniform numbers are below p
			sum += i
			n, p = n-i, (p-x)/(1-x)
		} else {
			n, p = i-1, p/x
		}
	}
	return sum
}

// waiting is a binomial number by how many good requests come before each bad one.
func waiting(r *rand.Rand, n, p float64) float64 {
	k, at, l := 0.0, 0.0, math.Log1p(-p)
	for {
		at += math.Floor(math.Log(1-r.Float64())/l) + 1
		if at > n {
			return k
		}
		k++
	}
}

// poisson is how many requests come where mean are expected, many of them by the time of an earlier one, which is
// gamma-distributed (Ahrens, Dieter 1974).
func poisson(r *rand.Rand, mean float64) float64 {
	sum := 0.0
	for mean > 30 {
		m := math.Floor(mean * 7 / 8)
		x := gamma(r, m)
		if x > mean {
			return sum + binomial(r, m-1, mean/x)
		}
		sum, mean = sum+m, mean-x
	}
	if mean <= 0 {
		return sum
	}
	for product := 1.0; ; sum++ {
		if product *= r.Float64(); product <= math.Exp(-mean) {
			return sum
		}
	}
}

// gamma is by Marsaglia and Tsang, 2000.
func gamma(r *rand.Rand, shape float64) float64 {
	if shape < 1 {
		return math.Exp(math.Log(gamma(r, shape+1)) + math.Log(1-r.Float64())/shape)
	}
	d := shape - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := r.NormFloat64()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v = v * v * v
		if math.Log(1-r.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}

func beta(r *rand.Rand, a, b float64) float64 {
	x, y := gamma(r, a), gamma(r, b)
	if x+y == 0 {
		return 0
	}
	return x / (x + y)
}

// correlated is the share of bad requests in a stretch of time where their mean share is one and two requests of the
// stretch have the correlation rho: beta-distributed.
func correlated(r *rand.Rand, mean, rho float64) float64 {
	if rho <= 0 || mean <= 0 || mean >= 1 {
		return mean
	}
	s := 1/rho - 1
	return beta(r, mean*s, (1-mean)*s)
}
