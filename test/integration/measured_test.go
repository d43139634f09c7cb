package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/prometheus"
	"github.com/sluice-delivery/sluice/operator/checks"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/telemetry"
)

// series is a counter as it is at each tick.
type series struct {
	name, labels string
	// from is its value at the first tick, and growth what is added at each.
	from, growth float64
	// every is how many ticks there are between two scrapes, 1 without.
	every int
	// offset is how many ticks the last scrape was ago.
	offset int
	// born is the tick of its first value; it is from then.
	born int
}

// at writes the counter as it is at a tick, if it is scraped then.
func (s series) at(out *strings.Builder, namespace string, k int, at int64) {
	since := ticks - s.offset - k
	if k < s.born || since < 0 || since%max(s.every, 1) > 0 {
		return
	}
	fmt.Fprintf(out, "%s{%s} %v %d\n", s.name, strings.NewReplacer("NS", namespace, "WORD", strings.ReplaceAll(namespace, "-", "_")).Replace(s.labels), s.from+s.growth*float64(k-s.born), at)
}

// istioSeries is what Istio counts of a version.
func istioSeries(workload, reporter, code string, more ...string) series {
	service := "app-canary"
	if strings.HasSuffix(workload, "-primary") {
		service = "app-primary"
	}
	flags := "-"
	if len(more) > 0 {
		flags = more[0]
	}
	return series{name: "istio_requests_total", labels: fmt.Sprintf(`reporter=%q,destination_workload_namespace="NS",destination_workload=%q,destination_service_namespace="NS",destination_service_name=%q,response_code=%q,response_flags=%q`,
		reporter, workload, service, code, flags)}
}

func (s series) grows(by float64) series {
	s.growth = by
	return s
}

// stands is a counter that has counted before and does no more.
func (s series) stands() series {
	s.from = 100
	return s
}

func (s series) bornAt(tick int, value float64) series {
	s.born, s.from = tick, value
	return s
}

// scraped once in so many ticks, the last time so many ago.
func (s series) scraped(every, ago int) series {
	s.every, s.offset = every, ago
	return s
}

// labelled is a counter of another kind.
func labelled(name, labels string) series { return series{name: name, labels: labels} }

// measuredCase is what a Prometheus has of an application, and what a check makes of it.
type measuredCase struct {
	provider, mesh string
	target         string // podinfo without
	interval       string // 1m without
	series         []series

	wantVerdict v1beta1.CheckVerdict
	wantValue   string
	wantSource  string
	wantPart    string
}

const (
	// 12 ticks are a minute.
	minute = 12
	window = ticks - minute + 3 // a tick within the last minute
)

