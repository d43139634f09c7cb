package builtin

// linkerd is what the proxies of the target's own pods count on their way in, without
// the kubelet's probes. Linkerd names a pod's workload by its kind, and decides what a
// failure is; it looks into the status of gRPC. Source:
// https://linkerd.io/2/reference/proxy-metrics/
var linkerd = Source{
	Name:    "linkerd",
	Advice:  "do the pods have Linkerd's proxy, and does Prometheus scrape it (Linkerd's own Prometheus does, see linkerd viz)?",
	counter: "response_total",
	buckets: "response_latency_ms_bucket",
	scale:   1,
	success: `classification!="failure"`,
	version: func(of Version, v Vars) string { return linkerdInbound(of, v) + `,route_name!="probe"` },
	// Probes are no users, and tell all the same that the proxy is scraped.
	alive: func(of Version, v Vars) string { return "response_total{" + linkerdInbound(of, v) + "}" },
}

func linkerdInbound(of Version, v Vars) string {
	return `direction="inbound",` + matcher("namespace", v.Namespace) + "," + matcher(linkerdKind(v.Kind), v.workload(of))
}

func linkerdKind(kind string) string {
	switch kind {
	case kindDaemonSet:
		return "daemonset"
	case kindStatefulSet:
		return "statefulset"
	default:
		return "deployment"
	}
}

const linkerdRouteAdvice = "do the clients have Linkerd's proxy, and does Prometheus scrape it?"

// linkerdHTTPRoutes is what the proxies of clients count of requests that a route sent to
// a version, which is there where the target's own pods are not in the mesh.
var linkerdHTTPRoutes = Source{
	Name:    "linkerd-http-routes",
	Advice:  linkerdRouteAdvice,
	counter: "outbound_http_route_backend_response_statuses_total",
	buckets: "outbound_http_route_backend_response_duration_seconds_bucket",
	scale:   1000,
	success: `http_status!~"5..",error=""`,
	version: linkerdBackend,
}

// linkerdGRPCRoutes is the same for gRPC, whose statuses Linkerd writes as names: those
// of grpcServerErrors.
var linkerdGRPCRoutes = Source{
	Name:    "linkerd-grpc-routes",
	Advice:  linkerdRouteAdvice,
	counter: "outbound_grpc_route_backend_response_statuses_total",
	buckets: "outbound_grpc_route_backend_response_duration_seconds_bucket",
	scale:   1000,
	success: `grpc_status!~"UNKNOWN|DEADLINE_EXCEEDED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS",error=""`,
	version: linkerdBackend,
}

func linkerdBackend(of Version, v Vars) string {
	return matcher("backend_namespace", v.Namespace) + "," + matcher("backend_name", v.service(of))
}
