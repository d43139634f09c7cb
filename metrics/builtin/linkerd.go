package builtin

import "fmt"

// linkerdSelector picks the responses that the proxies of the target's own pods
// counted on their way in. Linkerd names a pod's workload by its kind.
func linkerdSelector(v Vars, more string) string {
	return fmt.Sprintf(`{direction="inbound",%s,%s%s}[%s]`, matcher("namespace", v.Namespace), matcher(linkerdKind(v.Kind), v.Target), more, v.Interval)
}

func linkerdKind(kind string) string {
	switch kind {
	case "DaemonSet":
		return "daemonset"
	case "StatefulSet":
		return "statefulset"
	default:
		return "deployment"
	}
}

// linkerdBackend picks what the proxies of clients counted of requests that a route
// sent to the canary's Service, which is there where the target's own pods are not
// in the mesh.
func linkerdBackend(v Vars, more string) string {
	return fmt.Sprintf(`{%s,%s%s}[%s]`, matcher("backend_namespace", v.Namespace), matcher("backend_name", v.Service+"-canary"), more, v.Interval)
}

// linkerdSuccessRate is the percentage, 0 to 100, of responses that Linkerd does not class as
// failures; it looks into the status of gRPC. Where no pod of the target counts any, it is that of the
// requests that clients' proxies sent to the canary. Source:
// https://linkerd.io/2/reference/proxy-metrics/
func linkerdSuccessRate(v Vars) string {
	rate := func(counter, selector string) string { return fmt.Sprintf("sum(rate(%s%s))", counter, selector) }
	success := func(counter, all, good string) string {
		return fmt.Sprintf("(%s or 0 * %s) / %s * 100", rate(counter, good), rate(counter, all), rate(counter, all))
	}
	const http, grpc = "outbound_http_route_backend_response_statuses_total", "outbound_grpc_route_backend_response_statuses_total"
	return success("response_total", linkerdSelector(v, ""), linkerdSelector(v, `,classification!="failure"`)) +
		" or " + success(http, linkerdBackend(v, ""), linkerdBackend(v, `,http_status!~"5..",error=""`)) +
		" or " + success(grpc, linkerdBackend(v, ""), linkerdBackend(v, `,grpc_status!~"`+grpcServerErrorNames+`",error=""`))
}

// grpcServerErrorNames are grpcServerErrors as Linkerd writes them.
const grpcServerErrorNames = "UNKNOWN|DEADLINE_EXCEEDED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS"

// linkerdDuration is the 99th percentile in milliseconds.
func linkerdDuration(v Vars) string {
	return fmt.Sprintf("histogram_quantile(0.99, sum by (le) (rate(response_latency_ms_bucket%s)))", linkerdSelector(v, ""))
}
