package compare

import (
	"math"
	"slices"
)

// Histogram is a distribution of durations in buckets: Below[i] requests took at most Bounds[i], in the unit of the
// metric. Bounds rise.
type Histogram struct {
	Bounds   []float64
	Below    []float64
	Requests float64
}

// SlowerThan is how many requests took longer than a bound, by its index.
func (h Histogram) SlowerThan(i int) Counts {
	return Counts{Requests: h.Requests, Bad: math.Max(0, h.Requests-h.Below[i])}
}

// watched are the shares of slow requests whose edges are watched.
var watched = [...]float64{0.5, 0.1, 0.01, 0.001}

// Edges are the bounds to watch for a release, by their index: the first at or beyond the limit, where there is one,
// and those beyond which the primary's history has about 50, 10, 1 and 0.1 % of the requests. Latency is compared by
// the share of requests beyond each: nothing need be known of its distribution, and a slow tail counts as much as a
// slow middle. The first of them is that of the limit, or, without one, that of 1 %.
func Edges(history Histogram, limit float64) []int {
	var edges []int
	add := func(i int) {
		if i >= 0 && !slices.Contains(edges, i) {
			edges = append(edges, i)
		}
	}
	if limit > 0 {
		add(slices.IndexFunc(history.Bounds, func(b float64) bool { return b >= limit }))
	}
	if len(edges) == 0 {
		add(nearest(history, 0.01))
	}
	for _, share := range watched {
		add(nearest(history, share))
	}
	return edges
}

// nearest is the bound beyond which the share of requests is nearest to one, in logarithms; -1 where nearly all
// requests are beyond all bounds.
func nearest(h Histogram, share float64) int {
	best, least := -1, math.Inf(1)
	for i := range h.Bounds {
		beyond := (h.SlowerThan(i).Bad + 0.5) / (h.Requests + 1)
		if d := math.Abs(math.Log(beyond / share)); beyond < 0.95 && d < least {
			best, least = i, d
		}
	}
	return best
}
