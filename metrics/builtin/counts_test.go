package builtin

import (
	"strings"
	"testing"

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