func measuredCases() map[string]measuredCase {
	const source, primary = "source", "podinfo-primary"
	istio := func(workload, code string) series { return istioSeries(workload, "destination", code) }
	clients := func(workload, code string, flags ...string) series {
		return istioSeries(workload, source, code, flags...)
	}
	linkerd := func(workload, class, route string) series {
		return labelled("response_total", fmt.Sprintf(`direction="inbound",namespace="NS",deployment=%q,classification=%q,route_name=%q`, workload, class, route))
	}
	app := func(pod, status string) series {
		return labelled("http_request_duration_seconds_count", fmt.Sprintf(`kubernetes_namespace="NS",kubernetes_pod_name=%q,status=%q`, pod, status))
	}
	long := strings.Repeat("x", 45)
	return map[string]measuredCase{
		"stands-still": {
			series:      []series{istio(primary, "200").stands()},
			wantVerdict: v1beta1.CheckPassed, wantPart: "idle", wantSource: "istio",
		},
		"both-stand-still": {
			series:      []series{istio(primary, "200").stands(), istio("podinfo", "200").stands()},
			wantVerdict: v1beta1.CheckPassed, wantPart: "idle", wantSource: "istio",
		},
		"missing": {
			wantVerdict: v1beta1.CheckUnmeasured, wantSource: "istio",
			wantPart: `no series istio_requests_total{reporter=~"destination|waypoint",destination_workload_namespace="missing",destination_workload="podinfo-primary"} of the last 1m`,
		},
		"the-canary-alone": {
			series:      []series{istio("podinfo", "200").stands()},
			wantVerdict: v1beta1.CheckUnmeasured, wantSource: "istio",
		},
		"primary-only": {
			series:      []series{istio(primary, "200").grows(10)},
			wantVerdict: v1beta1.CheckFailed, wantPart: "although the primary had 120 requests", wantSource: "istio",
		},
		// The defaults of many: half of the answers are bad, and rate has no value.
		"scraped-once-a-minute": {
			series:      []series{istio("podinfo", "200").grows(5).scraped(minute, 3), istio("podinfo", "503").grows(5).scraped(minute, 3), istio(primary, "200").grows(90).scraped(minute, 3)},
			wantVerdict: v1beta1.CheckFailed, wantValue: "50", wantSource: "istio",
		},
		"window-shorter-than-a-scrape": {
			interval:    "15s",
			series:      []series{istio("podinfo", "503").grows(5).scraped(minute, 5), istio(primary, "200").grows(90).scraped(minute, 5)},
			wantVerdict: v1beta1.CheckUnmeasured, wantPart: "of the last 15s", wantSource: "istio",
		},
		"one-scrape-in-the-window": {
			series:      []series{istio(primary, "200").grows(90).scraped(minute, 3)},
			wantVerdict: v1beta1.CheckUnmeasured, wantPart: "at least twice the scrape interval", wantSource: "istio",
		},
		"born-at-1": {
			series:      []series{istio("podinfo", "200").grows(0.75), istio("podinfo", "503").bornAt(window, 1)},
			wantVerdict: v1beta1.CheckFailed, wantValue: "90", wantSource: "istio",
		},
		"one-request-and-it-failed": {
			series:      []series{istio("podinfo", "503").bornAt(window, 1), istio(primary, "200").grows(1)},
			wantVerdict: v1beta1.CheckFailed, wantValue: "0", wantSource: "istio",
		},
		"no-answer": {
			series:      []series{istio("podinfo", "200").grows(3), istio("podinfo", "0").grows(1)},
			wantVerdict: v1beta1.CheckFailed, wantValue: "75", wantSource: "istio",
		},
		"never-arrived": {
			series: []series{
				istio("podinfo", "200").grows(6), clients("podinfo", "200").grows(6),
				clients("podinfo", "503", "UH").grows(1), clients("podinfo", "503", "UF,URX").grows(1), clients("podinfo", "503", "UO").grows(1), clients("podinfo", "503", "UC").grows(1),
			},
			wantVerdict: v1beta1.CheckFailed, wantValue: "60", wantSource: "istio",
		},
		"none-arrived": {
			series:      []series{clients("podinfo", "503", "UH").grows(1), istio(primary, "200").grows(9)},
			wantVerdict: v1beta1.CheckFailed, wantValue: "0", wantSource: "istio",
		},
		"not-found-by-a-client": {
			series:      []series{istio("podinfo", "200").grows(6), clients("podinfo", "404", "NR").grows(6)},
			wantVerdict: v1beta1.CheckPassed, wantValue: "100", wantSource: "istio",
		},
		"pods-without-sidecars": {
			series:      []series{clients("podinfo", "200").grows(8), clients("podinfo", "503").grows(2), clients(primary, "200").grows(90)},
			wantVerdict: v1beta1.CheckFailed, wantValue: "80", wantSource: "istio-clients",
		},
		"pods-without-sidecars-idle": {
			series:      []series{clients(primary, "200").stands()},
			wantVerdict: v1beta1.CheckPassed, wantPart: "idle", wantSource: "istio-clients",
		},
		"linkerd-probes": {
			provider:    "linkerd",
			series:      []series{linkerd("podinfo", "success", "probe").grows(9), linkerd("podinfo", "failure", "default").grows(1)},
			wantVerdict: v1beta1.CheckFailed, wantValue: "0", wantSource: "linkerd",
		},
		"linkerd-idle-but-for-probes": {
			provider:    "linkerd",
			series:      []series{linkerd("podinfo", "success", "probe").grows(9), linkerd(primary, "success", "probe").grows(9)},
			wantVerdict: v1beta1.CheckPassed, wantPart: "idle", wantSource: "linkerd",
		},
		"linkerd-behind-a-gateway": {
			provider: "gatewayapi:v1", mesh: "linkerd",
			series:      []series{linkerd("podinfo", "success", "default").grows(3), linkerd("podinfo", "failure", "default").grows(1)},
			wantVerdict: v1beta1.CheckFailed, wantValue: "75", wantSource: "linkerd",
		},
		"gateway-of-istio": {
			provider: "gatewayapi:v1", mesh: "gatewayapi:v1",
			series:      []series{clients("podinfo", "200").grows(3), clients("podinfo", "503").grows(1)},
			wantVerdict: v1beta1.CheckFailed, wantValue: "75", wantSource: "istio-clients",
		},
		"gateway-traefik": {
			provider: "gatewayapi:v1", mesh: "gatewayapi:v1",
			series: []series{
				labelled("traefik_service_requests_total", `service="httproute-NS-app-gw-infra-web-ep-web-0-0123456789-svc-NS-app-canary-9898@kubernetesgateway",code="200"`).grows(3),
				labelled("traefik_service_requests_total", `service="httproute-NS-app-gw-infra-web-ep-web-0-0123456789-svc-NS-app-canary-9898@kubernetesgateway",code="502"`).grows(1),
				labelled("traefik_service_requests_total", `service="NS-app-primary-http-9898@kubernetesgateway",code="502"`).grows(9),
			},
			wantVerdict: v1beta1.CheckFailed, wantValue: "75", wantSource: "traefik",
		},
		"gateway-traefik-by-a-servicemonitor": {
			provider: "gatewayapi", mesh: "istio",
			series:      []series{labelled("traefik_service_requests_total", `service="traefik",exported_service="NS-app-canary-http-9898@kubernetesgateway",code="200"`).grows(3)},
			wantVerdict: v1beta1.CheckPassed, wantValue: "100", wantSource: "traefik-exported",
		},
		"traefik-by-a-traefikservice": {
			provider: "traefik", mesh: "istio",
			series: []series{
				labelled("traefik_service_requests_total", `service="NS-app-canary-80@kubernetescrd",code="200"`).grows(3),
				labelled("traefik_service_requests_total", `service="NS-app-canary-80@kubernetescrd",code="502"`).grows(1),
				labelled("traefik_service_requests_total", `service="NS-app-primary-80@kubernetescrd",code="200"`).grows(9),
			},
			wantVerdict: v1beta1.CheckFailed, wantValue: "75", wantSource: "traefik",
		},
		"ingress-nginx": {
			provider: "nginx", mesh: "nginx",
			series: []series{
				labelled("nginx_ingress_controller_requests", `namespace="NS",ingress="web",service="app",canary="NS-app-canary-80",status="200"`).grows(3),
				labelled("nginx_ingress_controller_requests", `namespace="NS",ingress="web",service="app",canary="NS-app-canary-80",status="502"`).grows(1),
				labelled("nginx_ingress_controller_requests", `namespace="NS",ingress="web",service="app",canary="",status="200"`).grows(90),
			},
			wantVerdict: v1beta1.CheckFailed, wantValue: "75", wantSource: "nginx",
		},
		"apisix": {
			provider: "apisix", mesh: "apisix",
			series: []series{
				labelled("apisix_http_status", `route="NS_web-app-canary_rule",code="200"`).grows(3),
				labelled("apisix_http_status", `route="NS_web-app-canary_rule",code="502"`).grows(1),
				labelled("apisix_http_status", `route="NS_web_rule",code="200"`).grows(90),
			},
			wantVerdict: v1beta1.CheckFailed, wantValue: "75", wantSource: "apisix",
		},
		"kuma": {
			provider: "kuma", mesh: "kuma",
			series: []series{
				labelled("envoy_cluster_upstream_rq", `service="app-canary_NS_svc_80",envoy_cluster_name="localhost_8080",envoy_response_code="200"`).grows(3),
				labelled("envoy_cluster_upstream_rq", `service="app-canary_NS_svc_80",envoy_cluster_name="localhost_8080",envoy_response_code="503"`).grows(1),
				labelled("envoy_cluster_upstream_rq", `service="app-canary_NS_svc_80",envoy_cluster_name="database_NS_svc_5432",envoy_response_code="503"`).grows(9),
				labelled("envoy_cluster_upstream_rq", `service="app-primary_NS_svc_80",envoy_cluster_name="localhost_8080",envoy_response_code="503"`).grows(9),
			},
			wantVerdict: v1beta1.CheckFailed, wantValue: "75", wantSource: "kuma",
		},
		"kuma-by-tags": {
			provider: "kuma", mesh: "kuma",
			series: []series{
				labelled("envoy_cluster_upstream_rq", `kuma_io_service="app-canary_NS_svc_80",envoy_cluster_name="localhost_8080",envoy_response_code="200"`).grows(3),
			},
			wantVerdict: v1beta1.CheckPassed, wantValue: "100", wantSource: "kuma-tags",
		},
		"skipper": {
			provider: "skipper", mesh: "skipper",
			series: []series{
				labelled("skipper_response_duration_seconds_count", `route="kube_WORD__web_canary__app_example_com_____app_canary",code="200"`).grows(3),
				labelled("skipper_response_duration_seconds_count", `route="kube_WORD__web_canary__app_example_com_____app_canary",code="502"`).grows(1),
				labelled("skipper_response_duration_seconds_count", `route="kube_WORD__web_canary__app_example_com_____app_primary",code="502"`).grows(9),
				labelled("skipper_response_duration_seconds_count", `route="kube_WORD__web__app_example_com_____app",code="502"`).grows(9),
			},
			wantVerdict: v1beta1.CheckFailed, wantValue: "75", wantSource: "skipper",
		},
		"gateway-contour": {
			provider: "gatewayapi:v1", mesh: "gatewayapi:v1",
			series: []series{
				labelled("envoy_cluster_upstream_rq", `envoy_cluster_name="NS_app-canary_9898",envoy_response_code="200"`).grows(3),
				labelled("envoy_cluster_upstream_rq", `envoy_cluster_name="NS_app-canary_9898",envoy_response_code="503"`).grows(1),
			},
			wantVerdict: v1beta1.CheckFailed, wantValue: "75", wantSource: "contour",
		},
		"gateway-envoy": {
			provider: "gatewayapi:v1", mesh: "gatewayapi:v1",
			series: []series{
				labelled("envoy_cluster_upstream_rq", `envoy_cluster_name="service/NS/app-canary/9898/http",envoy_response_code="200"`).grows(3),
				labelled("envoy_cluster_upstream_rq", `envoy_cluster_name="service/NS/app-canary/9898/http",envoy_response_code="503"`).grows(1),
			},
			wantVerdict: v1beta1.CheckFailed, wantValue: "75", wantSource: "envoy-gateway",
		},
		"gateway-that-counts-both-as-one": {
			provider: "gatewayapi:v1", mesh: "gatewayapi:v1",
			series:      []series{labelled("envoy_cluster_upstream_rq", `envoy_cluster_name="httproute/NS/app/rule/0",envoy_response_code="200"`).grows(3)},
			wantVerdict: v1beta1.CheckUnmeasured, wantSource: "application",
			wantPart: "Nor has it what others may count: istio (istio_requests_total), istio-clients (istio_requests_total), traefik (traefik_service_requests_total)",
		},
		"gateway-and-the-application-counts": {
			provider: "gatewayapi:v1", mesh: "gatewayapi:v1",
			series:      []series{app("podinfo-5d4bb7fdf8-4bz8p", "200").grows(3), app("podinfo-5d4bb7fdf8-4bz8p", "500").grows(1)},
			wantVerdict: v1beta1.CheckFailed, wantValue: "75", wantSource: "application",
		},
		"no-mesh-and-a-long-name": {
			provider: "kubernetes", mesh: "kubernetes", target: long,
			series: []series{
				app((long + "-5d4bb7fdf8-")[:57]+"4bz8p", "500").grows(1), // 45 + 1 + 10 + 1
				app((long + "-primary-5d4bb7fdf8-")[:58]+"4bz8p", "200").grows(9),
			},
			wantVerdict: v1beta1.CheckFailed, wantValue: "0", wantSource: "application",
		},
		"no-mesh-and-the-canary-is-not-scraped": {
			provider: "kubernetes", mesh: "kubernetes",
			series:      []series{app("podinfo-primary-5d4bb7fdf8-4bz8p", "200").stands()},
			wantVerdict: v1beta1.CheckUnmeasured, wantSource: "application", wantPart: "podinfo-[bcdf",
		},
	}
}

