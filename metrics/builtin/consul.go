package builtin

import "fmt"

// consulSelector picks the requests that the target's own sidecars passed on to the
// application, so that requests which never arrived do not count against it.
//
// A sidecar has the name of its service in local_cluster, and the application behind it
// is the cluster local_app. Both are set by the bootstrap configuration that Consul
// makes for Envoy, whoever runs it; consul_destination_service, of the callers' sidecars,
// is not looked at, as callers may be outside of the mesh's reach. The canary's pods are
// instances either of the service itself or of one of their own.
func consulSelector(v Vars, more string) string {
	return fmt.Sprintf(`{local_cluster=~%q,envoy_cluster_name="local_app"%s}[%s]`,
		v.Service+"|"+v.Service+"-canary", more, v.Interval)
}

// consulSuccessRate is the percentage, 0 to 100, of requests that the application
// answered with another status than 5xx. It is 0, not empty, when all fail and no
// successful request was ever counted; empty or NaN when there are no requests.
func consulSuccessRate(v Vars) string {
	const counter = "envoy_cluster_upstream_rq_xx"
	all := counter + consulSelector(v, "")
	good := counter + consulSelector(v, `,envoy_response_code_class!="5"`)
	return fmt.Sprintf("(sum(rate(%s)) or 0 * sum(rate(%s))) / sum(rate(%s)) * 100", good, all, all)
}

// consulDuration is the 99th percentile in milliseconds.
func consulDuration(v Vars) string {
	return fmt.Sprintf("histogram_quantile(0.99, sum by (le) (rate(envoy_cluster_upstream_rq_time_bucket%s)))", consulSelector(v, ""))
}
