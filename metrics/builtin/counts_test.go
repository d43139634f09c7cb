package builtin

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/compare"
)

func TestCounts(t *testing.T) {
	v := podinfo.with(func(v *Vars) { v.Interval, v.Before = "15s", "1h" })
	for _, s := range []Source{istio, istioClients, linkerd, linkerdHTTPRoutes, consul, nginx, traefik, contour, envoyGateway, application} {
		t.Run(s.Name, func(t *testing.T) {
			for _, metric := range Names() {
				got, err := s.Counts(metric, v, Canary, Primary)
				if err != nil {
					t.Fatal(err)
				}
				names := []string{"canary", "canary-good", "primary", "primary-good"}
				if metric == "request-duration" {
					names = []string{"canary", "primary"}
				}
				for _, name := range names {
					if !strings.Contains(got, `"count", "`+name+`", "", "")`) {
						t.Errorf("%s: no %s in %s", metric, name, got)
					}
				}
				if strings.Contains(got, "[5m]") || !strings.Contains(got, "[1h] offset 15s") {
					t.Errorf("%s: it looks back otherwise than asked: %s", metric, got)
				}
				if !strings.Contains(got, s.version(Canary, v)) || !strings.Contains(got, s.version(Primary, v)) {
					t.Errorf("%s: not of both versions: %s", metric, got)
				}
				one, err := s.Counts(metric, v, Primary)
				if err != nil || strings.Contains(one, `"canary"`) {
					t.Errorf("%s: of the primary alone %v %s", metric, err, one)
				}
			}
			if s.lost != nil {
				got, _ := s.Counts("request-success-rate", v, Canary)
				if !strings.Contains(got, s.lost(Canary, v)) {
					t.Errorf("what never arrived is not counted: %s", got)
				}
			}
		})
	}
	if _, err := istio.Counts("latency", v, Canary); !metrics.IsUnknownMetric(err) {
		t.Errorf("an unknown metric: %v", err)
	}
	if _, err := istio.Counts("request-success-rate", podinfo.with(func(v *Vars) { v.Interval = "soon" }), Canary); !metrics.IsQueryError(err) {
		t.Errorf("an interval that can't be read: %v", err)
	}
}

// TestPinned: a query that is about a moment names it at each of its selectors.
func TestPinned(t *testing.T) {
	at := time.UnixMilli(1764194400123)
	v := podinfo.with(func(v *Vars) { v.At = at })
	for _, metric := range Names() {
		got, err := application.Counts(metric, v, Canary, Primary)
		if err != nil {
			t.Fatal(err)
		}
		native, err := application.NativeCounts(metric, v, []float64{100}, Canary)
		if err != nil {
			t.Fatal(err)
		}
		for _, expr := range []string{got, native} {
			if n := strings.Count(expr, "]"); n == 0 || strings.Count(expr, "] @ 1764194400.123") != strings.Count(expr, "m]") {
				t.Errorf("%s: %s", metric, expr)
			}
		}
	}
}

// TestTimed: of a histogram that has more than requests only these are counted.
func TestTimed(t *testing.T) {
	got, err := apisix.Counts("request-duration", podinfo, Canary)
	if err != nil || !strings.Contains(got, `,type="request"}`) {
		t.Errorf("%v: %s", err, got)
	}
}

// TestNativeCounts: what is counted are the series without _bucket and _count, in the source's unit, where it is a histogram that
// counts.
func TestNativeCounts(t *testing.T) {
	got, err := application.NativeCounts("request-duration", podinfo, []float64{2.5, 500}, Canary, Primary)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"histogram_fraction(-Inf, 0.0025, last_over_time(", "histogram_fraction(-Inf, 0.5, last_over_time(", `"le", "0.5", "", ""), "count", "primary", "", "")`, `"le", "+Inf"`,
		"http_request_duration_seconds{", application.version(Primary, podinfo),
	} {
		if !strings.Contains(got, want) {
			t.Errorf("there is no %s in %s", want, got)
		}
	}
	if strings.Contains(got, "_bucket") {
		t.Errorf("it asks for classic buckets: %s", got)
	}
	got, err = application.NativeCounts("request-success-rate", podinfo, nil, Canary)
	if err != nil || !strings.Contains(got, "histogram_count(last_over_time(") || !strings.Contains(got, application.success) || strings.Contains(got, "seconds_count") {
		t.Errorf("requests: %v: %s", err, got)
	}
	if got, err := istio.NativeCounts("request-success-rate", podinfo, nil, Canary); got != "" || err != nil {
		t.Errorf("of a counter %q, %v", got, err)
	}
	none := application
	none.buckets = ""
	if _, err := none.NativeCounts("request-duration", podinfo, []float64{1}, Canary); !metrics.IsUnknownMetric(err) {
		t.Errorf("without a histogram: %v", err)
	}
}

func TestRead(t *testing.T) {
	series := func(value float64, labels ...string) metrics.Series {
		out := metrics.Series{Value: value, Labels: map[string]string{}}
		for i := 0; i < len(labels); i += 2 {
			out.Labels[labels[i]] = labels[i+1]
		}
		return out
	}
	failures := []metrics.Series{
		series(100, "count", "canary"), series(97, "count", "canary-good"),
		series(900, "count", "primary"),
	}
	for of, want := range map[Version]compare.Counts{Canary: {Requests: 100, Bad: 3}, Primary: {Requests: 900, Bad: 900}} {
		if got := istio.Read("request-success-rate", of, failures).Failures; got != want {
			t.Errorf("%s: %+v, want %+v", of, got, want)
		}
	}
	if got := istio.Read("request-success-rate", Canary, nil).Failures; got != (compare.Counts{}) {
		t.Errorf("of nothing %+v", got)
	}
	durations := []metrics.Series{
		series(50, "count", "canary", "le", "+Inf"),
		series(40, "count", "canary", "le", "0.25"),
		series(30, "count", "canary", "le", "0.1"),
		series(39, "count", "canary", "le", "0.5"), // scraped a moment before the others
		series(9, "count", "primary", "le", "+Inf"),
		series(9, "count", "canary", "le", "none"),
	}
	want := compare.Histogram{Bounds: []float64{100, 250, 500}, Below: []float64{30, 40, 40}, Requests: 50}
	if d := cmp.Diff(want, nginx.Read("request-duration", Canary, durations).Durations); d != "" {
		t.Error(d)
	}
}
