// Package telemetry holds the operator's own Prometheus metrics. Those of
// rollouts keep the names, labels and values that Flagger's users have
// dashboards and alert rules on: the label name is that of the target.
package telemetry

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// Values of flagger_canary_status.
const (
	statusRunning   = 0
	statusSucceeded = 1
	statusFailed    = 2
)

// Rollouts publishes what Canaries do. It is safe for concurrent use.
type Rollouts struct {
	clock     clock.PassiveClock
	total     *prometheus.GaugeVec
	status    *prometheus.GaugeVec
	weight    *prometheus.GaugeVec
	check     *prometheus.GaugeVec
	duration  *prometheus.HistogramVec
	releases  *prometheus.HistogramVec
	successes *prometheus.CounterVec
	failures  *prometheus.CounterVec
	lost      *prometheus.CounterVec
	condition *prometheus.GaugeVec
	gate      *prometheus.GaugeVec
	decisions *prometheus.CounterVec
	cut       *prometheus.CounterVec

	mu   sync.Mutex
	seen map[types.NamespacedName]*published
}

// published is what is remembered of a Canary to publish it.
type published struct {
	target  string    // the label name of its series; empty while it has none
	version string    // resource version that is published
	began   time.Time // zero when another process saw the beginning

	reported string              // resource version whose conditions are published
	troubles []prometheus.Labels // series of its conditions
	gate     prometheus.Labels   // series of the gate that it waits at, nil for none
}

// NewRollouts registers the metrics. version and provider are published as
// flagger_info.
func NewRollouts(registry prometheus.Registerer, clk clock.PassiveClock, version, provider string) *Rollouts {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "flagger", Name: name, Help: help}, labels)
	}
	ended := []string{"name", "namespace", "deployment_strategy", "analysis_status"}
	r := &Rollouts{
		clock:  clk,
		total:  gauge("canary_total", "Canaries in a namespace.", "namespace"),
		status: gauge("canary_status", "How the last analysis stands: 0 running, 1 succeeded, 2 failed.", "name", "namespace"),
		weight: gauge("canary_weight", "Share of the traffic that a workload gets, in percent.", "workload", "namespace"),
		check:  gauge("canary_metric_analysis", "Last value of a check.", "name", "namespace", "metric"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "flagger", Name: "canary_duration_seconds",
			Help:    "Time that a round of checks took.",
			Buckets: prometheus.DefBuckets, // what dashboards and recording rules on Flagger have
		}, []string{"name", "namespace"}),
		releases: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "sluice", Name: "release_duration_seconds",
			Help:    "Time from a new revision to its promotion or rollback.",
			Buckets: []float64{10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200},
		}, []string{"name", "namespace"}),
		successes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "flagger", Name: "canary_successes_total", Help: "Releases that were promoted.",
		}, ended),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "flagger", Name: "canary_failures_total", Help: "Releases that were rolled back, or whose promotion failed.",
		}, ended),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "sluice", Name: "event_hooks_lost_total",
			Help: "Events that an event hook was not told: the queue was full, the hook failed, or the operator ended.",
		}, []string{"reason"}),
		condition: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "sluice", Name: "canary_condition",
			Help: "1 for each condition of a Canary that tells of trouble, or that a release waits for its turn.",
		}, []string{"namespace", "canary", "type", "reason"}),
		gate: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "sluice", Name: "gate_closed",
			Help: "1 for each Canary whose release waits at a gate, by the type of its hooks.",
		}, []string{"namespace", "canary", "type"}),
		seen: map[types.NamespacedName]*published{},
	}
	r.decisions, r.cut = newDecisions()
	info := gauge("info", "Version and mesh provider of the operator.", "version", "mesh_provider")
	info.WithLabelValues(version, provider).Set(1)
	registry.MustRegister(r.total, r.status, r.weight, r.check, r.duration, r.releases, r.successes, r.failures, r.lost, r.condition, r.gate, r.decisions, r.cut, info)
	return r
}

// EventLost counts an event that an event hook was not told, by the reason.
func (r *Rollouts) EventLost(reason string) { r.lost.WithLabelValues(reason).Inc() }

