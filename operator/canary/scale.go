package canary

import "context"

// observeAutoscaler reads the autoscaler that the Canary refers to and what was
// made from it.
func (r *Reconciler) observeAutoscaler(ctx context.Context, w *world) (err error) {
	w.autoscaler, err = r.Autoscalers.Observe(ctx, w.shared())
	return err
}
