package builtin

// consul is what the target's own sidecars passed on to the application, so that
// requests which never arrived do not count against it.
//
// A sidecar has the name of its service in local_cluster, and the application behind it
// is the cluster local_app. Both are set by the bootstrap configuration that Consul
// makes for Envoy, whoever runs it; consul_destination_service, of the callers' sidecars,
// is not looked at, as callers may be outside of the mesh's reach. The canary's pods are
// instances either of the service itself or of one of their own.
var consul = Source{
	Name:        "consul",
	Advice:      "do the pods have Consul's sidecars, and does Prometheus scrape them (envoy_prometheus_bind_addr)?",
	NeedsCanary: true,
	counter:     "envoy_cluster_upstream_rq_xx",
	buckets:     "envoy_cluster_upstream_rq_time_bucket",
	scale:       1,
	success:     `envoy_response_code_class!="5"`,
	version:     consulService,
	alive:       func(of Version, v Vars) string { return "envoy_cluster_membership_total{" + consulService(of, v) + "}" },
}

func consulService(of Version, v Vars) string {
	const local = `,envoy_cluster_name="local_app"`
	if of == Primary {
		return matcher("local_cluster", v.service(Primary)) + local
	}
	return pattern("local_cluster", v.Service+"|"+v.service(Canary)) + local
}
