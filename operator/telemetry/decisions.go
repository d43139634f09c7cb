package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/conditions"
	"github.com/sluice-delivery/sluice/operator/rollout/rounds"
)

// Parts of a status whose texts are cut.
const (
	// PartCheck is the result of a check: its query, its value and its message.
	PartCheck = "check"

	partCondition = "condition"
	partRound     = "round"
)

// newDecisions makes what counts decisions, and what does not fit into a status. Their labels are names of the code alone, so
// that the number of series does not grow with the cluster.
func newDecisions() (decisions, cut *prometheus.CounterVec) {
	decisions = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "sluice", Name: "decisions_total",
		Help: "Decisions about releases that were written to a status, by the reason of the event that tells of each.",
	}, []string{"reason"})
	cut = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "sluice", Name: "status_cut_total",
		Help: "Texts that did not fit into the status of a Canary and were cut, by what they are about: check, condition or round.",
	}, []string{"part"})
	return decisions, cut
}

// Decided counts decisions that were persisted, by the events that tell of them.
func (r *Rollouts) Decided(events []release.Event) {
	for _, e := range events {
		r.decisions.WithLabelValues(e.Reason).Inc()
	}
}

// Cut counts texts of a part of a status that were cut.
func (r *Rollouts) Cut(part string, texts int) {
	if texts > 0 {
		r.cut.WithLabelValues(part).Add(float64(texts))
	}
}

// cutIn counts texts that were cut in a status and are not what the one before said already.
func (r *Rollouts) cutIn(status, before *v1beta1.CanaryStatus) {
	n := 0
	for i := range status.Conditions {
		c := &status.Conditions[i]
		if !conditions.WasCut(c.Message) {
			continue
		}
		if was := before.GetCondition(c.Type); was == nil || was.Message != c.Message {
			n++
		}
	}
	r.Cut(partCondition, n)
	if n := len(status.History); n > 0 && rounds.WasCut(status.History[n-1]) {
		if had := len(before.History); had == 0 || !before.History[had-1].Time.Equal(&status.History[n-1].Time) {
			r.Cut(partRound, 1)
		}
	}
}
