package builtin

import "regexp"

// traefik is what Traefik counts of the Services that its routes and TraefikServices lead
// to. It names them by namespace, name and port, in newer versions after the route that has them.
var traefik = traefikBy("traefik", "service")

// traefikExported is the same where Prometheus has a label service of its own, as a
// ServiceMonitor makes it.
var traefikExported = traefikBy("traefik-exported", "exported_service")

func traefikBy(name, label string) Source {
	return Source{
		Name:    name,
		Advice:  "does Prometheus scrape Traefik, and does Traefik count by Service (metrics.prometheus.addServicesLabels)?",
		counter: "traefik_service_requests_total",
		buckets: "traefik_service_request_duration_seconds_bucket",
		scale:   1000,
		success: `code!~"5.."`,
		version: func(of Version, v Vars) string {
			return pattern(label, "(.+-svc-)?"+regexp.QuoteMeta(v.Namespace+"-"+v.service(of))+"-[0-9a-zA-Z-]+@kubernetes(gateway|crd)")
		},
	}
}

// contour is what Contour's Envoy counts of each Service and port.
var contour = Source{
	Name:    "contour",
	Advice:  "does Prometheus scrape Contour's Envoy?",
	counter: "envoy_cluster_upstream_rq",
	buckets: "envoy_cluster_upstream_rq_time_bucket",
	scale:   1,
	success: `envoy_response_code!~"5.."`,
	version: func(of Version, v Vars) string {
		return pattern("envoy_cluster_name", regexp.QuoteMeta(v.Namespace+"_"+v.service(of))+"_[0-9a-zA-Z-]+")
	},
}

// envoyGateway is what Envoy Gateway counts of each Service, where it has a cluster for
// each (mergeBackends); otherwise it counts both versions as one.
var envoyGateway = Source{
	Name:    "envoy-gateway",
	Advice:  "does Prometheus scrape Envoy Gateway's proxies, and does their EnvoyProxy have mergeBackends, without which both versions are counted as one?",
	counter: "envoy_cluster_upstream_rq",
	buckets: "envoy_cluster_upstream_rq_time_bucket",
	scale:   1,
	success: `envoy_response_code!~"5.."`,
	version: func(of Version, v Vars) string {
		return pattern("envoy_cluster_name", "service/"+regexp.QuoteMeta(v.Namespace+"/"+v.service(of))+"/[0-9]+(/.+)?")
	},
}

// nginx is what ingress-nginx counts of the user's Ingress: requests that a canary Ingress
// took have its upstream, of namespace, Service and port, in the label canary.
var nginx = nginxBy("nginx", "namespace")

// nginxExported is the same where Prometheus has a label namespace of its own, as a
// ServiceMonitor makes it.
var nginxExported = nginxBy("nginx-exported", "exported_namespace")

func nginxBy(name, namespace string) Source {
	return Source{
		Name:    name,
		Advice:  "does Prometheus scrape ingress-nginx (controller.metrics.enabled), and do requests come by the Ingress of spec.ingressRef and a host that it names?",
		counter: "nginx_ingress_controller_requests",
		buckets: "nginx_ingress_controller_request_duration_seconds_bucket",
		scale:   1000,
		success: `status!~"5.."`,
		version: func(of Version, v Vars) string {
			out := matcher(namespace, v.Namespace) + "," + matcher("ingress", v.Ingress) + ","
			if of == Primary {
				return out + matcher("canary", "")
			}
			return out + pattern("canary", regexp.QuoteMeta(v.Namespace+"-"+v.service(Canary))+"-.+")
		},
	}
}

// apisix is what APISIX counts of our ApisixRoute, by the name of the route. It does not tell the Services behind a route
// apart, so that both versions are counted as one, as with Flagger.
var apisix = Source{
	Name:    "apisix",
	Advice:  "does Prometheus scrape APISIX, and has its prometheus plugin prefer_name, without which routes have no names?",
	counter: "apisix_http_status",
	buckets: "apisix_http_latency_bucket",
	scale:   1,
	success: `code!~"5.."`,
	version: func(_ Version, v Vars) string {
		return pattern("route", regexp.QuoteMeta(v.Namespace+"_"+v.Route+"-"+v.Service)+"-canary_.+")
	},
	timed: `type="request"`,
}

// kuma is what the proxies of a version pass on to the application: Kuma's own Prometheus has the name of the Service in
// the label service.
var kuma = kumaBy("kuma", "service")

// kumaTags is the same where labels are the tags of proxies, as with MeshMetric.
var kumaTags = kumaBy("kuma-tags", "kuma_io_service")

func kumaBy(name, label string) Source {
	version := func(of Version, v Vars) string {
		return pattern(label, regexp.QuoteMeta(v.service(of)+"_"+v.Namespace)+"_svc_[0-9a-zA-Z-]+") + "," + pattern("envoy_cluster_name", "localhost_.+")
	}
	return Source{
		Name:    name,
		Advice:  "do the pods have Kuma's sidecars, is the protocol of their port http, and does Prometheus scrape them?",
		counter: "envoy_cluster_upstream_rq",
		buckets: "envoy_cluster_upstream_rq_time_bucket",
		scale:   1,
		success: `envoy_response_code!~"5.."`,
		version: version,
		alive:   func(of Version, v Vars) string { return "envoy_cluster_membership_total{" + version(of, v) + "}" },
	}
}

// skipper is what Skipper counts of the routes that it makes of our Ingress, each of which has its Service in its name.
var skipper = Source{
	Name:    "skipper",
	Advice:  "does Prometheus scrape Skipper, with -metrics-flavour=prometheus, -route-response-metrics and -serve-route-metrics, and do requests come by the Ingress of spec.ingressRef?",
	counter: "skipper_response_duration_seconds_count",
	buckets: "skipper_serve_route_duration_seconds_bucket",
	scale:   1000,
	success: `code!~"5.."`,
	version: func(of Version, v Vars) string {
		word := func(name string) string { return noWord.ReplaceAllString(name, "_") }
		return pattern("route", "kube(ew)?_"+word(v.Namespace)+"__"+word(v.Ingress)+"_canary__.*__"+word(v.service(of))+"(_[0-9]+)?")
	},
}

// noWord is what Skipper writes as _ in the names of routes.
var noWord = regexp.MustCompile(`\W`)

// knative is what the Envoy of Kourier, an ingress of Knative's, counts of each revision.
var knative = Source{
	Name:    "knative",
	Advice:  "does Prometheus scrape Kourier's gateway? Other ingresses of Knative need a MetricTemplate",
	counter: "envoy_cluster_upstream_rq",
	buckets: "envoy_cluster_upstream_rq_time_bucket",
	scale:   1,
	success: `envoy_response_code!~"5.."`,
	version: func(of Version, v Vars) string {
		if of == Primary {
			return matcher("envoy_cluster_name", v.Namespace+"/"+v.PrimaryRevision)
		}
		return matcher("envoy_cluster_name", v.Namespace+"/"+v.CanaryRevision)
	},
}
