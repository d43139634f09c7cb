package canary

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// apply brings the world to the desired state. It is safe to stop after any of
// its writes: the next turn applies the same state again, and sends only what
// differs.
func (r *Reconciler) apply(ctx context.Context, w *world, want rollout.Desired) (err error) {
	defer func() { err = errors.Join(err, w.configTrouble) }() // it holds up the primary, not the traffic
	switch {
	case want.Hold:
		return nil
	case !w.Canary.DeletionTimestamp.IsZero():
		return r.release(ctx, w, want)
	}
	// What serves comes before what leads to it, and pods go last.
	if err := r.applyPrimary(ctx, w, want); err != nil {
		return err
	}
	if w.settled(want) {
		return r.scaleTarget(ctx, w.target, want.TargetReplicas)
	}
	for _, s := range []*corev1.Service{w.services.Primary, w.services.Canary} {
		if err := r.applyService(ctx, w, s); err != nil {
			return err
		}
	}
	if want.Routed {
		if err := r.applyService(ctx, w, w.services.Apex); err != nil {
			return err
		}
		traffic := providers.Traffic{Primary: 100 - want.CanaryWeight, Canary: want.CanaryWeight}
		if err := w.router.Apply(ctx, providers.Route{Canary: w.Canary, Traffic: traffic}); err != nil {
			return fmt.Errorf("apply the route: %w", err)
		}
	}
	return r.scaleTarget(ctx, w.target, want.TargetReplicas)
}

// settled tells whether Services and route were just observed to be what is
// wanted.
func (w *world) settled(want rollout.Desired) bool {
	return w.Route.InSync && want.Routed && want.CanaryWeight == w.Canary.Status.CanaryWeight
}

func (r *Reconciler) applyService(ctx context.Context, w *world, s *corev1.Service) error {
	if err := r.Applier.Apply(ctx, s, w.serviceKey(s)); err != nil {
		return fmt.Errorf("apply Service %s: %w", s.Name, err)
	}
	return nil
}

func (r *Reconciler) applyPrimary(ctx context.Context, w *world, want rollout.Desired) error {
	if want.PrimaryRevision == "" || want.PrimaryRevision != w.Target.Revision {
		return nil
	}
	copies, ok := r.applyConfigs(ctx, w)
	if !ok {
		return nil
	}
	primary, err := workload.Primary(w.Canary, w.target, w.primary, want.PrimaryRevision, r.Options)
	if err != nil {
		return fmt.Errorf("build the primary: %w", err)
	}
	version := w.useCopies(&primary.Spec.Template, want.PrimaryRevision, copies)
	key := fmt.Sprintf("%s %s %d %d %v %v %s", w.Canary.UID, w.target.UID, w.target.Generation, *primary.Spec.Replicas,
		primary.Labels, primary.Annotations, version)
	if err := r.Applier.Apply(ctx, primary, ssa.Keyed(key)); err != nil {
		return fmt.Errorf("apply Deployment %s: %w", primary.Name, err)
	}
	r.collectConfigs(ctx, w, want, copies)
	return nil
}

// scaleTarget writes the target's number of pods and nothing else of it.
func (r *Reconciler) scaleTarget(ctx context.Context, target *appsv1.Deployment, replicas *int32) error {
	if replicas == nil || workload.Replicas(target) == *replicas {
		return nil
	}
	intent := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": appsv1.SchemeGroupVersion.String(),
		"kind":       "Deployment",
		"metadata": map[string]any{
			"namespace": target.Namespace,
			"name":      target.Name,
			"uid":       string(target.UID), // one that was deleted is not created again
		},
		"spec": map[string]any{"replicas": int64(*replicas)},
	}}
	if err := r.Applier.ApplyPartial(ctx, intent, target); err != nil {
		return fmt.Errorf("scale Deployment %s to %d: %w", target.Name, *replicas, err)
	}
	return nil
}
