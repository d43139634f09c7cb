package canary

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/shards"
)

// mine tells whether a Canary is this operator's to serve. Where its status has to say so first, or no more, that is written
// and nothing else is done in this turn.
func mine(ctx context.Context, r *Reconciler, c *v1beta1.Canary) (bool, ctrl.Result, error) {
	turn, after := r.Shard.Turn(c, r.Clock.Now())
	switch turn {
	case shards.Serve:
		return true, ctrl.Result{}, nil
	case shards.Wait:
		log.FromContext(ctx).V(1).Info("Waiting for another operator to let go of the Canary", "shard", c.Status.Shard)
		return false, ctrl.Result{RequeueAfter: after}, nil
	case shards.Take:
		if before := c.Status.Shard; before != "" {
			log.FromContext(ctx).Info("Taking a Canary of which another operator does not let go", "shard", before)
		}
		result, err := writeShard(ctx, r, c, r.Shard.Name())
		return false, result, err
	case shards.LetGo:
		result, err := writeShard(ctx, r, c, "")
		if err == nil {
			r.forget(client.ObjectKeyFromObject(c))
		}
		return false, result, err
	case shards.Leave:
	}
	return false, ctrl.Result{}, nil
}

// writeShard writes whose a Canary is. Another turn follows that sees it.
func writeShard(ctx context.Context, r *Reconciler, c *v1beta1.Canary, name string) (ctrl.Result, error) {
	status := *c.Status.DeepCopy()
	status.Shard = name
	if err := updateStatus(ctx, r, c, status); err != nil {
		return later(err)
	}
	return next(true, 0), nil
}
