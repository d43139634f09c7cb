package loadtester

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// outcome is how a command ended.
type outcome string

const (
	succeeded outcome = "succeeded"
	failed    outcome = "failed"
	timedOut  outcome = "timeout"
	canceled  outcome = "canceled"
)

// refusal is why a request was not served.
type refusal string

const (
	refusedInvalid   refusal = "invalid"
	refusedSignature refusal = "signature"
	refusedNamespace refusal = "namespace"
	refusedCommand   refusal = "command"
	refusedMissing   refusal = "missing"
	refusedBusy      refusal = "busy"
	refusedStopping  refusal = "stopping"
)

// Telemetry are the load tester's own Prometheus metrics.
type Telemetry struct {
	commands *prometheus.CounterVec
	duration *prometheus.HistogramVec
	running  *prometheus.GaugeVec
	skipped  *prometheus.CounterVec
	refused  *prometheus.CounterVec
}

// NewTelemetry registers the metrics.
func NewTelemetry(registry prometheus.Registerer, version string, gates *Gates) *Telemetry {
	t := &Telemetry{
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_loadtester_commands_total",
			Help: "Commands that have ended, by type and outcome: succeeded, failed, timeout or canceled.",
		}, []string{"type", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sluice_loadtester_command_duration_seconds",
			Help:    "How long commands took.",
			Buckets: []float64{0.1, 0.5, 1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600},
		}, []string{"type"}),
		running: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sluice_loadtester_commands_running",
			Help: "Commands that are running.",
		}, []string{"type"}),
		skipped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_loadtester_commands_skipped_total",
			Help: "Commands that were not started, because the same one was running for that Canary.",
		}, []string{"type"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_loadtester_requests_refused_total",
			Help: "Requests that were not served, by reason: invalid, signature, namespace, command, missing, busy or stopping.",
		}, []string{"reason"}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sluice_loadtester_info", Help: "Always 1, with the version.", ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	registry.MustRegister(t.commands, t.duration, t.running, t.skipped, t.refused, info,
		openGates(gates, ConfirmGate), openGates(gates, RollbackGate),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return t
}

func openGates(gates *Gates, kind GateKind) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sluice_loadtester_gates_open", Help: "Gates that are open.", ConstLabels: prometheus.Labels{"kind": string(kind)},
	}, func() float64 { return float64(gates.OpenCount(kind)) })
}

// started counts a command; what it returns counts its end.
func (t *Telemetry) started(name string) func(outcome, time.Duration) {
	t.running.WithLabelValues(name).Inc()
	return func(o outcome, took time.Duration) {
		t.running.WithLabelValues(name).Dec()
		t.commands.WithLabelValues(name, string(o)).Inc()
		t.duration.WithLabelValues(name).Observe(took.Seconds())
	}
}
