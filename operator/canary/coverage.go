package canary

import (
	"context"

	"github.com/sluice-delivery/sluice/operator/coverage"
)

// observeCoverage finds what selects the target's pods and not the primary's.
func (r *Reconciler) observeCoverage(ctx context.Context, w *world) error {
	observed, err := r.Coverage.Observe(ctx, w.owner(), w.Canary, w.target, w.primary)
	w.coverage, w.Coverage = *observed, observed.Report
	return err
}

// guarded tells whether nothing that guards the primary may hold up what moves traffic.
func (w *world) guarded() bool { return coverage.Guarded(w.Canary) }

// applyCoverage keeps the copies that the Canary asks for.
func (r *Reconciler) applyCoverage(ctx context.Context, w *world) error {
	return r.Coverage.Apply(ctx, w.Canary, &w.coverage)
}
