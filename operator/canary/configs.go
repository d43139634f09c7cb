package canary

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/operator/configs"
	"github.com/sluice-delivery/sluice/operator/release"
	ground "github.com/sluice-delivery/sluice/operator/world"
)

// observeConfigs finds what the target's pods read beside their template.
func (r *Reconciler) observeConfigs(ctx context.Context, w *world) (err error) {
	if w.configs, err = r.Configs.Observe(ctx, w.shared()); err == nil || ground.AsMistake(err) != nil {
		return err
	}
	// Without them it is not known which revision the target is at.
	w.configsUnknown = true
	w.Target.Revision, w.Target.Ready, w.Target.Message = w.Canary.Status.LastAppliedSpec, false, err.Error()
	return mistake(reasonConfigsUnreadable, "ConfigMaps and Secrets of %s: %v", w.Canary.Spec.TargetRef.Name, err)
}

// recordConfigs puts the hashes of the release into its status.
func (w *world) recordConfigs(d *release.Decision) {
	if !d.Desired.Hold && !w.configsUnknown {
		w.configs.Record(&d.Status)
	}
}

// sourced is the primary as it would be with the target's configs in place of copies.
func (r *Reconciler) sourced(ctx context.Context, w *world, primary client.Object) (client.Object, error) {
	return w.configs.Sourced(ctx, primary)
}

// applyConfigs brings the primary's copies to what the configs of the target are. It
// returns false where the primary must be left as it is for now.
func (r *Reconciler) applyConfigs(ctx context.Context, w *world, want release.Desired) (ok bool) {
	err := w.configs.Apply(ctx, want)
	if errors.Is(err, configs.ErrChanged) {
		log.FromContext(ctx).V(1).Info("The primary is left as it is for now", "reason", err.Error())
		return false
	}
	w.configTrouble = err
	return err == nil
}

// useCopies has the pod template of the primary refer to the copies. It returns what the
// result depends on.
func (w *world) useCopies(template *corev1.PodTemplateSpec, revision string) (version string) {
	return w.configs.Use(template, revision)
}

// collectConfigs deletes copies that the primary does not use any more.
func (r *Reconciler) collectConfigs(ctx context.Context, w *world, want release.Desired) {
	w.configTrouble = w.configs.Collect(ctx, want.PrimaryRevision)
}
