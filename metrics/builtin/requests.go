package builtin

import (
	"fmt"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// requests has the query of the number of requests for each mesh. What counts
// is what the success rate of that mesh is computed from.
func requests() map[string]func(Version, Vars) string {
	istio := func(_ Version, v Vars) string { return counted("istio_requests_total" + istioSelector(v, "")) }
	return map[string]func(Version, Vars) string{
		v1beta1.ProviderConsul:            consulRequests,
		v1beta1.ProviderIstio:             istio,
		v1beta1.ProviderGatewayAPI:        istio,
		v1beta1.ProviderGatewayAPIV1Beta1: istio,
		v1beta1.ProviderGatewayAPIAny:     istio,
		v1beta1.ProviderLinkerd:           linkerdRequests,
		v1beta1.ProviderKubernetes: func(_ Version, v Vars) string {
			return counted("http_request_duration_seconds_count" + httpSelector(v, ""))
		},
	}
}

// counted is how much the counters of a range vector grew.
func counted(rangeVector string) string { return fmt.Sprintf("sum(increase(%s))", rangeVector) }

// consulRequests goes by the names of sidecars, which for the primary are that
// of its own service.
func consulRequests(of Version, v Vars) string {
	selector := consulSelector(v, "")
	if of == Primary {
		selector = fmt.Sprintf(`{%s,envoy_cluster_name="local_app"}[%s]`, matcher("local_cluster", v.Service+"-primary"), v.Interval)
	}
	return counted("envoy_cluster_upstream_rq_xx" + selector)
}

// linkerdRequests looks, as the success rate does, at clients' proxies where no
// pod of the workload counts any.
func linkerdRequests(of Version, v Vars) string {
	backend := fmt.Sprintf(`{%s,%s}[%s]`, matcher("backend_namespace", v.Namespace), matcher("backend_name", v.Service+"-"+string(of)), v.Interval)
	return counted("response_total"+linkerdSelector(v, "")) +
		" or " + counted("outbound_http_route_backend_response_statuses_total"+backend) +
		" or " + counted("outbound_grpc_route_backend_response_statuses_total"+backend)
}
