package builtin

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/metrics"
)

func TestExpr(t *testing.T) {
	const consulBase = `local_cluster=~"web|web-canary",envoy_cluster_name="local_app"`
	const istioBase = `reporter=~"destination|waypoint",destination_workload_namespace="test",destination_workload="podinfo"`
	const linkerdBase = `direction="inbound",namespace="test",deployment="podinfo"`
	const backend = `backend_namespace="test",backend_name="app-canary"`
	const pods = `kubernetes_namespace="test",kubernetes_pod_name=~"pod\\.info-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)"`
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
			want: `histogram_quantile(0.99, sum by (le) (rate(istio_request_duration_milliseconds_bucket{reporter=~"destination|waypoint",` +
				`destination_workload_namespace="a\"b",destination_workload="c\\d"}[1m])))`,
		},
		"behind a Gateway": {
			provider: "gatewayapi:v1", metric: "request-duration", vars: Vars{Namespace: "test", Target: "podinfo", Interval: "1m"},
			want: `histogram_quantile(0.99, sum by (le) (rate(istio_request_duration_milliseconds_bucket{` + istioBase + `}[1m])))`,
		},
		"Linkerd, success rate": {
			provider: "linkerd", metric: "request-success-rate", vars: Vars{Namespace: "test", Target: "podinfo", Kind: "Deployment", Service: "app", Interval: "1m"},
			want: `(sum(rate(response_total{` + linkerdBase + `,classification!="failure"}[1m])) or 0 * sum(rate(response_total{` + linkerdBase + `}[1m]))) / sum(rate(response_total{` + linkerdBase + `}[1m])) * 100` +
				` or (sum(rate(outbound_http_route_backend_response_statuses_total{` + backend + `,http_status!~"5..",error=""}[1m])) or 0 * sum(rate(outbound_http_route_backend_response_statuses_total{` + backend + `}[1m]))) / sum(rate(outbound_http_route_backend_response_statuses_total{` + backend + `}[1m])) * 100` +
				` or (sum(rate(outbound_grpc_route_backend_response_statuses_total{` + backend + `,grpc_status!~"UNKNOWN|DEADLINE_EXCEEDED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS",error=""}[1m])) or 0 * sum(rate(outbound_grpc_route_backend_response_statuses_total{` + backend + `}[1m]))) / sum(rate(outbound_grpc_route_backend_response_statuses_total{` + backend + `}[1m])) * 100`,
		},
		"Linkerd, duration": {
			provider: "linkerd", metric: "request-duration", vars: Vars{Namespace: "test", Target: "podinfo", Interval: "1m"},
			want: `histogram_quantile(0.99, sum by (le) (rate(response_latency_ms_bucket{` + linkerdBase + `}[1m])))`,
		},
		"Linkerd, StatefulSet": {
			provider: "linkerd", metric: "request-duration", vars: Vars{Namespace: "test", Target: "podinfo", Kind: "StatefulSet", Interval: "1m"},
			want: `histogram_quantile(0.99, sum by (le) (rate(response_latency_ms_bucket{direction="inbound",namespace="test",statefulset="podinfo"}[1m])))`,
		},
		"Linkerd, DaemonSet": {
			provider: "linkerd", metric: "request-duration", vars: Vars{Namespace: "test", Target: "podinfo", Kind: "DaemonSet", Interval: "1m"},
			want: `histogram_quantile(0.99, sum by (le) (rate(response_latency_ms_bucket{direction="inbound",namespace="test",daemonset="podinfo"}[1m])))`,
		},
		"no mesh, success rate": {
			provider: "kubernetes", metric: "request-success-rate", vars: Vars{Namespace: "test", Target: "pod.info", Kind: "Deployment", Interval: "1m"},
			want: `(sum(rate(http_request_duration_seconds_count{` + pods + `,status!~"5.*"}[1m])) or 0 * sum(rate(http_request_duration_seconds_count{` + pods + `}[1m]))) / sum(rate(http_request_duration_seconds_count{` + pods + `}[1m])) * 100`,
		},
		"no mesh, duration": {
			provider: "kubernetes", metric: "request-duration", vars: Vars{Namespace: "test", Target: "db", Kind: "StatefulSet", Interval: "1m"},
			want: `1000 * histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{kubernetes_namespace="test",kubernetes_pod_name=~"db-[0-9]+"}[1m])))`,
		},
		"no mesh, DaemonSet": {
			provider: "kubernetes", metric: "request-duration", vars: Vars{Namespace: "test", Target: "agent", Kind: "DaemonSet", Interval: "1m"},
			want: `1000 * histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{kubernetes_namespace="test",kubernetes_pod_name=~"agent-[0-9a-z]{5}"}[1m])))`,
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
	canary := Vars{Namespace: "test", Target: "podinfo", Service: "web", Interval: "1m"}
	primary := Vars{Namespace: "test", Target: "podinfo-primary", Service: "web", Interval: "1m"}
	for name, tc := range map[string]struct {
		provider string
		of       Version
		vars     Vars
		want     string
	}{
		"istio": {"istio", Primary, primary, `sum(increase(istio_requests_total{reporter=~"destination|waypoint",destination_workload_namespace="test",destination_workload="podinfo-primary"}[1m]))`},
		"linkerd": {
			"linkerd", Primary, primary, `sum(increase(response_total{direction="inbound",namespace="test",deployment="podinfo-primary"}[1m]))` +
				` or sum(increase(outbound_http_route_backend_response_statuses_total{backend_namespace="test",backend_name="web-primary"}[1m]))` +
				` or sum(increase(outbound_grpc_route_backend_response_statuses_total{backend_namespace="test",backend_name="web-primary"}[1m]))`,
		},
		"linkerd, canary": {
			"linkerd", Canary, canary, `sum(increase(response_total{direction="inbound",namespace="test",deployment="podinfo"}[1m]))` +
				` or sum(increase(outbound_http_route_backend_response_statuses_total{backend_namespace="test",backend_name="web-canary"}[1m]))` +
				` or sum(increase(outbound_grpc_route_backend_response_statuses_total{backend_namespace="test",backend_name="web-canary"}[1m]))`,
		},
		"consul":         {"consul", Primary, primary, `sum(increase(envoy_cluster_upstream_rq_xx{local_cluster="web-primary",envoy_cluster_name="local_app"}[1m]))`},
		"consul, canary": {"consul", Canary, canary, `sum(increase(envoy_cluster_upstream_rq_xx{local_cluster=~"web|web-canary",envoy_cluster_name="local_app"}[1m]))`},
		"kubernetes": {
			"kubernetes", Primary, primary,
			`sum(increase(http_request_duration_seconds_count{kubernetes_namespace="test",kubernetes_pod_name=~"podinfo-primary-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)"}[1m]))`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Requests(tc.provider, tc.of, tc.vars)
			if d := cmp.Diff(tc.want, got); d != "" || err != nil {
				t.Errorf("%v\n%s", err, d)
			}
		})
	}
	for provider := range table() {
		if _, err := Requests(provider, Primary, primary); err != nil {
			t.Errorf("%s: %v", provider, err)
		}
	}
	if _, err := Requests("nobody's", Canary, canary); !metrics.IsUnknownMetric(err) {
		t.Errorf("unknown provider: %v", err)
	}
	if _, err := Requests("istio", Canary, Vars{Interval: "1m]) or vector(0"}); !metrics.IsQueryError(err) {
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
