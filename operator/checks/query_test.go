package checks

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/operator/release"
)

// What a check of a built-in metric asks. The source follows, where it is not the first.
const (
	theMetric       = "metric"
	whichSource     = "which"
	scrapesPrimary  = "scrapes of primary"
	scrapesCanary   = "scrapes of canary"
	requestsPrimary = "requests of primary"
	requestsCanary  = "requests of canary"
)

// kindOf tells what a query of Istio's metrics asks.
func kindOf(expr string) string {
	of := func(what string) string {
		primary := strings.Contains(expr, `"podinfo-primary"`)
		if primary {
			return what + " of primary"
		}
		return what + " of canary"
	}
	var what string
	switch {
	case strings.HasPrefix(expr, "0 * ("):
		return whichSource
	case strings.HasPrefix(expr, "max(count_over_time("):
		what = of("scrapes")
	case strings.HasPrefix(expr, "sum("):
		what = of("requests")
	default:
		what = theMetric
	}
	if !strings.Contains(expr, "destination_workload") {
		what += " by clients"
	}
	return what
}

// measured has what a Prometheus has for each kind of query: no data where there is
// nothing, no answer for -1.
func measured(values map[string]float64, asked *[]string) *fakeProvider {
	return &fakeProvider{answer: func(_ context.Context, q metrics.Query) (metrics.Sample, error) {
		what := kindOf(q.Expr)
		*asked = append(*asked, what)
		v, ok := values[what]
		switch {
		case !ok:
			return metrics.Sample{}, metrics.ErrNoData
		case v == -1:
			return metrics.Sample{}, &metrics.UnavailableError{Provider: "p", Err: context.DeadlineExceeded}
		}
		return metrics.Sample{Value: v}, nil
	}}
}

// Pain 13, and a service that looks idle as nobody measures it: what is asked beside a
// built-in metric before it may say something of a service without traffic.
func TestRequestsAreAsked(t *testing.T) {
	const clients = " by clients"
	idle := []string{theMetric, whichSource, scrapesPrimary, requestsPrimary}
	none := func(more map[string]float64) map[string]float64 {
		out := map[string]float64{whichSource: 1, scrapesPrimary: 4, requestsPrimary: 0}
		for k, v := range more {
			out[k] = v
		}
		return out
	}
	for name, tc := range map[string]struct {
		values      map[string]float64
		min         int32
		before      v1beta1.CheckStatus
		want        []string
		wantVerdict v1beta1.CheckVerdict
		wantPart    string
		wantSource  string // istio without
	}{
		"a value":                    {values: map[string]float64{theMetric: 100}, want: []string{theMetric}, wantVerdict: v1beta1.CheckPassed},
		"idle":                       {values: none(nil), want: idle, wantVerdict: v1beta1.CheckPassed, wantPart: "idle"},
		"idle, counted as NaN":       {values: none(map[string]float64{theMetric: math.NaN(), requestsPrimary: math.NaN()}), want: idle, wantVerdict: v1beta1.CheckPassed, wantPart: "idle"},
		"not measured":               {want: idle, wantVerdict: v1beta1.CheckUnmeasured, wantPart: `no series istio_requests_total{reporter=~"destination|waypoint",destination_workload_namespace="test",destination_workload="podinfo-primary"} of the last 1m; are the pods in the mesh`},
		"scraped once":               {values: none(map[string]float64{scrapesPrimary: 1}), want: idle, wantVerdict: v1beta1.CheckUnmeasured, wantPart: "at least twice the scrape interval"},
		"traffic stopped":            {values: none(nil), before: v1beta1.CheckStatus{HadValue: true}, want: idle, wantVerdict: v1beta1.CheckFailed, wantPart: "traffic stopped"},
		"scraping stopped":           {before: v1beta1.CheckStatus{HadValue: true}, want: idle, wantVerdict: v1beta1.CheckUnmeasured},
		"primary only":               {values: none(map[string]float64{requestsPrimary: 3}), want: idle, wantVerdict: v1beta1.CheckFailed, wantPart: "the primary had 3 requests"},
		"no answer about the source": {values: none(map[string]float64{whichSource: -1}), want: []string{theMetric, whichSource}, wantVerdict: v1beta1.CheckUnavailable},
		"no answer about scrapes":    {values: none(map[string]float64{scrapesPrimary: -1}), want: []string{theMetric, whichSource, scrapesPrimary}, wantVerdict: v1beta1.CheckUnavailable},
		"no answer about primary":    {values: none(map[string]float64{requestsPrimary: -1}), want: idle, wantVerdict: v1beta1.CheckUnavailable},
		"enough requests":            {values: map[string]float64{theMetric: 100, requestsCanary: 10}, min: 10, want: []string{requestsCanary, theMetric}, wantVerdict: v1beta1.CheckPassed},
		"too few requests":           {values: map[string]float64{theMetric: 100, requestsCanary: 9}, min: 10, want: []string{requestsCanary, theMetric}, wantVerdict: v1beta1.CheckWaiting},
		"no answer about the canary": {values: map[string]float64{theMetric: 100, requestsCanary: -1}, min: 10, want: []string{requestsCanary}, wantVerdict: v1beta1.CheckUnavailable},
		"clients' proxies count": {
			values: map[string]float64{whichSource: 2, theMetric + clients: 98}, want: []string{theMetric, whichSource, theMetric + clients},
			wantVerdict: v1beta1.CheckFailed, wantPart: "98%", wantSource: "istio-clients",
		},
		"clients' proxies count, as they did before": {
			values: map[string]float64{theMetric + clients: 100}, before: v1beta1.CheckStatus{Source: "istio-clients"},
			want: []string{theMetric + clients}, wantVerdict: v1beta1.CheckPassed, wantSource: "istio-clients",
		},
		"clients' proxies count no more": {
			values: map[string]float64{whichSource: 1, theMetric: 100}, before: v1beta1.CheckStatus{Source: "istio-clients"},
			want: []string{theMetric + clients, whichSource, theMetric}, wantVerdict: v1beta1.CheckPassed,
		},
		"clients' proxies count only the primary": {
			values:      map[string]float64{whichSource: 2, scrapesPrimary + clients: 4, requestsPrimary + clients: 9},
			want:        []string{theMetric, whichSource, theMetric + clients, scrapesPrimary + clients, requestsPrimary + clients},
			wantVerdict: v1beta1.CheckFailed, wantPart: "the primary had 9 requests", wantSource: "istio-clients",
		},
		"a source that there is not": {values: map[string]float64{whichSource: 7}, want: idle, wantVerdict: v1beta1.CheckUnmeasured},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			k := newTestChecker(measured(tc.values, &asked))
			c := newCanary("podinfo").with(func(s *v1beta1.CanarySpec) {
				s.Analysis.Metrics = []v1beta1.CanaryMetric{{Name: v1beta1.MetricRequestSuccessRate, MinRequests: tc.min, ThresholdRange: &v1beta1.CanaryThresholdRange{Min: new(99.0)}}}
			}).Canary
			tc.before.Name, tc.before.Window = v1beta1.MetricRequestSuccessRate, "1m"
			c.Status.Checks = []v1beta1.CheckStatus{tc.before}
			k.Run(t.Context(), c, id(1), nil)
			awaitFinished(t, k)
			got := round(k, c).Results[0]
			if d := cmp.Diff(tc.want, asked); d != "" {
				t.Error(d)
			}
			if got.Verdict != tc.wantVerdict || !strings.Contains(got.Message, tc.wantPart) {
				t.Errorf("%s: %s", got.Verdict, got.Message)
			}
			wantSource := tc.wantSource
			if wantSource == "" {
				wantSource = "istio"
			}
			if got.Source != wantSource {
				t.Errorf("source %q", got.Source)
			}
		})
	}
}

