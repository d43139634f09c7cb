package canary

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/operator/autoscaling"
	"github.com/sluice-delivery/sluice/operator/configs"
	"github.com/sluice-delivery/sluice/operator/coverage"
	"github.com/sluice-delivery/sluice/operator/release"
	ground "github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers"
)

// attempts are the writes of one turn. Each is made on its own: one that is refused
// stops none of the others but those that would lead traffic to what is not there.
type attempts struct {
	failures []release.Failure
	errs     []error
	waits    []error // of a mesh that asks for patience, and of conflicts

	routeRefused bool
}

// made notes what came of the write of an object, and returns whether it succeeded.
func (a *attempts) made(object string, err error) bool {
	var each ground.ObjectErrors
	if errors.As(err, &each) {
		for _, e := range each {
			a.made(e.Object, e.Err)
		}
		return false
	}
	switch {
	case err == nil:
		return true
	case providers.WaitOf(err) != nil, errors.Is(err, ground.ErrChanged):
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
	if len(w.Gone) > 0 {
		// Whose the rest is, is not known any more once the primary has the new mark.
		if !a.made("what a deleted Canary left", w.claim(ctx)) {
			return a
		}
	}
	if !want.Finished {
		defer func() { a.made("marks", w.claim(ctx)) }()
	}
	switch {
	case !w.Canary.DeletionTimestamp.IsZero():
		r.release(ctx, w, want, a)
	default:
		w.applyAll(ctx, want, a)
	}
	return a
}

// claim gives the mark to what was made for the Canary by a version that did not mark,
// or lost it, and takes owner references away. What is applied at every turn has
// that done when it is; this is for what is left as it is in some phases.
func (w *world) claim(ctx context.Context) error {
	return errors.Join(w.configs.Claim(ctx), w.primary.Claim(ctx))
}

// applyAll writes in the order of what depends on what. The route comes first, and
// waits for nothing, as soon as there is what it leads to: it is what takes users
// away from pods that fail. Pods go last.
func (w *world) applyAll(ctx context.Context, want release.Desired, a *attempts) {
	routed := !want.Routed || w.route.Settled(want)
	backends := routed || w.services.Backends(ctx)
	if !routed && backends {
		w.applyRoute(ctx, want, a)
		routed = true
	}
	// What guards the pods is there before they are. Once they serve, it must
	// not hold up what moves traffic.
	covered := a.made("coverage", w.coverage.Apply(ctx, want)) && !w.blind("coverage")
	if covered || coverage.Guarded(w.Canary) {
		w.applyPrimary(ctx, want, a)
	}
	w.applyServices(ctx, want, routed, backends, a)
	// An autoscaler that is not paused would only bring back the pods that are to go.
	scaled := a.made(w.autoscalerTitle(), w.autoscaler.Apply(ctx, want))
	if drain := want.TargetReplicas != nil && *want.TargetReplicas == 0; scaled || !drain {
		a.made(w.targetTitle(), w.target.Apply(ctx, want))
	}
}

func (w *world) applyRoute(ctx context.Context, want release.Desired, a *attempts) {
	a.routeRefused = !a.made("route", w.route.Apply(ctx, want))
}

// applyPrimary writes the primary after the copies of what its pods read, and deletes those
// that they do not read any more.
func (w *world) applyPrimary(ctx context.Context, want release.Desired, a *attempts) {
	const copies = "copies of ConfigMaps and Secrets"
	err := w.configs.Apply(ctx, want)
	if errors.Is(err, configs.ErrChanged) {
		log.FromContext(ctx).V(1).Info("The primary is left as it is for now", "reason", err.Error())
		return
	}
	if a.made(copies, err) && a.made(w.primaryTitle(), w.primary.Apply(ctx, want)) {
		a.made(copies, w.configs.Collect(ctx, want))
	}
}

// applyServices writes the Services, the apex after what it leads to, and the route in
// between where it could not be written before for lack of them.
func (w *world) applyServices(ctx context.Context, want release.Desired, routed, backends bool, a *attempts) {
	if w.route.Settled(want) && !w.services.Refused() {
		return
	}
	ready := a.made("Services", w.services.Apply(ctx, want))
	if !want.Routed || !ready && !backends {
		return
	}
	if !routed {
		w.applyRoute(ctx, want, a)
	}
	if a.routeRefused && w.route.First() && !coverage.Guarded(w.Canary) {
		return // people are not led to the primary yet
	}
	a.made("apex Service", w.services.ApplyApex(ctx))
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
		return ref.Kind + " " + autoscaling.PrimaryAutoscalerName(ref.Name)
	}
	return "autoscaler of " + w.Canary.PrimaryName()
}

func (w *world) targetTitle() string {
	return w.Canary.Spec.TargetRef.Kind + " " + w.Canary.Spec.TargetRef.Name
}
