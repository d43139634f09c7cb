package compare

import "math"

// margins are the differences between canary and primary, in shares of requests, that an interval can begin or end
// at; the last below 0 is in the middle.
var margins = [...]float64{
	-0.5, -0.2, -0.1, -0.05, -0.02, -0.01, -0.005, -0.002, -0.001, 0,
	0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7,
}

// Interval is a confidence sequence for the difference of the canary's and the primary's share of bad requests: it
// may be read at every look. It is made of tests of "the difference is at most" and "at least" each of the margins,
// with a bet on what both shares were so far (a plug-in), and claims a margin only where all that are easier to
// refute are refuted too: at most one true hypothesis can then be refuted first, so that each end is wrong in at most
// half of what confidence leaves, as Ville has it.
//
// Where the difference changed during the release it is a statement about some time of it.
type Interval struct {
	// AtMost and AtLeast are the logarithms of the evidence against "the difference is at most" and "at least" a
	// margin; empty before the first block.
	AtMost  []float64 `json:"atMost,omitempty"`
	AtLeast []float64 `json:"atLeast,omitempty"`
}

// take bets on a block, with what was counted of the canary before it and the primary's share as it was thought to be.
func (v Interval) take(canary Counts, b Block, primary, inflation float64) Interval {
	// The canary begins where the primary is, with the weight of half a bad request.
	p := math.Min(math.Max(primary, 1e-4), 0.5)
	c := (canary.Bad + 0.5) / (canary.Requests + 0.5/p)
	next := Interval{AtMost: make([]float64, len(margins)), AtLeast: make([]float64, len(margins))}
	copy(next.AtMost, v.AtMost)
	copy(next.AtLeast, v.AtLeast)
	for i, m := range margins {
		if c > primary+m {
			next.AtMost[i] = tenth(next.AtMost[i] + Null{Ratio: 1, Share: m}.LogFactor(b, c, primary)/inflation)
		} else {
			next.AtLeast[i] = tenth(next.AtLeast[i] + Null{Ratio: 1, Share: m, Above: true}.LogFactor(b, c, primary)/inflation)
		}
	}
	return next
}

// tenth rounds down to a thousandth, which is on the safe side.
func tenth(x float64) float64 { return math.Floor(x*1000) / 1000 }

// Ends are the ends of the interval at a confidence: -1 and 1 where nothing is known.
func (v Interval) Ends(confidence float64) (low, high float64) {
	need := math.Log(2 / (1 - confidence))
	low, high = -1, 1
	for i := range v.AtMost {
		if v.AtMost[i] < need {
			break
		}
		low = margins[i]
	}
	for i := len(v.AtLeast) - 1; i >= 0; i-- {
		if v.AtLeast[i] < need {
			break
		}
		high = margins[i]
	}
	return low, high
}