// Observe publishes the persisted state of a Canary. It costs nothing where
// that is published already.
func (r *Rollouts) Observe(c *v1beta1.Canary) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := client.ObjectKeyFromObject(c)
	known := r.seen[key]
	if known == nil {
		known = &published{}
		r.seen[key] = known
		r.total.WithLabelValues(c.Namespace).Inc()
	}
	r.publishConditions(c, known)
	// A Canary that never began, perhaps as its target is another one's, has
	// nothing to say of that target.
	if known.version == c.ResourceVersion || c.Status.LastAppliedSpec == "" {
		return
	}
	if known.target != "" && known.target != c.Spec.TargetRef.Name {
		r.drop(known.target, c.Namespace)
	}
	known.version, known.target = c.ResourceVersion, c.Spec.TargetRef.Name
	status := statusSucceeded
	switch { // Flagger counts every other phase as a success
	case c.Status.Phase == v1beta1.PhaseProgressing:
		status = statusRunning
	case c.Status.Phase == v1beta1.PhaseFailed, release.PromotionFailed(&c.Status):
		status = statusFailed
	}
	r.status.WithLabelValues(known.target, c.Namespace).Set(float64(status))
	r.weight.WithLabelValues(known.target, c.Namespace).Set(float64(c.Status.CanaryWeight))
	r.weight.WithLabelValues(known.target+"-primary", c.Namespace).Set(float64(100 - c.Status.CanaryWeight))
}

// Transition counts the beginning and the end of a release, and what did not fit into the status. c has the status
// that was just persisted, before is the one that it had.
func (r *Rollouts) Transition(c *v1beta1.Canary, before *v1beta1.CanaryStatus) {
	r.cutIn(&c.Status, before)
	failed := release.PromotionFailed(&c.Status) && !release.PromotionFailed(before)
	if c.Status.Phase == before.Phase && !failed {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.seen[client.ObjectKeyFromObject(c)]
	if known == nil {
		return
	}
	target, strategy := c.Spec.TargetRef.Name, strategyLabel(c)
	switch {
	case failed:
		r.failures.WithLabelValues(target, c.Namespace, strategy, analysisCompleted).Inc()
		return
	case c.Status.Phase == v1beta1.PhaseProgressing:
		known.began = r.clock.Now()
		return
	case c.Status.Phase == v1beta1.PhaseSucceeded:
		analysis := analysisCompleted
		if c.Spec.SkipAnalysis {
			analysis = analysisSkipped
		}
		r.successes.WithLabelValues(target, c.Namespace, strategy, analysis).Inc()
	case c.Status.Phase == v1beta1.PhaseFailed:
		r.failures.WithLabelValues(target, c.Namespace, strategy, analysisCompleted).Inc()
	default:
		return
	}
	if !known.began.IsZero() {
		r.releases.WithLabelValues(target, c.Namespace).Observe(r.clock.Since(known.began).Seconds())
		known.began = time.Time{}
	}
}

// Values of the label analysis_status. A release that failed was analysed, as far as it came.
const (
	analysisCompleted = "completed"
	analysisSkipped   = "skipped"
)

// strategyLabel is the value of the label deployment_strategy.
func strategyLabel(c *v1beta1.Canary) string {
	switch c.GetAnalysis().Strategy() {
	case v1beta1.StrategyABTesting:
		return "ab-testing"
	case v1beta1.StrategyBlueGreen:
		return "blue-green"
	case v1beta1.StrategyWeighted:
		return "canary"
	default:
		return "canary"
	}
}

// Round publishes how long a round of checks took, that of a Canary that is not forgotten.
func (r *Rollouts) Round(c *v1beta1.Canary, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.seen[client.ObjectKeyFromObject(c)]; known != nil && known.target != "" {
		r.duration.WithLabelValues(known.target, c.Namespace).Observe(took.Seconds())
	}
}

// Check publishes the value of a check. A Canary that was forgotten meanwhile
// gets no series any more.
func (r *Rollouts) Check(c *v1beta1.Canary, metric v1beta1.CanaryMetric, value float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.seen[client.ObjectKeyFromObject(c)]
	if known == nil || known.target == "" {
		return
	}
	if metric.Name == v1beta1.MetricRequestDuration && metric.Query == "" && metric.TemplateRef == nil {
		value /= 1000 // published in seconds, though its thresholds are milliseconds
	}
	r.check.WithLabelValues(known.target, c.Namespace, metric.Name).Set(value)
}

// Forget drops the series of a Canary that is gone.
func (r *Rollouts) Forget(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.seen[key]
	if known == nil {
		return
	}
	delete(r.seen, key)
	r.dropConditions(known)
	r.total.WithLabelValues(key.Namespace).Dec()
	if known.target != "" {
		r.drop(known.target, key.Namespace)
	}
}

// drop removes the series about a target; the lock must be held.
func (r *Rollouts) drop(target, namespace string) {
	r.status.DeleteLabelValues(target, namespace)
	for _, workload := range []string{target, target + "-primary"} {
		r.weight.DeleteLabelValues(workload, namespace)
	}
	of := prometheus.Labels{"name": target, "namespace": namespace}
	r.check.DeletePartialMatch(of)
	r.duration.DeletePartialMatch(of)
	r.releases.DeletePartialMatch(of)
	r.successes.DeletePartialMatch(of)
	r.failures.DeletePartialMatch(of)
}
