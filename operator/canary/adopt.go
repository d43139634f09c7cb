package canary

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// adopt has the intent for a Service keep what a user, whose Service it is, has
// set.
func adopt(c *v1beta1.Canary, all workload.Services, intent, live *corev1.Service) error {
	err := all.Adopt(c, intent, live)
	var unfit *workload.UnfitServiceError
	if errors.As(err, &unfit) {
		return mistake(reasonConflict, "%v", unfit)
	}
	return err
}

// servicesNow reads the Services by the names that a Canary has for them,
// without those that are not there or are another controller's.
func (r *Reconciler) servicesNow(ctx context.Context, w *world) ([]*corev1.Service, error) {
	apex, primary, canary := w.Canary.ServiceNames()
	var out []*corev1.Service
	for _, name := range []string{apex, primary, canary} {
		live, err := kube.Get[corev1.Service](ctx, r.Client, w.Canary.Namespace, name)
		if err != nil {
			return nil, err
		}
		if live != nil && conflict(w.Canary, live, workload.KindService) == nil {
			out = append(out, live)
		}
	}
	return out, nil
}

// servicesGivenBack tells whether, on deletion, users' Services are what they
// were and the apex Service that was made for the Canary leads to the target. One
// that is gone holds up nothing, nor does a target that is gone.
func (r *Reconciler) servicesGivenBack(ctx context.Context, w *world) (bool, error) {
	all, err := r.servicesNow(ctx, w)
	if err != nil {
		return false, err
	}
	for _, live := range all {
		ours := metav1.IsControlledBy(live, w.Canary)
		if ours && w.isApex(live) || !ours && !w.services.GivenBack(live) {
			return false, nil
		}
	}
	return true, nil
}

// isApex tells whether an object is the apex Service, as far as one can be let go of.
func (w *world) isApex(live *corev1.Service) bool {
	return w.services.Apex != nil && live.Name == w.services.Apex.Name
}

// giveBackServices has the apex Service lead to the target again. What a user made
// becomes what it was; what was made for the Canary is let go of, as clients depend
// on it by now.
func (r *Reconciler) giveBackServices(ctx context.Context, w *world) error {
	all, err := r.servicesNow(ctx, w)
	if err != nil {
		return err
	}
	for _, live := range all {
		ours := metav1.IsControlledBy(live, w.Canary)
		switch {
		case ours && w.isApex(live):
			if err := r.Applier.Merge(ctx, w.services.LetGo(live, w.Canary.UID), live); err != nil {
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
