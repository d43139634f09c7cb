package builtin

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/metrics"
)

func TestExpr(t *testing.T) {
	const istioBase = `reporter="destination",destination_workload_namespace="test",destination_workload="podinfo"`
	const consulBase = `local_cluster=~"web|web-canary",envoy_cluster_name="local_app"`
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
		"success rate in Consul": {
			provider: "consul", metric: "request-success-rate", vars: Vars{Namespace: "test", Target: "podinfo", Service: "web", Interval: "1m"},
			want: `(sum(rate(envoy_cluster_upstream_rq_xx{` + consulBase + `,envoy_response_code_class!="5"}[1m]))` +
				` or 0 * sum(rate(envoy_cluster_upstream_rq_xx{` + consulBase + `}[1m])))` +
				` / sum(rate(envoy_cluster_upstream_rq_xx{` + consulBase + `}[1m])) * 100`,
		},
		"duration in Consul": {
			provider: "consul", metric: "request-duration", vars: Vars{Namespace: "test", Target: "podinfo", Service: "web", Interval: "30s"},
			want: `histogram_quantile(0.99, sum by (le) (rate(envoy_cluster_upstream_rq_time_bucket{` + consulBase + `}[30s])))`,
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

func TestNames(t *testing.T) {
	if d := cmp.Diff([]string{"request-duration", "request-success-rate"}, Names()); d != "" {
		t.Error(d)
	}
	if Known("latency") || !Known("request-duration") {
		t.Error("Known disagrees with Names")
	}
}
