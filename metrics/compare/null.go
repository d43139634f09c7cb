package compare

import "math"

// tiny keeps rates off 0 and 1, where logarithms end.
const tiny = 1e-9

// Null is a hypothesis on the shares of bad requests of canary and primary: canary <= Ratio*primary + Share, or >=
// with Above. With a Ratio of 0 the primary has no part in it, and Share is an absolute limit. Ratio is never
// negative.
type Null struct {
	Ratio float64
	Share float64
	Above bool
}

// Edge is the canary's share on the edge of the hypothesis where the primary has the share p.
func (n Null) Edge(p float64) float64 { return n.Ratio*p + n.Share }

// holds reports whether the hypothesis is true of these shares.
func (n Null) holds(c, p float64) bool {
	if n.Above {
		return c >= n.Edge(p)
	}
	return c <= n.Edge(p)
}

// LogFactor is the logarithm of the e-variable of one block: the likelihood of the alternative (altCanary,
// altPrimary) over that of its reverse information projection, the point of the hypothesis that is nearest to the
// alternative in Kullback-Leibler divergence with this block's numbers of requests (Turner, Ly, Grünwald 2024).
//
// Its expectation is at most 1 wherever the block's true mean shares are in the hypothesis. They may differ from
// request to request: with X and Y the expected factor of one request of canary and primary, linear in their shares,
// the expectation is a product that is at most X^n Y^m at the mean shares by the inequality of the means, and at most
// ((n X + m Y)/(n+m))^(n+m) <= 1 by the optimality of the projection onto a convex set.
//
// It is 0 where the alternative is in the hypothesis already, and where there is nothing to compare.
func (n Null) LogFactor(b Block, altCanary, altPrimary float64) float64 {
	requests := b.Primary.Requests
	if n.Ratio == 0 {
		requests = 0
	}
	if b.Canary.Requests <= 0 || requests <= 0 && n.Ratio != 0 {
		return 0
	}
	altCanary, altPrimary = inside(altCanary), inside(altPrimary)
	c, p, ok := n.project(altCanary, altPrimary, b.Canary.Requests, requests)
	if !ok {
		return 0
	}
	l := logRatio(b.Canary, altCanary, c)
	if requests > 0 {
		l += logRatio(b.Primary, altPrimary, p)
	}
	return l
}

// logRatio is the logarithm of the likelihood of counts at the share alt over that at the share null.
func logRatio(c Counts, alt, null float64) float64 {
	bad := math.Min(c.Bad, c.Requests)
	l := 0.0
	if bad > 0 {
		l += bad * math.Log(alt/null)
	}
	if good := c.Requests - bad; good > 0 {
		l += good * (math.Log1p(-alt) - math.Log1p(-null))
	}
	return l
}

// project gives the point on the hypothesis' edge that is nearest to (qc, qp), with n requests of the canary and m of
// the primary. ok is false where (qc, qp) is in the hypothesis, or no share is outside it.
func (n Null) project(qc, qp, requests, primary float64) (c, p float64, ok bool) {
	if n.holds(qc, qp) {
		return 0, 0, false
	}
	if n.Ratio == 0 {
		return n.Share, qp, n.Share > 0 && n.Share < 1
	}
	// Along the edge the divergence is convex in p, and its derivative changes sign between the
	// alternative's own p and the p at which the edge has the alternative's c.
	from, to := qp, (qc-n.Share)/n.Ratio
	if n.Above {
		from, to = to, from
	}
	low := math.Max(from, math.Max(0, -n.Share/n.Ratio)+tiny)
	high := math.Min(to, math.Min(1, (1-n.Share)/n.Ratio)-tiny)
	if low >= high {
		return 0, 0, false
	}
	p = n.nearest(qc, qp, requests, primary, low, high)
	return n.Edge(p), p, true
}

// nearest finds the zero of the derivative of requests*KL(qc, c) + primary*KL(qp, p) along the edge, between low and
// high, by Newton's method with bisection where a step would leave the bracket.
func (n Null) nearest(qc, qp, requests, primary, low, high float64) float64 {
	p := (primary*qp + requests*(qc-n.Share)/n.Ratio) / (primary + requests)
	for range 60 {
		if p <= low || p >= high {
			p = (low + high) / 2
		}
		c := n.Edge(p)
		vc, vp := c*(1-c), p*(1-p)
		slope := requests*n.Ratio*(c-qc)/vc + primary*(p-qp)/vp
		if slope < 0 {
			low = p
		} else {
			high = p
		}
		curve := requests*n.Ratio*n.Ratio*(qc*(1-c)*(1-c)+(1-qc)*c*c)/(vc*vc) +
			primary*(qp*(1-p)*(1-p)+(1-qp)*p*p)/(vp*vp)
		next := p - slope/curve
		if math.Abs(next-p) < 1e-10*p || high-low < 1e-12 {
			break
		}
		p = next
	}
	return p
}

func inside(q float64) float64 { return math.Min(math.Max(q, tiny), 1-tiny) }
