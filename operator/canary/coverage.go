package canary

import (
	"context"

	"github.com/sluice-delivery/sluice/operator/coverage"
	"github.com/sluice-delivery/sluice/operator/release"
)

// observeCoverage finds what selects the target's pods and not the primary's.
func (r *Reconciler) observeCoverage(ctx context.Context, w *world) (err error) {
	w.coverage, err = r.Coverage.Observe(ctx, w.shared())
	return err
}

// guarded tells whether nothing that guards the primary may hold up what moves traffic.
func (w *world) guarded() bool { return coverage.Guarded(w.Canary) }

// applyCoverage keeps the copies that the Canary asks for.
func (r *Reconciler) applyCoverage(ctx context.Context, w *world, want release.Desired) error {
	return w.coverage.Apply(ctx, want)
}
