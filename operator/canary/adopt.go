package canary

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// adopt has the intent for a Service keep what a user, whose Service it is, has
// set.
func adopt(c *v1beta1.Canary, all workload.Services, intent, live *corev1.Service) error {
	err := all.Adopt(c, intent, live)
	var unsupported *workload.UnsupportedServiceError
	if errors.As(err, &unsupported) {
		return mistake(reasonConflict, "%v", unsupported)
	}
	return err
}

// servicesNow reads the Services by the names that a Canary has for them,
// without those that are not there or are another controller's.
func (r *Reconciler) servicesNow(ctx context.Context, w *world) ([]*corev1.Service, error) {
	all, err := r.servicesNamed(ctx, w.Canary)
	return slices.DeleteFunc(all, func(live *corev1.Service) bool { return conflict(w, live, workload.KindService) != nil }), err
}

// servicesNamed reads the Services by the names that a Canary has for them, without
// those that are not there.
func (r *Reconciler) servicesNamed(ctx context.Context, c *v1beta1.Canary) ([]*corev1.Service, error) {
	apex, primary, canary := c.ServiceNames()
	var out []*corev1.Service
	for _, name := range []string{apex, primary, canary} {
		live, err := kube.Get[corev1.Service](ctx, r.Client, c.Namespace, name)
		if err != nil {
			return nil, err
		}
		if live != nil {
			out = append(out, live)
		}
	}
	return out, nil
}

// servicesGivenBack tells whether, on deletion, users' Services are what they
// were and the apex Service that was made for the Canary leads to the target. One
// that is gone holds up nothing, nor does a target that is gone.
func (r *Reconciler) servicesGivenBack(ctx context.Context, w *world) (bool, error) {
	if w.onlyPrimary() {
		return true, nil
	}
	all, err := r.servicesNow(ctx, w)
	if err != nil {
		return false, err
	}
	for _, live := range all {
		ours := w.owner().Owns(live)
		if ours && w.isApex(live) || !ours && !w.services.GivenBack(live) {
			return false, nil
		}
	}
	return true, nil
}

// onlyPrimary tells whether nothing but the primary can serve, so that what leads to it
// has to stay.
func (w *world) onlyPrimary() bool {
	return w.primary != nil && (w.target == nil || w.Target.Available == 0 && w.Primary.Available > 0)
}

// isApex tells whether an object is the apex Service, as far as one can be let go of.
func (w *world) isApex(live *corev1.Service) bool {
	return w.services.Apex != nil && live.Name == w.services.Apex.Name
}

// giveBackServices has the apex Service lead to the target again. What a user made
// becomes what it was; what was made for the Canary is let go of, as clients depend
// on it by now.
func (r *Reconciler) giveBackServices(ctx context.Context, w *world, want release.Desired) error {
	if want.LeadToPrimary {
		return nil
	}
	all, err := r.servicesNow(ctx, w)
	if err != nil {
		return err
	}
	for _, live := range all {
		ours := w.owner().Owns(live)
		switch {
		case ours && w.isApex(live):
			if err := r.Applier.Merge(ctx, w.services.LetGo(live), live); err != nil {
				return fmt.Errorf("let go of Service %s: %w", live.Name, err)
			}
		case !ours && !w.services.GivenBack(live):
			if err := r.Applier.Merge(ctx, w.services.GiveBack(live, ssa.AppliedAnnotation), live); err != nil {
				return fmt.Errorf("give Service %s back: %w", live.Name, err)
			}
		}
	}
	return nil
}

// leadToPrimary has the apex Service lead to the primary again where it leads to a target
// already that can't serve after all.
func (r *Reconciler) leadToPrimary(ctx context.Context, w *world) error {
	selector := workload.Selector(w.primary)
	if selector == nil {
		return nil
	}
	apex, _, _ := w.Canary.ServiceNames()
	live, err := kube.Get[corev1.Service](ctx, r.Client, w.Canary.Namespace, apex)
	if err != nil || live == nil || maps.Equal(live.Spec.Selector, selector.MatchLabels) {
		return err
	}
	patch := map[string]any{}
	for key := range live.Spec.Selector {
		patch[key] = nil
	}
	for key, value := range selector.MatchLabels {
		patch[key] = value
	}
	return r.Applier.Merge(ctx, map[string]any{"spec": map[string]any{"selector": patch}}, live)
}

// targetReached tells whether the apex Service, as it is given back, finds the target's
// pods. One that its user made may select labels that a target which was made anew lacks.
func (r *Reconciler) targetReached(ctx context.Context, w *world) bool {
	template := workload.Template(w.target)
	if template == nil || w.services.Apex == nil {
		return true
	}
	live, err := kube.Get[corev1.Service](ctx, r.Client, w.Canary.Namespace, w.services.Apex.Name)
	if err != nil || live == nil || w.owner().Owns(live) {
		return true
	}
	selector := w.services.SelectorBefore(live)
	return len(selector) == 0 || labels.SelectorFromSet(selector).Matches(labels.Set(template.Labels))
}
