package builtin

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/metrics"
)

// grew is what a counter is asked for.
func grew(counter, matchers, interval string) string {
	series := counter + "{" + matchers + "}"
	return fmt.Sprintf("(last_over_time(%s[%s]) - last_over_time(%s[5m] offset %s)) >= 0 or last_over_time(%s[%s])", series, interval, series, interval, series, interval)
}

var podinfo = Vars{Namespace: "test", Target: "podinfo", Primary: "podinfo-primary", Kind: "Deployment", Service: "app", Ingress: "web", Route: "edge", Interval: "1m"}

func (v Vars) with(change func(*Vars)) Vars {
	change(&v)
	return v
}

func TestSuccessRate(t *testing.T) {
	// What each source counts of the canary, and of that what succeeded.
	const pods = `podinfo-[bcdfghjklmnpqrstvwxz2456789]{6,10}-[bcdfghjklmnpqrstvwxz2456789]{5}`
	const grpcNames = "UNKNOWN|DEADLINE_EXCEEDED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS"
	for _, tc := range []struct {
		source                    Source
		counter, canary, good     string
		lost                      string
		buckets                   string
		scale                     string
		primary                   string
		vars                      Vars
		timed                     string
		alivePrimary, aliveCanary string
	}{
		{
			source: istio, counter: "istio_requests_total", buckets: "istio_request_duration_milliseconds_bucket", vars: podinfo,
			canary:  `reporter=~"destination|waypoint",destination_workload_namespace="test",destination_workload="podinfo"`,
			primary: `reporter=~"destination|waypoint",destination_workload_namespace="test",destination_workload="podinfo-primary"`,
			good:    `response_code!~"0|5..",grpc_response_status!~"2|4|12|13|14|15"`,
			lost:    `reporter="source",destination_service_namespace="test",destination_service_name="app-%s",response_flags=~"(.+,)?(UH|UF|UO|UC)(,.+)?"`,
		},
		{
			source: istioClients, counter: "istio_requests_total", buckets: "istio_request_duration_milliseconds_bucket", vars: podinfo,
			canary:  `reporter="source",destination_service_namespace="test",destination_service_name="app-canary"`,
			primary: `reporter="source",destination_service_namespace="test",destination_service_name="app-primary"`,
			good:    `response_code!~"0|5..",grpc_response_status!~"2|4|12|13|14|15"`,
		},
		{
			source: consul, counter: "envoy_cluster_upstream_rq_xx", buckets: "envoy_cluster_upstream_rq_time_bucket", vars: podinfo,
			canary:       `local_cluster=~"app|app-canary",envoy_cluster_name="local_app"`,
			primary:      `local_cluster="app-primary",envoy_cluster_name="local_app"`,
			good:         `envoy_response_code_class!="5"`,
			alivePrimary: `envoy_cluster_membership_total{local_cluster="app-primary",envoy_cluster_name="local_app"}`,
			aliveCanary:  `envoy_cluster_membership_total{local_cluster=~"app|app-canary",envoy_cluster_name="local_app"}`,
		},
		{
			source: linkerd, counter: "response_total", buckets: "response_latency_ms_bucket", vars: podinfo,
			canary:       `direction="inbound",namespace="test",deployment="podinfo",route_name!="probe"`,
			primary:      `direction="inbound",namespace="test",deployment="podinfo-primary",route_name!="probe"`,
			good:         `classification!="failure"`,
			alivePrimary: `response_total{direction="inbound",namespace="test",deployment="podinfo-primary"}`,
			aliveCanary:  `response_total{direction="inbound",namespace="test",deployment="podinfo"}`,
		},
		{
			source: linkerd, counter: "response_total", buckets: "response_latency_ms_bucket", vars: podinfo.with(func(v *Vars) { v.Kind = "StatefulSet" }),
			canary:       `direction="inbound",namespace="test",statefulset="podinfo",route_name!="probe"`,
			primary:      `direction="inbound",namespace="test",statefulset="podinfo-primary",route_name!="probe"`,
			good:         `classification!="failure"`,
			alivePrimary: `response_total{direction="inbound",namespace="test",statefulset="podinfo-primary"}`,
			aliveCanary:  `response_total{direction="inbound",namespace="test",statefulset="podinfo"}`,
		},
		{
			source: linkerdHTTPRoutes, counter: "outbound_http_route_backend_response_statuses_total", vars: podinfo,
			buckets: "outbound_http_route_backend_response_duration_seconds_bucket", scale: "1000 * ",
			canary:  `backend_namespace="test",backend_name="app-canary"`,
			primary: `backend_namespace="test",backend_name="app-primary"`,
			good:    `http_status!~"5..",error=""`,
		},
		{
			source: linkerdGRPCRoutes, counter: "outbound_grpc_route_backend_response_statuses_total", vars: podinfo,
			buckets: "outbound_grpc_route_backend_response_duration_seconds_bucket", scale: "1000 * ",
			canary:  `backend_namespace="test",backend_name="app-canary"`,
			primary: `backend_namespace="test",backend_name="app-primary"`,
			good:    `grpc_status!~"` + grpcNames + `",error=""`,
		},
		{
			source: application, counter: "http_request_duration_seconds_count", vars: podinfo,
			buckets: "http_request_duration_seconds_bucket", scale: "1000 * ",
			canary:  `kubernetes_namespace="test",kubernetes_pod_name=~"` + pods + `"`,
			primary: `kubernetes_namespace="test",kubernetes_pod_name=~"` + strings.Replace(pods, "podinfo", "podinfo-primary", 1) + `"`,
			good:    `status!~"5.*"`,
		},
		{
			source: applicationPods, counter: "http_request_duration_seconds_count", vars: podinfo,
			buckets: "http_request_duration_seconds_bucket", scale: "1000 * ",
			canary:  `namespace="test",pod=~"` + pods + `"`,
			primary: `namespace="test",pod=~"` + strings.Replace(pods, "podinfo", "podinfo-primary", 1) + `"`,
			good:    `status!~"5.*"`,
		},
		{
			source: traefik, counter: "traefik_service_requests_total", vars: podinfo,
			buckets: "traefik_service_request_duration_seconds_bucket", scale: "1000 * ",
			canary:  `service=~"(.+-svc-)?test-app-canary-[0-9a-zA-Z-]+@kubernetes(gateway|crd)"`,
			primary: `service=~"(.+-svc-)?test-app-primary-[0-9a-zA-Z-]+@kubernetes(gateway|crd)"`,
			good:    `code!~"5.."`,
		},
		{
			source: nginx, counter: "nginx_ingress_controller_requests", vars: podinfo,
			buckets: "nginx_ingress_controller_request_duration_seconds_bucket", scale: "1000 * ",
			canary:  `namespace="test",ingress="web",canary=~"test-app-canary-.+"`,
			primary: `namespace="test",ingress="web",canary=""`,
			good:    `status!~"5.."`,
		},
		{
			source: nginxExported, counter: "nginx_ingress_controller_requests", vars: podinfo,
			buckets: "nginx_ingress_controller_request_duration_seconds_bucket", scale: "1000 * ",
			canary:  `exported_namespace="test",ingress="web",canary=~"test-app-canary-.+"`,
			primary: `exported_namespace="test",ingress="web",canary=""`,
			good:    `status!~"5.."`,
		},
		{
			source: contour, counter: "envoy_cluster_upstream_rq", buckets: "envoy_cluster_upstream_rq_time_bucket",
			vars:    podinfo.with(func(v *Vars) { v.Service = "a.b" }),
			canary:  `envoy_cluster_name=~"test_a\\.b-canary_[0-9a-zA-Z-]+"`,
			primary: `envoy_cluster_name=~"test_a\\.b-primary_[0-9a-zA-Z-]+"`,
			good:    `envoy_response_code!~"5.."`,
		},
		{
			source: apisix, counter: "apisix_http_status", buckets: "apisix_http_latency_bucket", vars: podinfo, timed: `,type="request"`,
			canary:  `route=~"test_edge-app-canary_.+"`,
			primary: `route=~"test_edge-app-canary_.+"`,
			good:    `code!~"5.."`,
		},
		{
			source: kuma, counter: "envoy_cluster_upstream_rq", buckets: "envoy_cluster_upstream_rq_time_bucket", vars: podinfo,
			canary:       `service=~"app-canary_test_svc_[0-9a-zA-Z-]+",envoy_cluster_name=~"localhost_.+"`,
			primary:      `service=~"app-primary_test_svc_[0-9a-zA-Z-]+",envoy_cluster_name=~"localhost_.+"`,
			good:         `envoy_response_code!~"5.."`,
			alivePrimary: `envoy_cluster_membership_total{service=~"app-primary_test_svc_[0-9a-zA-Z-]+",envoy_cluster_name=~"localhost_.+"}`,
			aliveCanary:  `envoy_cluster_membership_total{service=~"app-canary_test_svc_[0-9a-zA-Z-]+",envoy_cluster_name=~"localhost_.+"}`,
		},
		{
			source: kumaTags, counter: "envoy_cluster_upstream_rq", buckets: "envoy_cluster_upstream_rq_time_bucket", vars: podinfo,
			canary:       `kuma_io_service=~"app-canary_test_svc_[0-9a-zA-Z-]+",envoy_cluster_name=~"localhost_.+"`,
			primary:      `kuma_io_service=~"app-primary_test_svc_[0-9a-zA-Z-]+",envoy_cluster_name=~"localhost_.+"`,
			good:         `envoy_response_code!~"5.."`,
			alivePrimary: `envoy_cluster_membership_total{kuma_io_service=~"app-primary_test_svc_[0-9a-zA-Z-]+",envoy_cluster_name=~"localhost_.+"}`,
			aliveCanary:  `envoy_cluster_membership_total{kuma_io_service=~"app-canary_test_svc_[0-9a-zA-Z-]+",envoy_cluster_name=~"localhost_.+"}`,
		},
		{
			source: knative, counter: "envoy_cluster_upstream_rq", buckets: "envoy_cluster_upstream_rq_time_bucket",
			vars:    podinfo.with(func(v *Vars) { v.CanaryRevision, v.PrimaryRevision = "podinfo-00002", "podinfo-00001" }),
			canary:  `envoy_cluster_name="test/podinfo-00002"`,
			primary: `envoy_cluster_name="test/podinfo-00001"`,
			good:    `envoy_response_code!~"5.."`,
		},
		{
			source: skipper, counter: "skipper_response_duration_seconds_count", buckets: "skipper_serve_route_duration_seconds_bucket", scale: "1000 * ",
			vars:    podinfo.with(func(v *Vars) { v.Namespace, v.Ingress = "te-st", "we.b" }),
			canary:  `route=~"kube(ew)?_te_st__we_b_canary__.*__app_canary(_[0-9]+)?"`,
			primary: `route=~"kube(ew)?_te_st__we_b_canary__.*__app_primary(_[0-9]+)?"`,
			good:    `code!~"5.."`,
		},
		{
			source: envoyGateway, counter: "envoy_cluster_upstream_rq", buckets: "envoy_cluster_upstream_rq_time_bucket", vars: podinfo,
			canary:  `envoy_cluster_name=~"service/test/app-canary/[0-9]+(/.+)?"`,
			primary: `envoy_cluster_name=~"service/test/app-primary/[0-9]+(/.+)?"`,
			good:    `envoy_response_code!~"5.."`,
		},
	} {
		t.Run(tc.source.Name+"/"+tc.vars.Kind, func(t *testing.T) {
			all := grew(tc.counter, tc.canary, "1m")
			allOfPrimary := grew(tc.counter, tc.primary, "1m")
			if tc.lost != "" {
				all += " or " + grew(tc.counter, fmt.Sprintf(tc.lost, "canary"), "1m")
				allOfPrimary += " or " + grew(tc.counter, fmt.Sprintf(tc.lost, "primary"), "1m")
			}
			scrapes := func(of, alive string) string {
				out := "max(count_over_time(" + tc.counter + "{" + of + "}[1m]))"
				if alive != "" {
					out += " or max(count_over_time(" + alive + "[1m]))"
				}
				return out
			}
			query := func(expr string, err error) string {
				if err != nil {
					t.Error(err)
				}
				return expr
			}
			for what, pair := range map[string][2]string{
				"success rate":         {query(tc.source.Expr("request-success-rate", tc.vars)), "(sum(" + grew(tc.counter, tc.canary+","+tc.good, "1m") + ") or vector(0)) / sum(" + all + ") * 100"},
				"duration":             {query(tc.source.Expr("request-duration", tc.vars)), tc.scale + "histogram_quantile(0.99, sum by (le) (" + grew(tc.buckets, tc.canary+tc.timed, "1m") + "))"},
				"requests, canary":     {query(tc.source.Requests(Canary, tc.vars)), "sum(" + all + ")"},
				"requests, primary":    {query(tc.source.Requests(Primary, tc.vars)), "sum(" + allOfPrimary + ")"},
				"scrapes, primary":     {query(tc.source.Scrapes(Primary, tc.vars)), scrapes(tc.primary, tc.alivePrimary)},
				"scrapes, canary":      {query(tc.source.Scrapes(Canary, tc.vars)), scrapes(tc.canary, tc.aliveCanary)},
				"series, for a person": {tc.source.Series(Primary, tc.vars), tc.counter + "{" + tc.primary + "}"},
			} {
				if d := cmp.Diff(pair[1], pair[0]); d != "" {
					t.Errorf("%s\n%s", what, d)
				}
			}
		})
	}
}

