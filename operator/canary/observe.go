package canary

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/autoscaling"
	"github.com/sluice-delivery/sluice/operator/configs"
	"github.com/sluice-delivery/sluice/operator/coverage"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/operator/workload"
	ground "github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers"
)

// world is an observation and the objects that it was made from.
type world struct {
	rollout.Observation
	router   providers.Router // nil where the provider is unknown
	target   client.Object    // nil where there is none
	primary  client.Object    // nil where there is none
	services workload.Services
	// servicesKnown is what was known of the Services before this turn, nil if
	// something has changed since.
	servicesKnown *knownServices
	reached       bool // all available pods have endpoints

	autoscaler autoscaling.Observed
	coverage   coverage.Observed
	configs    configs.Observed

	configTrouble error // why the primary's copies are not what they are to be
}

// observe reads everything that a decision depends on, from the informer cache
// only. What the user must mend is a Mistake of the observation, not an error.
func (r *Reconciler) observe(ctx context.Context, c *v1beta1.Canary) (*world, error) {
	w := &world{Observation: rollout.Observation{
		Now:    r.Clock.Now(),
		Canary: c,
	}}
	if trouble := r.memory.lastTrouble(c); trouble != "" {
		w.Failures = []rollout.Failure{{Object: "Canary " + c.Name, Message: trouble}}
	}
	w.Checks, w.Hooks = r.Checker.Results(c)
	steps := []func(context.Context, *world) error{
		r.observeSpec, r.observeMetrics, r.observeTarget, r.observeConfigs, r.observePrimary, r.observeAutoscaler, r.observeServices,
		r.observeEndpoints, r.observeCoverage, r.observeRoute,
	}
	for _, step := range steps {
		if err := step(ctx, w); err != nil {
			mistake := ground.AsMistake(err)
			if mistake == nil {
				return nil, err
			}
			if w.Mistake == nil {
				w.Mistake = mistake
			}
		}
	}
	return w, nil
}

func mistake(reason, format string, args ...any) error {
	return ground.Mistake(reason, format, args...)
}

func foreign(reason, format string, args ...any) error {
	return ground.Foreign(reason, format, args...)
}

// Reasons of mistakes.
const (
	reasonInvalidSpec     = ground.ReasonInvalidSpec
	reasonUnknownProvider = "UnknownProvider"
	reasonMeshMissing     = "MeshNotInstalled"
	reasonTargetMissing   = "TargetMissing"
	reasonTargetUnfit     = "TargetUnfit"
	reasonTargetShared    = "TargetShared"
	reasonNoSelectorLabel = "NoSelectorLabel"
	reasonConflict        = ground.ReasonConflict
)

func (r *Reconciler) observeSpec(ctx context.Context, w *world) error {
	provider := w.Canary.GetProvider(r.Provider)
	router, err := r.Router(provider)
	if err != nil {
		return mistake(reasonUnknownProvider, "spec.provider: %v", err)
	}
	w.router = router
	w.Ignored = ignored(w.Canary, router)
	if message := invalid(w.Canary, provider, router.Capabilities()); message != "" {
		return mistake(reasonInvalidSpec, "%s", message)
	}
	if r.Hooks != nil {
		if message := r.Hooks.Refused(w.Canary); message != "" {
			return mistake(reasonInvalidSpec, "%s", message)
		}
	}
	return r.observeSiblings(ctx, w)
}

func (r *Reconciler) observeMetrics(ctx context.Context, w *world) error {
	return r.Metrics.Observe(ctx, w.Canary)
}

// observeSiblings refuses a Canary that would share its target or its Services
// with an older one; the older goes on.
func (r *Reconciler) observeSiblings(ctx context.Context, w *world) error {
	apex, _, _ := w.Canary.ServiceNames()
	target := w.Canary.Spec.TargetRef
	// Of several conflicts always the same one is told: a message that changed
	// from turn to turn would be a write and an event each time.
	for _, shared := range []struct{ index, name, what string }{
		{wake.TargetIndex, target.Name, "target " + target.Kind + "/" + target.Name},
		{wake.TargetIndex, w.Canary.PrimaryName(), "name " + w.Canary.PrimaryName()},
		{wake.ApexIndex, apex, "service " + apex},
	} {
		all, err := r.Canaries.Of(ctx, shared.index, w.Canary.Namespace, shared.name)
		if err != nil {
			return err
		}
		owner := wake.Referrer{Name: w.Canary.Name, Created: w.Canary.CreationTimestamp}
		for _, other := range all {
			if other.Older(owner) {
				owner = other
			}
		}
		if owner.Name != w.Canary.Name {
			return foreign(reasonTargetShared, "the %s belongs to Canary %s, which is older; a workload and a service can have one Canary", shared.what, owner.Name)
		}
	}
	return nil
}