// Where the series of a version exist without requests, a canary without them is not idle.
func TestCanaryIsToBeMeasured(t *testing.T) {
	for name, tc := range map[string]struct {
		canary      float64 // how often it is scraped
		wantVerdict v1beta1.CheckVerdict
	}{
		"it is":     {4, v1beta1.CheckPassed},
		"it is not": {0, v1beta1.CheckUnmeasured},
	} {
		t.Run(name, func(t *testing.T) {
			k := newTestChecker(&fakeProvider{answer: func(_ context.Context, q metrics.Query) (metrics.Sample, error) {
				switch {
				case !strings.HasPrefix(q.Expr, "max(count_over_time("):
					return metrics.Sample{}, metrics.ErrNoData
				case strings.Contains(q.Expr, "podinfo-primary-"):
					return metrics.Sample{Value: 4}, nil
				default:
					return metrics.Sample{Value: tc.canary}, nil
				}
			}})
			c := newCanary("podinfo").with(func(s *v1beta1.CanarySpec) {
				s.Provider = "kubernetes"
				s.Analysis.Metrics = []v1beta1.CanaryMetric{{Name: v1beta1.MetricRequestSuccessRate}}
			}).Canary
			k.Run(t.Context(), c, id(1), nil)
			awaitFinished(t, k)
			if got := round(k, c).Results[0]; got.Verdict != tc.wantVerdict {
				t.Errorf("%s: %s", got.Verdict, got.Message)
			}
		})
	}
}

