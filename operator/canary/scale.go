package canary

import (
	"context"

	"github.com/sluice-delivery/sluice/operator/rollout"
)

// observeAutoscaler reads the autoscaler that the Canary refers to and what was
// made from it.
func (r *Reconciler) observeAutoscaler(ctx context.Context, w *world) error {
	observed, err := r.Autoscalers.Observe(ctx, w.owner(), w.Canary, w.target)
	w.autoscaler = *observed
	w.Ignored = append(w.Ignored, observed.Ignored...)
	return err
}

// scale brings autoscalers and the target's number of pods to what is wanted.
func (r *Reconciler) scale(ctx context.Context, w *world, want rollout.Desired) error {
	if err := r.Autoscalers.Apply(ctx, w.Canary, &w.autoscaler, w.primary, want); err != nil {
		return err
	}
	return r.scaleTarget(ctx, w.target, want.TargetReplicas)
}
