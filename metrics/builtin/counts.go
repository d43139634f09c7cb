package builtin

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/compare"
)

// countLabel says which of the numbers of [Source.Counts] a series is: a version, with goodSuffix for those of its
// requests that succeeded.
const (
	countLabel = "count"
	goodSuffix = "-good"
)

// Counted is what was counted of the requests of one version.
type Counted struct {
	// Failures are all requests and those that failed, of the success rate.
	Failures compare.Counts
	// Durations are how long requests took in milliseconds, of the duration.
	Durations compare.Histogram
}

// Counts returns the query of how many requests versions had in the interval, and how many of them succeeded or how long
// they took. [Source.Read] reads its result, which is several series. The errors are those of [Source.Expr].
//
// Intervals that abut, each from where the last one ended, count every request once however often and whenever they are
// asked for: what a counter had at an end is the same for both. What a counter had counted since it was last scraped
// before its process ended is lost.
func (s Source) Counts(metric string, v Vars, versions ...Version) (string, error) {
	if _, err := s.Expr(metric, v); err != nil {
		return "", err
	}
	var out string
	add := func(expr, name string) {
		if out != "" {
			out += " or "
		}
		out += fmt.Sprintf(`label_replace(%s, %q, %q, "", "")`, expr, countLabel, name)
	}
	for _, of := range versions {
		if metric == v1beta1.MetricRequestDuration {
			add(fmt.Sprintf("sum by (le) (%s)", grown(s.buckets, s.version(of, v), v)), string(of))
			continue
		}
		add(fmt.Sprintf("sum(%s)", s.all(of, v)), string(of))
		add(fmt.Sprintf("sum(%s)", grown(s.counter, s.version(of, v)+","+s.success, v)), string(of)+goodSuffix)
	}
	return out, nil
}

// Read reads what the query of [Source.Counts] gave of a version. What is no number of requests counts as none.
func (s Source) Read(metric string, of Version, series []metrics.Series) Counted {
	if metric == v1beta1.MetricRequestDuration {
		return Counted{Durations: s.durations(of, series)}
	}
	var all, good float64
	for _, x := range series {
		switch x.Labels[countLabel] {
		case string(of):
			all = requests(x.Value)
		case string(of) + goodSuffix:
			good = requests(x.Value)
		}
	}
	return Counted{Failures: compare.Counts{Requests: all, Bad: math.Max(0, all-good)}}
}

// durations are the buckets of a version in the order of their bounds. Where scrapes came between the buckets of one
// histogram one has fewer requests than a lower one; that is made good.
func (s Source) durations(of Version, series []metrics.Series) compare.Histogram {
	type bucket struct{ bound, below float64 }
	var all []bucket
	for _, x := range series {
		bound, err := strconv.ParseFloat(x.Labels["le"], 64)
		if x.Labels[countLabel] == string(of) && err == nil {
			all = append(all, bucket{bound * float64(s.scale), requests(x.Value)})
		}
	}
	slices.SortFunc(all, func(a, b bucket) int { return cmp.Compare(a.bound, b.bound) })
	var out compare.Histogram
	for _, b := range all {
		out.Requests = math.Max(out.Requests, b.below)
		if !math.IsInf(b.bound, 1) {
			out.Bounds, out.Below = append(out.Bounds, b.bound), append(out.Below, out.Requests)
		}
	}
	return out
}

// requests is a number of them: not a number is none.
func requests(x float64) float64 {
	if !(x > 0) || math.IsInf(x, 1) {
		return 0
	}
	return x
}
