package builtin

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/metrics"
)

func TestExpr(t *testing.T) {
	const istioBase = `reporter="destination",destination_workload_namespace="test",destination_workload="podinfo"`
	for name, tc := range map[string]struct {
		provider, metric string
		vars             Vars
		want             string
		wantErr          func(error) bool
	}{
		"success rate": {
			provider: "istio", metric: "request-success-rate", vars: Vars{Namespace: "test", Target: "podinfo", Interval: "1m"},
			want: `(sum(rate(istio_requests_total{` + istioBase + `,response_code!~"5..",grpc_response_status!~"2|4|12|13|14|15"}[1m]))` +
				` or 0 * sum(rate(istio_requests_total{` + istioBase + `}[1m])))` +
				` / sum(rate(istio_requests_total{` + istioBase + `}[1m])) * 100`,
		},
		"duration": {
			provider: "istio", metric: "request-duration", vars: Vars{Namespace: "test", Target: "podinfo", Interval: "1m30s"},
			want: `histogram_quantile(0.99, sum by (le) (rate(istio_request_duration_milliseconds_bucket{` + istioBase + `}[1m30s])))`,
		},
		"labels are escaped": {
			provider: "istio", metric: "request-duration", vars: Vars{Namespace: `a"b`, Target: `c\d`, Interval: "1m"},
			want: `histogram_quantile(0.99, sum by (le) (rate(istio_request_duration_milliseconds_bucket{reporter="destination",` +
				`destination_workload_namespace="a\"b",destination_workload="c\\d"}[1m])))`,
		},
		"unknown metric":   {provider: "istio", metric: "latency", vars: Vars{Interval: "1m"}, wantErr: metrics.IsUnknownMetric},
		"unknown provider": {provider: "nginx", metric: "request-duration", vars: Vars{Interval: "1m"}, wantErr: metrics.IsUnknownMetric},
		"bad interval":     {provider: "istio", metric: "request-duration", vars: Vars{Interval: "1m]) or vector(0"}, wantErr: metrics.IsQueryError},
		"empty interval":   {provider: "istio", metric: "request-duration", wantErr: metrics.IsQueryError},
		"zero interval":    {provider: "istio", metric: "request-duration", vars: Vars{Interval: "0s"}, wantErr: metrics.IsQueryError},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Expr(tc.provider, tc.metric, tc.vars)
			if tc.wantErr != nil {
				if !tc.wantErr(err) {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	got, err := Requests("istio", Vars{Namespace: "test", Target: "podinfo-primary", Interval: "1m"})
	want := `sum(increase(istio_requests_total{reporter="destination",destination_workload_namespace="test",destination_workload="podinfo-primary"}[1m]))`
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	if _, err := Requests("nobody's", Vars{Interval: "1m"}); !metrics.IsUnknownMetric(err) {
		t.Errorf("unknown provider: %v", err)
	}
	if _, err := Requests("istio", Vars{Interval: "1m]) or vector(0"}); !metrics.IsQueryError(err) {
		t.Errorf("bad interval: %v", err)
	}
}

func TestNames(t *testing.T) {
	if d := cmp.Diff([]string{"request-duration", "request-success-rate"}, Names()); d != "" {
		t.Error(d)
	}
	if Known("latency") || !Known("request-duration") {
		t.Error("Known disagrees with Names")
	}
}
