package builtin

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

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
			add(fmt.Sprintf("sum by (le) (%s)", grown(s.buckets, s.timedOf(of, v), v)), string(of))
			continue
		}
		add(fmt.Sprintf("sum(%s)", s.all(of, v)), string(of))
		add(fmt.Sprintf("sum(%s)", grown(s.counter, s.version(of, v)+","+s.success, v)), string(of)+goodSuffix)
	}
	return out, nil
}

// NativeBounds are the durations in milliseconds that a native histogram, which has no bounds of its own, is read at where
// nothing is known yet of those that matter.
func NativeBounds() []float64 {
	return []float64{1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000}
}

// NativeCounts is [Source.Counts] where the histogram that counts is a native one: its series has the name of the classic ones
// without _bucket and _count. The buckets of the answer are those of bounds, in milliseconds; between two bounds of the
// histogram itself it is interpolated. Empty where no histogram counts.
func (s Source) NativeCounts(metric string, v Vars, bounds []float64, versions ...Version) (string, error) {
	if _, err := s.Expr(metric, v); err != nil {
		return "", err
	}
	histogram := s.nativeCounter()
	if metric == v1beta1.MetricRequestDuration {
		histogram = strings.TrimSuffix(s.buckets, "_bucket")
	}
	if histogram == "" {
		return "", nil
	}
	var all []string
	for _, of := range versions {
		add := func(matchers, bound, le, as string) {
			expr := "sum(" + grownNative(histogram+"{"+strings.TrimSuffix(matchers, ",")+"}", bound, v) + ")"
			if le != "" {
				expr = fmt.Sprintf(`label_replace(%s, "le", %q, "", "")`, expr, le)
			}
			all = append(all, fmt.Sprintf(`label_replace(%s, %q, %q, "", "")`, expr, countLabel, as))
		}
		if metric != v1beta1.MetricRequestDuration {
			add(s.version(of, v), "", "", string(of))
			add(s.version(of, v)+","+s.success, "", "", string(of)+goodSuffix)
			continue
		}
		for _, bound := range bounds {
			le := strconv.FormatFloat(bound/float64(s.scale), 'g', -1, 64)
			add(s.timedOf(of, v), le, le, string(of))
		}
		add(s.timedOf(of, v), "", "+Inf", string(of))
	}
	return strings.Join(all, " or "), nil
}

// nativeCounter is the histogram of which the source's counter is a part, empty where the counter is none's.
func (s Source) nativeCounter() string {
	name, ok := strings.CutSuffix(s.counter, "_count")
	if !ok {
		return ""
	}
	return name
}

// grownNative is grown for the requests in native histograms that took at most bound, all without one. Histograms are made numbers
// before they are subtracted: Prometheus gives no difference of one that has begun anew to the next. One that has fewer
// requests than before has begun anew, and of one without any no share is known.
func grownNative(series, bound string, v Vars) string {
	now := fmt.Sprintf("last_over_time(%s[%s]%s)", series, v.Interval, v.pin())
	before := fmt.Sprintf("last_over_time(%s[%s]%s offset %s)", series, cmp.Or(v.Before, "5m"), v.pin(), v.Interval)
	below := func(histogram string) string {
		if bound == "" {
			return fmt.Sprintf("histogram_count(%s)", histogram)
		}
		return fmt.Sprintf("(histogram_fraction(-Inf, %s, %s) * histogram_count(%s) >= 0)", bound, histogram, histogram)
	}
	return fmt.Sprintf("((%s - %s) and (histogram_count(%s) >= histogram_count(%s))) or %s", below(now), below(before), now, before, below(now))
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
