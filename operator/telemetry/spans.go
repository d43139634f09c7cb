package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Spans counts the spans of the traces of releases.
type Spans struct{ total *prometheus.CounterVec }

// Outcomes of sending spans.
const (
	outcomeSent = "sent"
	outcomeLost = "lost"
)

// NewSpans registers the metric.
func NewSpans(registry prometheus.Registerer) *Spans {
	s := &Spans{total: prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "sluice", Name: "trace_spans_total",
		Help: "Spans of the traces of releases by what came of them: sent to the collector, or lost as it did not take them.",
	}, []string{"outcome"})}
	registry.MustRegister(s.total)
	return s
}

// Exported counts spans that a collector has taken, or lost.
func (s *Spans) Exported(n int, taken bool) {
	outcome := outcomeSent
	if !taken {
		outcome = outcomeLost
	}
	s.total.WithLabelValues(outcome).Add(float64(n))
}