// Whatever routes, the mesh measures.
func TestSourceOfTheMesh(t *testing.T) {
	var asked string
	k := newTestChecker(&fakeProvider{answer: func(_ context.Context, q metrics.Query) (metrics.Sample, error) {
		asked = q.Expr
		return metrics.Sample{Value: 100}, nil
	}}, func(c *Config) { c.MeshProvider = "linkerd" })
	c := newCanary("podinfo").with(func(s *v1beta1.CanarySpec) {
		s.Provider = "gatewayapi:v1"
		s.Analysis.Metrics = []v1beta1.CanaryMetric{{Name: v1beta1.MetricRequestSuccessRate}}
	}).Canary
	k.Run(t.Context(), c, id(1), nil)
	awaitFinished(t, k)
	if got := round(k, c).Results[0]; got.Source != "linkerd" || !strings.Contains(asked, "response_total{") {
		t.Errorf("%q asks %s", got.Source, asked)
	}
}

// A query in the Canary has the variables of templates.
func TestInlineQuery(t *testing.T) {
	for name, tc := range map[string]struct {
		query, want string
		wantVerdict v1beta1.CheckVerdict
	}{
		"with variables": {
			`errors{ns="{{ namespace }}",app=~"{{ target }}-.*",svc="{{ service }}"}[{{ interval }}]`,
			`errors{ns="test",app=~"podinfo-.*",svc="podinfo"}[30s]`, v1beta1.CheckPassed,
		},
		"without":                 {"up", "up", v1beta1.CheckPassed},
		"a variable that is none": {"{{ cluster }}", "", v1beta1.CheckUnavailable},
		"of templateVariables":    {`x{r="{{ variables.route }}"}`, `x{r="checkout"}`, v1beta1.CheckPassed},
		"one that is not given":   {`x{r="{{ variables.other }}"}`, "", v1beta1.CheckUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			asked := ""
			k := newTestChecker(&fakeProvider{answer: func(_ context.Context, q metrics.Query) (metrics.Sample, error) {
				asked = q.Expr
				return metrics.Sample{Value: 1}, nil
			}})
			c := newCanary("podinfo").with(func(s *v1beta1.CanarySpec) {
				s.Analysis.Metrics = []v1beta1.CanaryMetric{{
					Name: "errors", Query: tc.query, Interval: "30s", ThresholdRange: &v1beta1.CanaryThresholdRange{Max: new(5.0)},
					TemplateVariables: map[string]string{"route": "checkout"},
				}}
			}).Canary
			k.Run(t.Context(), c, id(1), nil)
			awaitFinished(t, k)
			if got := round(k, c).Results[0]; asked != tc.want || got.Verdict != tc.wantVerdict {
				t.Errorf("%s asked: %s %s", asked, got.Verdict, got.Message)
			}
		})
	}
}

// A metric that says not what to ask is passed over, and not in silence.
func TestMetricThatIsNeverChecked(t *testing.T) {
	asked := 0
	k := newTestChecker(&fakeProvider{answer: func(context.Context, metrics.Query) (metrics.Sample, error) {
		asked++
		return metrics.Sample{Value: 1}, nil
	}})
	c := newCanary("podinfo").with(func(s *v1beta1.CanarySpec) {
		s.Analysis.Metrics = []v1beta1.CanaryMetric{{Name: "cpu-usage", ThresholdRange: &v1beta1.CanaryThresholdRange{Max: new(0.5)}}}
	}).Canary
	k.Run(t.Context(), c, id(1), nil)
	awaitFinished(t, k)
	if got := round(k, c).Results[0]; asked > 0 || got.Verdict != v1beta1.CheckPassed || got.Value != "" || !strings.Contains(got.Message, "cpu-usage: never checked") {
		t.Errorf("%d asked: %+v", asked, got)
	}
}

// TestPanicOfOneCheck has reading an answer fail as no answer should have it fail: the check has no result, and that is all.
func TestPanicOfOneCheck(t *testing.T) {
	k := newTestChecker(&fakeProvider{answer: func(context.Context, metrics.Query) (metrics.Sample, error) { panic("an answer of null") }})
	c := newCanary("podinfo").Canary
	k.Run(t.Context(), c, id(1), nil)
	awaitFinished(t, k)
	if got := round(k, c).Results[0]; got.Verdict != v1beta1.CheckUnavailable || !strings.Contains(got.Message, "an answer of null") {
		t.Errorf("%s: %s", got.Verdict, got.Message)
	}
}

// TestPanicOfOneHook is the same for the answer of a hook, which then is not success.
func TestPanicOfOneHook(t *testing.T) {
	k := newTestChecker(&fakeProvider{}, func(c *Config) {
		c.Hooks = func(context.Context, *v1beta1.Canary, v1beta1.CanaryWebhook, release.CheckID) (string, error) {
			panic("a hook of null")
		}
	})
	got := k.call(t.Context(), newCanary("podinfo").Canary, v1beta1.CanaryWebhook{Name: "gate"}, id(1))
	if got.Verdict != v1beta1.CheckFailed || !strings.Contains(got.Message, "a hook of null") {
		t.Errorf("%s: %s", got.Verdict, got.Message)
	}
}