// observeServices builds the Services that are wanted, and looks whose those are
// that are there. Nothing of it is done again while nothing changes.
func (r *Reconciler) observeServices(ctx context.Context, w *world) error {
	if w.target == nil {
		return nil
	}
	deleted := !w.Canary.DeletionTimestamp.IsZero()
	if known, ok := r.memory.services(w.Canary, w.target, w.primary); ok && !deleted {
		live, err := r.liveServices(ctx, known.intents)
		if err != nil {
			return err
		}
		if versionsOf(live) == known.live {
			w.services, w.servicesKnown = known.intents, &known
			return nil
		}
	}
	services, err := workload.BuildServices(w.Canary, w.target, w.primary, r.Options)
	if err != nil {
		return mistake(reasonNoSelectorLabel, "spec.targetRef: %v", err)
	}
	if deleted {
		w.services = services // whatever is wrong with one of them, the others are given back
	}
	live, err := r.liveServices(ctx, services)
	if err != nil {
		return err
	}
	if err := mayHave(w.Canary, services, live); err != nil {
		return err
	}
	w.services = services
	if !deleted {
		r.memory.learn(w.Canary, &knownServices{canary: stateOfObject(w.Canary), target: stateOfObject(w.target), primary: stateOfObject(w.primary), live: versionsOf(live), intents: services})
	}
	return nil
}

// mayHave refuses Services that are there and can't be the Canary's.
func mayHave(c *v1beta1.Canary, services workload.Services, live []*corev1.Service) error {
	for i, s := range services.All() {
		if live[i] == nil {
			continue
		}
		if err := conflict(c, live[i], "Service"); err != nil {
			return err
		}
		if metav1.IsControlledBy(live[i], c) || !c.DeletionTimestamp.IsZero() {
			continue
		}
		if err := adopt(c, services, s, live[i]); err != nil {
			return err
		}
	}
	return nil
}

// liveServices reads the Services that there are intents for, nil for one that
// is not there.
func (r *Reconciler) liveServices(ctx context.Context, intents workload.Services) ([]*corev1.Service, error) {
	all := intents.All()
	out := make([]*corev1.Service, len(all))
	for i, s := range all {
		var err error
		if out[i], err = kube.Get[corev1.Service](ctx, r.Client, s.Namespace, s.Name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// conflict refuses objects that another object's controller takes care of.
func conflict(c *v1beta1.Canary, o client.Object, kind string) error {
	if owner := metav1.GetControllerOf(o); owner != nil && owner.UID != c.UID {
		return foreign(reasonConflict, "%s %s belongs to %s %s; delete it or choose another name for spec.service.name or the target", kind, o.GetName(), owner.Kind, owner.Name)
	}
	return nil
}

func (r *Reconciler) observeRoute(ctx context.Context, w *world) error {
	deleted := !w.Canary.DeletionTimestamp.IsZero()
	servicesInSync := false
	if deleted || len(w.services.All()) > 0 {
		var err error
		if servicesInSync, err = r.servicesInSync(ctx, w); err != nil {
			return err
		}
	}
	var state providers.State
	if w.router != nil {
		w.Route.Fixed = !w.router.Capabilities().Weighted
		var err error
		state, err = w.router.Observe(ctx, w.route())
		if providers.IsUnreachable(err) && !deleted {
			w.Outage = "spec.provider: " + err.Error()
			return nil
		}
		if err != nil && !(deleted && providers.IsNotInstalled(err)) {
			return routerMistake(err)
		}
	}
	if state.Exists {
		has := state.Traffic
		w.Route.Has = &rollout.Traffic{Canary: has.Canary, Matched: has.Matched, Mirror: has.Mirror}
	}
	weight := w.Canary.Status.CanaryWeight
	w.Route.InSync, w.Route.Detail = servicesInSync && state.InSync, state.Detail
	if deleted {
		weight = releasedWeight
		w.Route.InSync = servicesInSync && !state.Exists
	}
	w.Route.Since = r.memory.routeInSync(w.Canary, w.Route.InSync, weight, w.Now)
	return nil
}

// releasedWeight stands for no route at all where weights are remembered.
const releasedWeight = -1

// routerMistake tells the user's mistakes from what goes away by itself.
func routerMistake(err error) error {
	switch {
	case providers.IsNotInstalled(err):
		return mistake(reasonMeshMissing, "spec.provider: %v", err)
	case providers.IsInvalid(err), providers.IsUnsupported(err):
		return mistake(reasonInvalidSpec, "%v", err)
	case providers.IsConflict(err):
		return foreign(reasonConflict, "%v", err)
	default:
		return fmt.Errorf("observe the mesh: %w", err)
	}
}

// servicesInSync tells whether the Services are as they must be.
func (r *Reconciler) servicesInSync(ctx context.Context, w *world) (bool, error) {
	if !w.Canary.DeletionTimestamp.IsZero() {
		return r.servicesGivenBack(ctx, w)
	}
	if known := w.servicesKnown; known != nil && known.inSync {
		return true, nil
	}
	for _, s := range w.services.All() {
		if same, err := r.Applier.InSync(ctx, s, serviceKey(s)); err != nil || !same {
			return false, err
		}
	}
	if known := w.servicesKnown; known != nil {
		known.inSync = true
		r.memory.learn(w.Canary, known)
	}
	return true, nil
}

// route is the route that the persisted status asks for.
func (w *world) route() providers.Route {
	return w.routeOf(rollout.TrafficOf(w.Canary, &w.Canary.Status))
}

// routeOf tells a router what the decision core asks for.
func (w *world) routeOf(t rollout.Traffic) providers.Route {
	route := providers.Route{Canary: w.Canary, Traffic: providers.Traffic{
		Primary: 100 - t.Canary, Canary: t.Canary, Matched: t.Matched, Mirror: t.Mirror, Sessions: providers.Sessions(t.Sessions),
	}}
	if w.target != nil && workload.Template(w.target) != nil {
		route.PodAnnotations = workload.Template(w.target).Annotations
	}
	return route
}
