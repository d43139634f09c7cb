package canary

import (
	"context"

	"github.com/sluice-delivery/sluice/operator/rollout"
)

// observeAutoscaler reads the autoscaler that the Canary refers to and what was
// made from it.
func (r *Reconciler) observeAutoscaler(ctx context.Context, w *world) (err error) {
	w.autoscaler, err = r.Autoscalers.Observe(ctx, w.shared())
	return err
}

// scale brings autoscalers and the target's number of pods to what is wanted.
func (r *Reconciler) scale(ctx context.Context, w *world, want rollout.Desired) error {
	if err := w.autoscaler.Apply(ctx, want); err != nil {
		return err
	}
	return r.scaleTarget(ctx, w.target, want.TargetReplicas)
}