func TestRefusedQueries(t *testing.T) {
	for name, tc := range map[string]struct {
		source  Source
		metric  string
		vars    Vars
		wantErr func(error) bool
	}{
		"unknown metric":              {istio, "latency", podinfo, metrics.IsUnknownMetric},
		"bad interval":                {istio, "request-duration", podinfo.with(func(v *Vars) { v.Interval = "1m]) or vector(0" }), metrics.IsQueryError},
		"empty interval":              {istio, "request-duration", podinfo.with(func(v *Vars) { v.Interval = "" }), metrics.IsQueryError},
		"zero interval":               {istio, "request-duration", podinfo.with(func(v *Vars) { v.Interval = "0s" }), metrics.IsQueryError},
		"pods of both named alike":    {application, "request-duration", podinfo.with(func(v *Vars) { v.Target = strings.Repeat("a", 55) }), metrics.IsQueryError},
		"pods of a Service, by Istio": {istio, "request-duration", podinfo.with(func(v *Vars) { v.Kind = "Service" }), metrics.IsQueryError},
		"pods of a Service":           {application, "request-duration", podinfo.with(func(v *Vars) { v.Kind = "Service" }), metrics.IsQueryError},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := tc.source.Expr(tc.metric, tc.vars); !tc.wantErr(err) {
				t.Errorf("got %q, %v", got, err)
			}
			if tc.metric == "latency" {
				return
			}
			if got, err := tc.source.Requests(Primary, tc.vars); !tc.wantErr(err) {
				t.Errorf("requests: got %q, %v", got, err)
			}
			if got, err := tc.source.Scrapes(Primary, tc.vars); !tc.wantErr(err) {
				t.Errorf("scrapes: got %q, %v", got, err)
			}
		})
	}
	if got, err := Which([]Source{istio}, podinfo.with(func(v *Vars) { v.Interval = "1m]" })); !metrics.IsQueryError(err) {
		t.Errorf("which: got %q, %v", got, err)
	}
}

