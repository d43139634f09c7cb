package builtin

import "github.com/sluice-delivery/sluice/metrics"

// grpcServerErrors are the gRPC statuses that are the server's fault: UNKNOWN,
// DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS. Source:
// OpenTelemetry's semantic conventions for gRPC, where these are what makes a
// server span an error. gRPC sends them with HTTP status 200.
const grpcServerErrors = "2|4|12|13|14|15"

// istioSuccess leaves out what got no answer at all, which Istio counts with the code 0.
const istioSuccess = `response_code!~"0|5..",grpc_response_status!~"` + grpcServerErrors + `"`

// neverArrived are Envoy's flags of requests that never got to a pod: no healthy host,
// connection failure, overflow of a circuit breaker, connection termination.
const neverArrived = `(.+,)?(UH|UF|UO|UC)(,.+)?`

const istioAdvice = "are the pods in the mesh, does Prometheus scrape their proxies, is their traffic HTTP or gRPC to Istio, and has anybody called the application since its pods started?"

// istio is what the target's own proxies count or, in ambient mode, the waypoint before
// them. What they can't see are requests that clients' proxies could not deliver: those
// count as failed. Of a target that is a Service no workload is known, and the proxies of its
// pods name whichever Service selects them.
var istio = Source{
	Name:    "istio",
	Advice:  istioAdvice,
	counter: "istio_requests_total",
	buckets: "istio_request_duration_milliseconds_bucket",
	scale:   1,
	success: istioSuccess,
	version: func(of Version, v Vars) string {
		return `reporter=~"destination|waypoint",` + istioWorkload(of, v)
	},
	refused: func(v Vars) error {
		if v.Kind == kindService {
			return &metrics.QueryError{Message: "of a target that is a Service no workload is known"}
		}
		return nil
	},
	lost: func(of Version, v Vars) string {
		return istioClient(of, v) + "," + pattern("response_flags", neverArrived)
	},
}

// istioClients is what clients' proxies and gateways count, where the target's pods
// have no proxy.
var istioClients = Source{
	Name:    "istio-clients",
	Advice:  istioAdvice,
	counter: "istio_requests_total",
	buckets: "istio_request_duration_milliseconds_bucket",
	scale:   1,
	success: istioSuccess,
	version: istioClient,
}

// istioWorkload picks the pods of a version.
func istioWorkload(of Version, v Vars) string {
	return matcher("destination_workload_namespace", v.Namespace) + "," + matcher("destination_workload", v.workload(of))
}

// istioClient picks requests by the Service that they were sent to: of a request that
// found no pod no workload is known.
func istioClient(of Version, v Vars) string {
	return `reporter="source",` + matcher("destination_service_namespace", v.Namespace) + "," + matcher("destination_service_name", v.service(of))
}
