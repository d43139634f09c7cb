package canary

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/providers"
)

// A release without requests is promoted where the metrics server is known to measure the
// application. Where it is not, nothing moves, and the deadline takes it back.
func TestReleaseWithoutRequests(t *testing.T) {
	for name, tc := range map[string]struct {
		scraped       float64 // how often the primary's series are scraped in the interval
		wantPhase     v1beta1.CanaryPhase
		wantPhases    string
		wantCondition string
		wantPart      string // of the condition, the last event and the reason of the rollback
	}{
		"idle": {
			scraped: 4, wantPhase: v1beta1.PhaseSucceeded, wantPhases: "Progressing #,Progressing ##,Promoting ##", wantCondition: "True Measured",
		},
		"not measured": {
			wantPhase: v1beta1.PhaseFailed, wantPhases: "Progressing #,Failed", wantCondition: "False NotMeasured",
			wantPart: `no series istio_requests_total{reporter=~"destination|waypoint",destination_workload_namespace="test",destination_workload="podinfo-primary"} of the last 1m; are the pods in the mesh`,
		},
		"scraped too seldom": {
			scraped: 1, wantPhase: v1beta1.PhaseFailed, wantPhases: "Progressing #,Failed", wantCondition: "False NotMeasured",
			wantPart: "make the metric's interval at least twice the scrape interval",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanary("podinfo").with(func(s *v1beta1.CanarySpec) {
				s.ProgressDeadlineSeconds = new(int32(60))
				s.Analysis.Metrics = []v1beta1.CanaryMetric{{Name: v1beta1.MetricRequestSuccessRate, ThresholdRange: &v1beta1.CanaryThresholdRange{Min: new(99.0)}}}
			})
			s := newScene(t, c.Canary, newTarget())
			s.reconciler.Provider = "istio"
			s.reconciler.Router = func(string) (providers.Router, error) { return s.router, nil }
			s.provider.answer = func(_ context.Context, q metrics.Query) (metrics.Sample, error) {
				if strings.HasPrefix(q.Expr, "max(count_over_time(") && tc.scraped > 0 {
					return metrics.Sample{Value: tc.scraped}, nil
				}
				return metrics.Sample{}, metrics.ErrNoData
			}
			s.phases()
			s.release("podinfo:2")
			got := strings.Join(s.phases(), ",")
			now := s.now().Status
			if now.Phase != tc.wantPhase || !strings.Contains(got, tc.wantPhases) || now.FailedChecks > 0 {
				t.Errorf("%s, %d failed", got, now.FailedChecks)
			}
			measured := now.GetCondition(v1beta1.ConditionMeasured)
			if s.condition(v1beta1.ConditionMeasured) != tc.wantCondition || !strings.Contains(measured.Message, tc.wantPart) {
				t.Errorf("Measured: %+v", measured)
			}
			if tc.wantPart == "" {
				return
			}
			if promoted := now.GetCondition(v1beta1.ConditionPromoted); !strings.Contains(promoted.Message, tc.wantPart) || !strings.Contains(promoted.Message, "no verdict for 1m0s") {
				t.Errorf("Promoted: %+v", promoted)
			}
			if sent := s.sent(); !slices.ContainsFunc(sent, func(e string) bool { return strings.Contains(e, "NotMeasured") && strings.Contains(e, "nothing moves") }) {
				t.Errorf("events %v", sent)
			}
		})
	}
}