func TestSources(t *testing.T) {
	const gateway = "application istio istio-clients traefik traefik-exported contour envoy-gateway linkerd linkerd-http-routes linkerd-grpc-routes application-pods"
	for name, tc := range map[string]struct{ provider, mesh, want string }{
		"Istio":                          {"istio", "istio", "istio istio-clients"},
		"Consul beside Linkerd":          {"consul", "linkerd", "consul"},
		"Linkerd":                        {"linkerd", "istio", "linkerd linkerd-http-routes linkerd-grpc-routes"},
		"a Gateway":                      {"gatewayapi:v1", "gatewayapi:v1", gateway},
		"a Gateway, older routes":        {"gatewayapi:v1beta1", "istio", gateway},
		"a Gateway, any":                 {"gatewayapi", "", gateway},
		"a Gateway, measured by Linkerd": {"gatewayapi:v1", "linkerd", "linkerd linkerd-http-routes linkerd-grpc-routes application istio istio-clients traefik traefik-exported contour envoy-gateway application-pods"},
		"Traefik":                        {"traefik", "istio", "traefik traefik-exported istio istio-clients"},
		"ingress-nginx":                  {"nginx", "nginx", "nginx nginx-exported"},
		"APISIX":                         {"apisix", "apisix", "apisix"},
		"Knative":                        {"knative", "knative", "knative"},
		"Kuma":                           {"kuma", "linkerd", "kuma kuma-tags"},
		"Skipper":                        {"skipper", "istio", "skipper istio istio-clients"},
		"Contour in front of Linkerd":    {"contour", "linkerd", "linkerd linkerd-http-routes linkerd-grpc-routes contour"},
		"no mesh":                        {"kubernetes", "kubernetes", "application application-pods"},
		"no mesh, but Istio's proxies":   {"kubernetes", "istio", "application application-pods istio istio-clients"},
	} {
		t.Run(name, func(t *testing.T) {
			sources, err := Sources(tc.provider, tc.mesh)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range sources {
				got = append(got, s.Name)
				if s.Advice == "" {
					t.Errorf("%s says not what to do", s.Name)
				}
			}
			if d := cmp.Diff(tc.want, strings.Join(got, " ")); d != "" {
				t.Error(d)
			}
		})
	}
	if _, err := Sources("gloo", "istio"); !metrics.IsUnknownMetric(err) {
		t.Errorf("an unknown provider: %v", err)
	}
}

// A source that can't be asked about an application is passed over where others can.
func TestUsable(t *testing.T) {
	long := podinfo.with(func(v *Vars) { v.Target = strings.Repeat("a", 55) })
	got, err := Usable([]Source{application, istio}, long)
	if err != nil || len(got) != 1 || got[0].Name != "istio" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := Usable([]Source{application, applicationPods}, long); !metrics.IsQueryError(err) || !strings.Contains(err.Error(), "54 characters") {
		t.Error(err)
	}
	if got, err := Usable([]Source{application, istio}, podinfo); err != nil || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
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
