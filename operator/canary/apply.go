package canary

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// attempts are the writes of one turn. Each is made on its own: one that is refused
// stops none of the others but those that would lead traffic to what is not there.
type attempts struct {
	failures []release.Failure
	errs     []error
	waits    []error // of a mesh that asks for patience, and of conflicts
}

// made notes what came of the write of an object, and returns whether it succeeded.
func (a *attempts) made(object string, err error) bool {
	switch {
	case err == nil:
		return true
	case providers.WaitOf(err) != nil, errors.Is(err, errConflict):
		a.waits = append(a.waits, err)
	default:
		a.failures = append(a.failures, release.Failure{Object: object, Message: err.Error(), Invalid: apierrors.IsInvalid(err)})
		a.errs = append(a.errs, fmt.Errorf("%s: %w", object, err))
	}
	return false
}

// apply brings the world to the desired state. It is safe to stop after any of
// its writes: the next turn applies the same state again, and sends only what
// differs.
func (r *Reconciler) apply(ctx context.Context, w *world, want release.Desired) *attempts {
	a := &attempts{failures: w.unobserved}
	if want.Hold {
		return a
	}
	if len(w.gone) > 0 {
		// Whose the rest is, is not known any more once the primary has the new mark.
		if !a.made("what a deleted Canary left", r.claim(ctx, w)) {
			return a
		}
	}
	if !want.Finished {
		defer func() { a.made("marks", r.claim(ctx, w)) }()
	}
	switch {
	case !w.Canary.DeletionTimestamp.IsZero():
		r.release(ctx, w, want, a)
	default:
		r.applyAll(ctx, w, want, a)
	}
	return a
}

// applyAll writes in the order of what depends on what. The route comes first, and
// waits for nothing, as soon as there is what it leads to: it is what takes users
// away from pods that fail. Pods go last.
func (r *Reconciler) applyAll(ctx context.Context, w *world, want release.Desired, a *attempts) {
	routed := !want.Routed || w.settled(want)
	backends := routed || r.backends(ctx, w)
	if !routed && backends {
		a.made("route", w.applyRoute(ctx, want))
		routed = true
	}
	// What guards the pods is there before they are. Once they serve, it must
	// not hold up what moves traffic.
	covered := a.made("coverage", r.applyCoverage(ctx, w, want)) && !w.blind("coverage")
	if covered || w.guarded() {
		a.made(w.primaryTitle(), r.applyPrimary(ctx, w, want))
	}
	a.made("copies of ConfigMaps and Secrets", w.configTrouble)
	r.applyServices(ctx, w, want, routed, backends, a)
	// An autoscaler that is not paused would only bring back the pods that are to go.
	scaled := a.made(w.autoscalerTitle(), w.autoscaler.Apply(ctx, want))
	if drain := want.TargetReplicas != nil && *want.TargetReplicas == 0; scaled || !drain {
		a.made(w.targetTitle(), r.scaleTarget(ctx, w.target, want.TargetReplicas))
	}
}

// applyServices writes the Services, the apex after what it leads to, and the route in
// between where it could not be written before for lack of them.
func (r *Reconciler) applyServices(ctx context.Context, w *world, want release.Desired, routed, backends bool, a *attempts) {
	if w.settled(want) && !w.servicesRefused {
		return
	}
	ready := true
	for _, s := range w.services.All() {
		if s == w.services.Apex {
			continue
		}
		ready = a.made("Service "+s.Name, r.applyService(ctx, s)) && ready
	}
	if !want.Routed || !ready && !backends {
		return
	}
	if !routed && !a.made("route", w.applyRoute(ctx, want)) && w.routeFirst() {
		return
	}
	if s := w.services.Apex; s != nil {
		a.made("Service "+s.Name, r.applyService(ctx, s))
	}
}

// settled tells whether Services and route were just observed to be what is
// wanted.
func (w *world) settled(want release.Desired) bool {
	return w.Route.InSync && want.Routed && want.Traffic == serving.TrafficOf(w.Canary, &w.Canary.Status)
}

// blind is true for a part that could not be observed.
func (w *world) blind(part string) bool {
	return slices.ContainsFunc(w.unobserved, func(f release.Failure) bool { return f.Object == part })
}

func (w *world) primaryTitle() string {
	return w.Canary.Spec.TargetRef.Kind + " " + w.Canary.PrimaryName()
}

func (w *world) autoscalerTitle() string {
	if ref := w.Canary.Spec.AutoscalerRef; ref != nil {
		return ref.Kind + " " + workload.PrimaryAutoscalerName(ref.Name)
	}
	return "autoscaler of " + w.Canary.PrimaryName()
}

func (w *world) targetTitle() string {
	return w.Canary.Spec.TargetRef.Kind + " " + w.Canary.Spec.TargetRef.Name
}

func (r *Reconciler) applyService(ctx context.Context, s *corev1.Service) error {
	return r.Applier.Apply(ctx, s, serviceKey(s))
}

// serviceKey stands for the intent for a Service. To write it as JSON at every
// turn would cost more.
func serviceKey(s *corev1.Service) ssa.Option {
	raw, _ := s.Marshal() // it has room for all of it, so that nothing can fail
	return ssa.Keyed("Service " + string(raw))
}
