package canary

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/operator/configs"
	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// observeConfigs finds what the target's pods read beside their template and
// makes it part of the target's revision. A deletion does not depend on it.
func (r *Reconciler) observeConfigs(ctx context.Context, w *world) error {
	if r.Configs == nil || w.target == nil || workload.Template(w.target) == nil || !w.Canary.DeletionTimestamp.IsZero() {
		return nil // a target of kind Service has no pods of its own
	}
	observed, err := r.Configs.Observe(ctx, w.owner(), w.Canary, workload.Template(w.target))
	if err != nil {
		// Without them it is not known which revision the target is at.
		w.Target.Revision, w.Target.Ready, w.Target.Message = w.Canary.Status.LastAppliedSpec, false, err.Error()
		return mistake(reasonConfigsUnreadable, "ConfigMaps and Secrets of %s: %v", w.Canary.Spec.TargetRef.Name, err)
	}
	w.configs = *observed
	w.Target.Revision = observed.Revision(w.Target.Revision)
	if missing := observed.Missing(); missing != "" {
		w.Target.Ready, w.Target.Message = false, missing
	}
	return nil
}

// recordConfigs puts the hashes of the release into its status.
func (w *world) recordConfigs(d *rollout.Decision) {
	if !d.Desired.Hold && d.Status.LastAppliedSpec == w.Target.Revision {
		w.configs.Record(&d.Status)
	}
}

// sourced is the primary as it would be with the target's configs in place of copies.
func (r *Reconciler) sourced(ctx context.Context, w *world, primary client.Object) (client.Object, error) {
	if r.Configs == nil {
		return primary, nil
	}
	return r.Configs.Sourced(ctx, w.Canary, &w.configs, primary)
}

// applyConfigs brings the primary's copies to what the configs of the target are. It
// returns false where the primary must be left as it is for now.
func (r *Reconciler) applyConfigs(ctx context.Context, w *world) (names configs.Copies, ok bool) {
	if r.Configs == nil {
		return nil, true
	}
	names, err := r.Configs.Apply(ctx, w.Canary, &w.configs)
	if errors.Is(err, configs.ErrChanged) {
		log.FromContext(ctx).V(1).Info("The primary is left as it is for now", "reason", err.Error())
		return nil, false
	}
	w.configTrouble = err
	return names, err == nil
}

// useCopies has the pod template of the primary refer to the copies. It returns what the
// result depends on.
func (w *world) useCopies(template *corev1.PodTemplateSpec, revision string, names configs.Copies) (version string) {
	return w.configs.Use(template, w.primary, w.Primary.Revision, revision, names)
}

// collectConfigs deletes copies that the primary does not use any more. It
// waits until no pod of an older primary is left.
func (r *Reconciler) collectConfigs(ctx context.Context, w *world, want rollout.Desired, names configs.Copies) {
	if r.Configs == nil || w.primary == nil || !w.Primary.Ready || w.Primary.Revision != want.PrimaryRevision {
		return
	}
	w.configTrouble = r.Configs.Collect(ctx, w.Canary, &w.configs, w.primary, names)
}
