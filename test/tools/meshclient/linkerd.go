package main

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// linkerd is what the proxies of the pods that answered would publish, by the names and
// labels of Linkerd. Source: https://linkerd.io/2/reference/proxy-metrics/
type linkerd struct {
	responses *prometheus.CounterVec
	latencies *prometheus.HistogramVec
}

// linkerdLabels are those of a response: its own, and those that Linkerd's Prometheus adds of the
// pod. A pod has one kind of workload; the labels of the others are empty, as if they were not there.
var linkerdLabels = []string{
	"direction", "tls", "status_code", "namespace", "deployment", "daemonset", "statefulset",
}

// linkerdFailures are the statuses of gRPC that Linkerd counts as failures of the server.
var linkerdFailures = []codes.Code{
	codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss,
}

func newLinkerd(registry *prometheus.Registry) linkerd {
	l := linkerd{
		responses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "response_total", Help: "Responses, by their class.",
		}, append([]string{"classification", "grpc_status"}, linkerdLabels...)),
		latencies: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "response_latency_ms", Help: "Time until a response began.", Buckets: linkerdBuckets(),
		}, linkerdLabels),
	}
	registry.MustRegister(l.responses, l.latencies)
	return l
}

// linkerdBuckets are 1 to 5 ms, and ten times as much, up to 50 s.
func linkerdBuckets() (out []float64) {
	for scale := 1.0; scale <= 10000; scale *= 10 {
		for n := 1.0; n <= 5; n++ {
			out = append(out, n*scale)
		}
	}
	return out
}

// measure counts a response of a known pod.
func (l linkerd) measure(res result) {
	values := prometheus.Labels{
		"direction": "inbound", "tls": "no_identity", "status_code": "200", "namespace": res.pod.namespace,
		"deployment": "", "daemonset": "", "statefulset": "",
	}
	if kind := strings.ToLower(res.pod.kind); slices.Contains(linkerdLabels, kind) {
		values[kind] = res.pod.workload
	}
	l.latencies.With(values).Observe(float64(res.took) / float64(time.Millisecond))
	code := status.Code(res.err)
	values["classification"], values["grpc_status"] = "success", strconv.Itoa(int(code))
	if slices.Contains(linkerdFailures, code) {
		values["classification"] = "failure"
	}
	l.responses.With(values).Inc()
}
