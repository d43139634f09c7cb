package serving_test

import (
	"testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
)

// TestWithTraffic: what older versions wrote does not say what traffic does, and is read from where the release stands.
func TestWithTraffic(t *testing.T) {
	matching := []v1beta1.RawObject{{}}
	for name, tc := range map[string]struct {
		analysis v1beta1.CanaryAnalysis
		status   v1beta1.CanaryStatus
		want     v1beta1.TrafficStatus
	}{
		"mirrors": {v1beta1.CanaryAnalysis{StepWeight: 50, Mirror: true, MirrorWeight: 30}, v1beta1.CanaryStatus{Phase: v1beta1.PhaseProgressing, Step: &v1beta1.StepStatus{Index: 1}},
			v1beta1.TrafficStatus{Mirror: 30, Reason: v1beta1.TrafficPlanned}},
		"has mirrored": {v1beta1.CanaryAnalysis{StepWeight: 50, Mirror: true, MirrorWeight: 30}, v1beta1.CanaryStatus{Phase: v1beta1.PhaseProgressing, CanaryWeight: 50, Step: &v1beta1.StepStatus{Index: 2}},
			v1beta1.TrafficStatus{Reason: v1beta1.TrafficPlanned}},
		"has mirrored, and promotes": {v1beta1.CanaryAnalysis{StepWeight: 50, Mirror: true, MirrorWeight: 30}, v1beta1.CanaryStatus{Phase: v1beta1.PhasePromoting, Step: &v1beta1.StepStatus{Index: 1}},
			v1beta1.TrafficStatus{Reason: v1beta1.TrafficPlanned}},
		"A/B": {v1beta1.CanaryAnalysis{Iterations: 2, Match: matching}, v1beta1.CanaryStatus{Phase: v1beta1.PhaseProgressing, CanaryWeight: 100, Step: &v1beta1.StepStatus{Index: 1}},
			v1beta1.TrafficStatus{Matched: true, Reason: v1beta1.TrafficPlanned}},
		"A/B before its first step": {v1beta1.CanaryAnalysis{Iterations: 2, Match: matching}, v1beta1.CanaryStatus{Phase: v1beta1.PhaseProgressing, Step: &v1beta1.StepStatus{}},
			v1beta1.TrafficStatus{Reason: v1beta1.TrafficPlanned}},
		"A/B that stands in": {v1beta1.CanaryAnalysis{Iterations: 2, Match: matching}, v1beta1.CanaryStatus{Phase: v1beta1.PhaseProgressing, CanaryWeight: 100, Step: &v1beta1.StepStatus{Index: 1, Takeover: true}},
			v1beta1.TrafficStatus{Reason: v1beta1.TrafficPrimaryUnavailable}},
		"stands in between releases": {v1beta1.CanaryAnalysis{}, v1beta1.CanaryStatus{Phase: v1beta1.PhaseSucceeded, CanaryWeight: 100}, v1beta1.TrafficStatus{Reason: v1beta1.TrafficPrimaryUnavailable}},
		"between releases":           {v1beta1.CanaryAnalysis{Match: matching}, v1beta1.CanaryStatus{Phase: v1beta1.PhaseSucceeded}, v1beta1.TrafficStatus{Reason: v1beta1.TrafficPlanned}},
		"says so itself": {v1beta1.CanaryAnalysis{Match: matching}, v1beta1.CanaryStatus{Phase: v1beta1.PhaseProgressing, CanaryWeight: 20, Traffic: &v1beta1.TrafficStatus{Reason: v1beta1.TrafficPrimaryTooSmall}},
			v1beta1.TrafficStatus{Reason: v1beta1.TrafficPrimaryTooSmall}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &v1beta1.Canary{Spec: v1beta1.CanarySpec{Analysis: &tc.analysis}}
			if got := serving.WithTraffic(c, &tc.status).Traffic; *got != tc.want {
				t.Errorf("%+v, want %+v", *got, tc.want)
			}
		})
	}
}
