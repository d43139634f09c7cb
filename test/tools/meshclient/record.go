package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	latencyWindow = 10 * time.Second
	errorsKept    = 10
)

// result is the outcome of one request.
type result struct {
	at      time.Time // when it was over
	took    time.Duration
	there   time.Duration // what it took in the pod
	err     error
	marked  bool
	pod     podInfo
	reached bool // whether a known pod answered
}

// report is the answer of /report. Counts are since the start, so that the
// difference of two reports tells what happened between them.
type report struct {
	Started bool `json:"started"`
	tally
	Marked tally    `json:"marked"` // those of them that were marked
	Errors []string `json:"errors"` // the last few
	P50    float64  `json:"p50Milliseconds"`
	P99    float64  `json:"p99Milliseconds"` // of the last 10 seconds
}

// tally counts requests, in all and by the workload that answered.
type tally struct {
	Total      int64             `json:"total"`
	Failed     int64             `json:"failed"`
	ByWorkload map[string]counts `json:"byWorkload"`
}

func newTally() tally { return tally{ByWorkload: map[string]counts{}} }

func (t *tally) add(workload string, failed bool) {
	of := t.ByWorkload[workload]
	t.Total++
	of.Requests++
	if failed {
		t.Failed++
		of.Failed++
	}
	t.ByWorkload[workload] = of
}

func (t tally) clone() tally {
	t.ByWorkload = maps.Clone(t.ByWorkload)
	return t
}

type counts struct {
	Requests int64 `json:"requests"`
	Failed   int64 `json:"failed"`
}

type latency struct {
	at   time.Time
	took time.Duration
}

type recorder struct {
	name, namespace string // of this workload
	service         string // host name of the called service
	requests        *prometheus.CounterVec
	durations       *prometheus.HistogramVec
	linkerd         linkerd

	mu        sync.Mutex
	series    map[seriesKey]series
	sum       report
	latencies []latency
}

// seriesKey is all that a request's labels depend on.
type seriesKey struct {
	reporter string
	pod      podInfo
	reached  bool
	code     codes.Code
}

type series struct {
	requests  prometheus.Counter
	durations prometheus.Observer
}

// labels of Istio's standard metrics.
var labels = []string{
	"reporter", "source_workload", "source_workload_namespace", "source_principal", "source_app", "source_version",
	"source_cluster", "source_canonical_service", "source_canonical_revision",
	"destination_workload", "destination_workload_namespace", "destination_principal", "destination_app",
	"destination_version", "destination_service", "destination_service_name", "destination_service_namespace",
	"destination_cluster", "destination_canonical_service", "destination_canonical_revision",
	"request_protocol", "response_code", "grpc_response_status", "response_flags", "connection_security_policy",
}

// buckets of Istio's histograms, in milliseconds.
var buckets = []float64{
	0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
}

func newRecorder(registry *prometheus.Registry, name, namespace, service string) *recorder {
	r := &recorder{
		name: name, namespace: namespace, service: service, sum: report{tally: newTally(), Marked: newTally()},
		series: map[seriesKey]series{},
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "istio_requests_total", Help: "Requests, by their outcome.",
		}, labels),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "istio_request_duration_milliseconds", Help: "Duration of requests.", Buckets: buckets,
		}, labels),
	}
	registry.MustRegister(r.requests, r.durations)
	r.linkerd = newLinkerd(registry)
	return r
}

// waiting notes why the load has not begun.
func (r *recorder) waiting(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum.Errors = []string{err.Error()}
}

func (r *recorder) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum.Started, r.sum.Errors = true, nil
}

func (r *recorder) add(res result) {
	if !res.reached {
		res.pod = podInfo{workload: unknown, namespace: unknown, app: unknown, version: unknown}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.measure("source", res)
	if res.reached {
		// Whoever did not get a request reports nothing.
		r.measure("destination", res)
		r.linkerd.measure(res)
	}
	r.sum.add(res.pod.workload, res.err != nil)
	if res.marked {
		r.sum.Marked.add(res.pod.workload, res.err != nil)
	}
	if res.err != nil {
		r.sum.Errors = append(r.sum.Errors, res.at.UTC().Format("15:04:05.000")+" "+res.pod.workload+": "+res.err.Error())
		r.sum.Errors = r.sum.Errors[max(0, len(r.sum.Errors)-errorsKept):]
	}
	r.latencies = append(r.latencies, latency{res.at, res.took})
	if len(r.latencies)%1000 == 0 {
		r.dropOld(res.at)
	}
}

// measure is called with the lock held.
func (r *recorder) measure(reporter string, res result) {
	key := seriesKey{reporter, res.pod, res.reached, status.Code(res.err)}
	known, found := r.series[key]
	if !found {
		values := r.labelsOf(key)
		known = series{r.requests.With(values), r.durations.With(values)}
		r.series[key] = known
	}
	known.requests.Inc()
	took := res.took
	if reporter == "destination" {
		took = res.there
	}
	known.durations.Observe(float64(took) / float64(time.Millisecond))
}

func (r *recorder) labelsOf(key seriesKey) prometheus.Labels {
	serviceName, remaining, _ := strings.Cut(r.service, ".")
	serviceNamespace, _, _ := strings.Cut(remaining, ".")
	values := prometheus.Labels{
		"reporter": key.reporter, "source_workload": r.name, "source_workload_namespace": r.namespace,
		"source_principal": unknown, "source_app": r.name, "source_version": unknown, "source_cluster": "Kubernetes",
		"source_canonical_service": r.name, "source_canonical_revision": "latest",
		"destination_workload": key.pod.workload, "destination_workload_namespace": key.pod.namespace,
		"destination_principal": unknown, "destination_app": key.pod.app, "destination_version": key.pod.version,
		"destination_service": r.service, "destination_service_name": serviceName,
		"destination_service_namespace": serviceNamespace, "destination_cluster": "Kubernetes",
		"destination_canonical_service": key.pod.app, "destination_canonical_revision": key.pod.version,
		"request_protocol": "grpc", "response_code": "200", "grpc_response_status": strconv.Itoa(int(key.code)),
		"response_flags": "-", "connection_security_policy": "none",
	}
	if key.reporter == "source" {
		values["connection_security_policy"] = unknown
	}
	if !key.reached {
		// Nobody answered, so the answer is the proxy's own: no healthy upstream.
		values["response_code"], values["response_flags"] = "503", "UH"
		if key.code == codes.DeadlineExceeded {
			values["response_code"], values["response_flags"] = "504", "UT"
		}
	}
	return values
}

func (r *recorder) report(now time.Time) report {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropOld(now)
	answer := r.sum
	answer.Errors = slices.Clone(r.sum.Errors)
	answer.tally, answer.Marked = r.sum.clone(), r.sum.Marked.clone()
	took := make([]time.Duration, 0, len(r.latencies))
	for _, l := range r.latencies {
		took = append(took, l.took)
	}
	slices.Sort(took)
	answer.P50, answer.P99 = quantile(took, 0.50), quantile(took, 0.99)
	return answer
}

// dropOld is called with the lock held.
func (r *recorder) dropOld(now time.Time) {
	r.latencies = slices.DeleteFunc(r.latencies, func(l latency) bool { return now.Sub(l.at) > latencyWindow })
}

// quantile is in milliseconds, and 0 without values.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	value := sorted[int(q*float64(len(sorted)-1))]
	return float64(value) / float64(time.Millisecond)
}
