package builtin

import "fmt"

// grpcServerErrors are the gRPC statuses that are the server's fault: UNKNOWN,
// DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS. Source:
// OpenTelemetry's semantic conventions for gRPC, where these are what makes a
// server span an error. gRPC sends them with HTTP status 200.
const grpcServerErrors = "2|4|12|13|14|15"

// istioSelector picks the requests that the target's own proxies reported, so
// that requests which never arrived do not count against it. In ambient mode that is
// the waypoint before it.
func istioSelector(v Vars, more string) string {
	return fmt.Sprintf(`{reporter=~"destination|waypoint",%s,%s%s}[%s]`,
		matcher("destination_workload_namespace", v.Namespace), matcher("destination_workload", v.Target), more, v.Interval)
}

// istioSuccessRate is the percentage, 0 to 100, of requests that succeeded. It is
// 0, not empty, when all fail and no successful request was ever counted; empty
// or NaN when there are no requests.
func istioSuccessRate(v Vars) string {
	const counter = "istio_requests_total"
	all := counter + istioSelector(v, "")
	good := counter + istioSelector(v, fmt.Sprintf(`,response_code!~"5..",grpc_response_status!~"%s"`, grpcServerErrors))
	return fmt.Sprintf("(sum(rate(%s)) or 0 * sum(rate(%s))) / sum(rate(%s)) * 100", good, all, all)
}

// istioDuration is the 99th percentile in milliseconds.
func istioDuration(v Vars) string {
	return fmt.Sprintf("histogram_quantile(0.99, sum by (le) (rate(istio_request_duration_milliseconds_bucket%s)))", istioSelector(v, ""))
}
