package actions

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/hands"
)

// isCheck tells whether an action only looks at what metrics say.
func isCheck(a *v1alpha1.CanaryAction) bool { return a.Spec.Action == v1beta1.ActionCheck }

// check answers those that want to know what the metrics say, the oldest first. It goes beside the other actions, changes
// nothing of the release, and what holds that does not hold it.
func (x *Actions) check(ctx context.Context, c *v1beta1.Canary, all []*v1alpha1.CanaryAction) error {
	for _, a := range all {
		if !isCheck(a) || !waits(a) {
			continue
		}
		answer := x.answer(ctx, c, a)
		if answer == nil {
			return nil // the end of the checks brings the Canary
		}
		// The cache may show as waiting what was answered.
		live, err := x.live(ctx, c.Namespace, a.Name, a.UID)
		if err != nil {
			return err
		}
		if live == nil || !waits(live) {
			continue
		}
		now := metav1.NewMicroTime(x.Clock.Now())
		answer.Time, answer.Revision = &now, c.Status.LastAppliedSpec
		if err := x.finish(ctx, c, live, *answer); err != nil {
			return err
		}
	}
	return nil
}

// answer is what comes of a check, nil while that is not known.
func (x *Actions) answer(ctx context.Context, c *v1beta1.Canary, a *v1alpha1.CanaryAction) *v1alpha1.CanaryActionStatus {
	if of := hands.OfAnother(&c.Status, release.Action{Revision: a.Spec.Revision}); of != "" {
		return &v1alpha1.CanaryActionStatus{Phase: v1alpha1.ActionRefused, Message: of}
	}
	if len(c.GetAnalysis().Metrics) == 0 {
		return &v1alpha1.CanaryActionStatus{Phase: v1alpha1.ActionRefused, Message: "spec.analysis.metrics is empty, so there is nothing to check"}
	}
	if x.Checks == nil {
		return nil
	}
	results := x.Checks.DryRun(ctx, c, a.Identity(), a.CreationTimestamp.Time)
	if results == nil {
		return nil
	}
	return &v1alpha1.CanaryActionStatus{Phase: v1alpha1.ActionDone, Checks: results, Message: summary(results)}
}

// summarySize bounds what is said of checks in one line.
const summarySize = 1000

// summary says how many checks pass, and of the others why they don't.
func summary(results []v1beta1.CheckStatus) string {
	passed := 0
	var others []string
	for i := range results {
		r := &results[i]
		if r.Verdict == v1beta1.CheckPassed {
			passed++
			continue
		}
		why := r.Message
		if why == "" {
			why = r.Name + ": " + string(r.Verdict)
		}
		others = append(others, why)
	}
	return v1beta1.OneLine(strings.Join(append([]string{fmt.Sprintf("%d of %d metrics pass", passed, len(results))}, others...), "; "), summarySize)
}
