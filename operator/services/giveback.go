package services

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// givenBack tells whether, on deletion, users' Services are what they
// were and the apex Service that was made for the Canary leads to the target. One
// that is gone holds up nothing, nor does a target that is gone.
func (s *Share) givenBack(ctx context.Context) (bool, error) {
	if onlyPrimary(s.world) {
		return true, nil
	}
	all, err := s.part.ours(ctx, s.world)
	if err != nil {
		return false, err
	}
	for _, live := range all {
		ours := s.world.Owner.Owns(live)
		if ours && isApex(s.intents.Apex, live) || !ours && (!s.intents.GivenBack(live) || s.astray(live)) {
			return false, nil
		}
	}
	return true, nil
}

// onlyPrimary tells whether nothing but the primary can serve, or be found, so that what leads to
// it has to stay.
func onlyPrimary(w *world.World) bool {
	return w.PrimaryObject != nil && (w.TargetObject == nil || w.ApexMisses || w.Target.Available == 0 && w.Primary.Available > 0)
}

// isApex tells whether an object is the apex Service, as far as one can be let go of.
func isApex(apex, live *corev1.Service) bool {
	return apex != nil && live.Name == apex.Name
}

// KeepBackends has the Services that the route of a deleted Canary divides traffic between lead on to
// target and primary as they are by now. What a user made stays as it was given.
func (s *Share) KeepBackends(ctx context.Context) error {
	var failed world.ObjectErrors
	for _, intent := range []*corev1.Service{s.intents.Primary, s.intents.Canary} {
		if intent == nil {
			continue
		}
		live, err := kube.Get[corev1.Service](ctx, s.part.Client, intent.Namespace, intent.Name)
		if err == nil && (live == nil || s.world.Owner.Owns(live)) {
			err = s.part.apply(ctx, intent)
		}
		if err != nil {
			failed = append(failed, world.ObjectError{Object: title(intent), Err: err})
		}
	}
	return failed.OrNil()
}

// GiveBack has the apex Service lead to the target again. What a user made
// becomes what it was; what was made for the Canary is let go of, as clients depend
// on it by now.
func (s *Share) GiveBack(ctx context.Context, want release.Desired) error {
	if want.LeadToPrimary || knative.Is(s.world.Canary) {
		return nil
	}
	all, err := s.part.ours(ctx, s.world)
	if err != nil {
		return err
	}
	// What is registered for that goes with it, and the apex Service has the pods registered after that.
	if err := s.removeRegistration(ctx); err != nil {
		return err
	}
	for _, live := range all {
		ours := s.world.Owner.Owns(live)
		switch {
		case ours && isApex(s.intents.Apex, live):
			if err := s.part.Applier.Merge(ctx, s.intents.LetGo(live), live); err != nil {
				return fmt.Errorf("let go of Service %s: %w", live.Name, err)
			}
		case !ours && !s.intents.GivenBack(live):
			if err := s.part.Applier.Merge(ctx, s.intents.GiveBack(live, ssa.AppliedAnnotation), live); err != nil {
				return fmt.Errorf("give Service %s back: %w", live.Name, err)
			}
		case !ours && s.astray(live):
			if err := s.lead(ctx, live, s.intents.Canary.Spec.Selector); err != nil {
				return fmt.Errorf("lead Service %s to the target: %w", live.Name, err)
			}
		}
	}
	return nil
}

// astray tells whether the apex Service, as it was given back, finds none of the target's pods, and nobody else serves: the
// target was created anew with other labels. Clients find no pod until it leads to those.
func (s *Share) astray(live *corev1.Service) bool {
	w := s.world
	return w.ApexMisses && w.PrimaryObject == nil && isApex(s.intents.Apex, live) && s.intents.Canary != nil &&
		!labels.SelectorFromSet(live.Spec.Selector).Matches(labels.Set(workload.Template(w.TargetObject).Labels))
}

// lead has a Service select pods by other labels.
func (s *Share) lead(ctx context.Context, live *corev1.Service, selector map[string]string) error {
	patch := map[string]any{}
	for key := range live.Spec.Selector {
		patch[key] = nil
	}
	for key, value := range selector {
		patch[key] = value
	}
	return s.part.Applier.Merge(ctx, map[string]any{"spec": map[string]any{"selector": patch}}, live)
}

// removeRegistration deletes the Service for which consul-k8s has registered the target's pods.
func (s *Share) removeRegistration(ctx context.Context) error {
	if s.intents.Registration == nil {
		return nil
	}
	live, err := kube.Get[corev1.Service](ctx, s.part.Client, s.world.Canary.Namespace, s.intents.Registration.Name)
	if err != nil || live == nil || !s.world.Owner.Owns(live) || !live.DeletionTimestamp.IsZero() {
		return err
	}
	if err := s.part.Applier.Delete(ctx, live); err != nil {
		return fmt.Errorf("delete Service %s: %w", live.Name, err)
	}
	return nil
}

// LeadToPrimary has the apex Service lead to the primary again where it leads to a target
// already that can't serve after all.
func (s *Share) LeadToPrimary(ctx context.Context) error {
	selector := workload.Selector(s.world.PrimaryObject)
	if selector == nil {
		return nil
	}
	apex, _, _ := s.world.Canary.ServiceNames()
	live, err := kube.Get[corev1.Service](ctx, s.part.Client, s.world.Canary.Namespace, apex)
	if err != nil || live == nil || maps.Equal(live.Spec.Selector, selector.MatchLabels) {
		return err
	}
	return s.lead(ctx, live, selector.MatchLabels)
}

// apexMisses tells whether the apex Service, as it is given back, does not find the target's
// pods. One that its user made may select labels that a target which was made anew lacks.
func (s *Share) apexMisses(ctx context.Context) (bool, error) {
	template := workload.Template(s.world.TargetObject)
	if template == nil || s.intents.Apex == nil {
		return false, nil
	}
	live, err := kube.Get[corev1.Service](ctx, s.part.Client, s.world.Canary.Namespace, s.intents.Apex.Name)
	if err != nil || live == nil || s.world.Owner.Owns(live) {
		return false, err
	}
	selector := s.intents.SelectorBefore(live)
	return len(selector) > 0 && !labels.SelectorFromSet(selector).Matches(labels.Set(template.Labels)), nil
}