// onlyServer is the Prometheus of all Canaries.
type onlyServer struct{ metrics.Provider }

func (s onlyServer) Server(context.Context, *v1beta1.Canary) (metrics.Provider, error) {
	return s.Provider, nil
}

func (onlyServer) Template(context.Context, *v1beta1.Canary, v1beta1.CanaryMetric) (metrics.Provider, metrics.Query, error) {
	return nil, metrics.Query{}, errors.New("there are no templates here")
}

func (onlyServer) Count(context.Context, *v1beta1.Canary, v1beta1.CanaryMetric, string, bool, string) (metrics.Provider, metrics.Query, error) {
	return nil, metrics.Query{}, errors.New("there are no templates here")
}

func (onlyServer) Place(context.Context, *v1beta1.Canary, v1beta1.CanaryMetric) string {
	return "prometheus"
}

// TestMeasured has the operator's checks ask a real Prometheus for the built-in metric of
// applications of which it has all, a part or nothing.
func TestMeasured(t *testing.T) {
	cases := measuredCases()
	end := time.Now().Truncate(time.Second)
	pages := make([]string, ticks+1)
	for k := range pages {
		var page strings.Builder
		at := end.Add(time.Duration(k-ticks) * tick).UnixMilli()
		for name, c := range cases {
			for _, s := range c.series {
				s.at(&page, name, k, at)
			}
		}
		pages[k] = page.String()
	}
	clk := clocktesting.NewFakePassiveClock(end)
	provider, err := prometheus.New(metrics.Config{Type: "prometheus", Address: scraped(t, pages), Clock: clk})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			mesh := tc.mesh
			if mesh == "" {
				mesh = "istio"
			}
			k := checks.New(checks.Config{
				Sources: onlyServer{provider}, MeshProvider: mesh, Concurrency: 4, Clock: clk,
				Telemetry: telemetry.NewRollouts(prom.NewRegistry(), clk, "test", mesh),
			})
			c := &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "podinfo", UID: "u"}}
			c.Spec.Provider, c.Spec.Service.Name = tc.provider, "app"
			c.Spec.TargetRef = v1beta1.TargetReference{Kind: "Deployment", Name: "podinfo"}
			c.Spec.IngressRef, c.Spec.RouteRef = &v1beta1.LocalObjectReference{Name: "web"}, &v1beta1.LocalObjectReference{Name: "web"}
			if tc.target != "" {
				c.Spec.TargetRef.Name = tc.target
			}
			c.Spec.Analysis = &v1beta1.CanaryAnalysis{Metrics: []v1beta1.CanaryMetric{{
				Name: v1beta1.MetricRequestSuccessRate, Interval: tc.interval, ThresholdRange: &v1beta1.CanaryThresholdRange{Min: new(99.0)},
			}}}
			k.Run(t.Context(), c, release.CheckID{Step: 1}, nil)
			select {
			case <-k.Finished():
			case <-time.After(limit):
				t.Fatal("the check does not end")
			}
			run, _ := k.Results(c)
			got := run.Results[0]
			if got.Verdict != tc.wantVerdict || !strings.Contains(got.Message, tc.wantPart) || got.Source != tc.wantSource {
				t.Errorf("%s by %q: %s", got.Verdict, got.Source, got.Message)
			}
			if tc.wantValue != "" && got.Value != tc.wantValue {
				t.Errorf("value %s, want %s\n%s", got.Value, tc.wantValue, got.Query)
			}
		})
	}
}
