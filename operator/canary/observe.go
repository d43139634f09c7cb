package canary

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/autoscaling"
	"github.com/sluice-delivery/sluice/operator/configs"
	"github.com/sluice-delivery/sluice/operator/coverage"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
	"github.com/sluice-delivery/sluice/operator/spec"
	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/operator/workload"
	ground "github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers"
)

// world is an observation and the objects that it was made from.
type world struct {
	ground.World
	// gone are Canaries that do not exist any more and left what this one needs.
	gone     []string
	router   providers.Router // nil where the provider is unknown
	target   client.Object    // nil where there is none
	primary  client.Object    // nil where there is none
	services workload.Services
	// servicesKnown is what was known of the Services before this turn, nil if
	// something has changed since.
	servicesKnown *knownServices
	// servicesRefused is true where some of them could not be written the last time, and do
	// for traffic as they are: they are still to be written.
	servicesRefused bool
	reached         bool // all available pods have endpoints
	// unobserved are the parts that could not be observed, each with its reason.
	unobserved []release.Failure

	autoscaler *autoscaling.Share
	coverage   *coverage.Share
	configs    *configs.Share

	// configsUnknown is true where the configs of the target could not be read.
	configsUnknown bool
	configTrouble  error // why the primary's copies are not what they are to be
}

// shared is what the parts in packages of their own see of the world.
func (w *world) shared() *ground.World {
	w.Objects, w.Owner = ground.Objects{TargetObject: w.target, PrimaryObject: w.primary}, w.owner()
	return &w.World
}

// observe reads everything that a decision depends on, from the informer cache
// only. What the user must mend is a Mistake of the observation, not an error.
func (r *Reconciler) observe(ctx context.Context, c *v1beta1.Canary) (*world, error) {
	w := &world{World: ground.World{Observation: release.Observation{
		Now:     r.Clock.Now(),
		Canary:  c,
		Absence: r.Absence,
	}}}
	w.Canary, w.Mistake = pinned(c, r.Provider)
	w.Failures = r.memory.failures(c)
	w.Checks, w.Hooks = r.Checker.Results(c)
	for _, part := range []struct {
		name    string
		observe func(context.Context, *world) error
		// aside is true for what only stands beside the traffic: where it can't be observed, the turn goes on.
		aside bool
	}{
		{"spec", r.observeSpec, false},
		{"metrics", r.observeMetrics, true},
		{"target", r.observeTarget, false},
		{"deleted Canaries", r.observeGone, false},
		{"ConfigMaps and Secrets", r.observeConfigs, true},
		{"primary", r.observePrimary, false},
		{"autoscaler", r.observeAutoscaler, true},
		{"Services", r.observeServices, false},
		{"endpoints", r.observeEndpoints, false},
		{"coverage", r.observeCoverage, true},
		{"route", r.observeRoute, false},
	} {
		err := part.observe(ctx, w)
		switch mistake := ground.AsMistake(err); {
		case err == nil:
		case mistake != nil:
			if w.Mistake == nil || mistake.Foreign && !w.Mistake.Foreign {
				w.Mistake = mistake
			}
		case part.aside:
			w.unobserved = append(w.unobserved, release.Failure{Object: part.name, Message: err.Error()})
		default:
			return nil, err
		}
	}
	w.Identity = identityOf(w.Canary, w.target, w.primary, r.Provider, r.Options)
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
	reasonInvalidSpec       = ground.ReasonInvalidSpec
	reasonUnknownProvider   = "UnknownProvider"
	reasonMeshMissing       = "MeshNotInstalled"
	reasonTargetMissing     = "TargetMissing"
	reasonTargetUnsupported = "TargetUnsupported"
	reasonTargetShared      = "TargetShared"
	reasonNoSelectorLabel   = "NoSelectorLabel"
	reasonConflict          = ground.ReasonConflict
	// reasonConfigsUnreadable goes away by itself where the API server only could not answer.
	reasonConfigsUnreadable = "ConfigsUnreadable"
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
	if err := spec.Apart(w.Canary, provider, r.NoCrossNamespace); err != nil {
		return err
	}
	if r.Hooks != nil {
		if err := r.Hooks.Check(ctx, w.Canary); err != nil {
			return err
		}
	}
	return r.observeSiblings(ctx, w)
}

func (r *Reconciler) observeMetrics(ctx context.Context, w *world) error {
	return r.Metrics.Observe(ctx, w.shared())
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
		owner := wake.Referrer{Name: w.Canary.Name, Created: w.Canary.CreationTimestamp, Holds: w.Canary.Status.Identity != nil}
		for _, other := range all {
			if other.Name != owner.Name && other.Precedes(owner) {
				owner = other
			}
		}
		if owner.Name != w.Canary.Name {
			why := "is older"
			if w.Canary.CreationTimestamp.Before(&owner.Created) {
				why = "has it already"
			}
			return foreign(reasonTargetShared, "the %s belongs to Canary %s, which %s; a workload and a service can have one Canary", shared.what, owner.Name, why)
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
	deleted, from := !w.Canary.DeletionTimestamp.IsZero(), w.servicesOf()
	if known, ok := r.memory.services(w.Canary, from); ok && !deleted {
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
	if message := spec.InvalidServices(w.Canary, w.target, services); message != "" && !deleted {
		return mistake(reasonInvalidSpec, "%s", message)
	}
	if deleted {
		w.services = services // whatever is wrong with one of them, the others are given back
	}
	live, err := r.liveServices(ctx, services)
	if err != nil {
		return err
	}
	if err := mayHave(w, services, live, r.Options); err != nil {
		return err
	}
	if from.replacing {
		services.KeepPorts(w.Canary, live)
	}
	w.services = services
	if !deleted {
		r.memory.learn(w.Canary, &knownServices{madeFrom: from, live: versionsOf(live), intents: services})
	}
	return nil
}

// mayHave refuses Services that are there and can't be the Canary's.
func mayHave(w *world, services workload.Services, live []*corev1.Service, o workload.Options) error {
	c := w.Canary
	for i, s := range slices.Backward(services.All()) { // what the apex Service has the others need
		if live[i] == nil {
			continue
		}
		if err := conflict(w, live[i], "Service"); err != nil {
			return err
		}
		if w.owner().Owns(live[i]) || !c.DeletionTimestamp.IsZero() {
			continue
		}
		if !spec.MayAdopt(services, live[i], w.target, w.primary, o) {
			return foreign(reasonConflict, "spec.service.name: the Service %s leads elsewhere than to the target, by the selector %q; choose another name, or have its owner set its annotation %s to \"true\"",
				live[i].Name, labels.FormatLabels(live[i].Spec.Selector), spec.AdoptableAnnotation)
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

// conflict refuses objects that were made for another Canary or have a controller.
func conflict(w *world, o client.Object, kind string) error {
	if w.owner().Of(o) == ownership.Others {
		return foreign(reasonConflict, "%s %s belongs to %s; delete it or choose another name for spec.service.name or the target", kind, o.GetName(), ownership.Name(o))
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
		state, err = r.lookAtRoute(ctx, w)
		switch {
		case err == nil, deleted && providers.IsNotInstalled(err):
		case isMistake(err):
			return routerMistake(err)
		default:
			// Whatever it is, nothing is known of the route, and it goes away by itself.
			w.Outage = "spec.provider: " + err.Error()
			w.Route.Since = r.memory.routeInSync(w.Canary, false, w.Canary.Status.CanaryWeight, w.Now)
			return nil
		}
	}
	if state.Exists {
		has := state.Traffic
		w.Route.Has = &release.Traffic{Canary: has.Canary, Matched: has.Matched, Mirror: has.Mirror}
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

// isMistake tells the user's mistakes from what goes away by itself.
func isMistake(err error) bool {
	return providers.IsNotInstalled(err) || providers.IsInvalid(err) || providers.IsUnsupported(err) || providers.IsConflict(err)
}

func routerMistake(err error) error {
	switch {
	case providers.IsNotInstalled(err):
		return mistake(reasonMeshMissing, "spec.provider: %v", err)
	case providers.IsConflict(err):
		return foreign(reasonConflict, "%v", err)
	default:
		return mistake(reasonInvalidSpec, "%v", err)
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
		same, err := r.Applier.InSync(ctx, s, serviceKey(s))
		if err != nil {
			return false, err
		}
		if same {
			continue
		}
		if !r.leads(ctx, w, s) {
			return false, nil
		}
		w.servicesRefused = true
	}
	if known := w.servicesKnown; known != nil && !w.servicesRefused {
		known.inSync = true
		r.memory.learn(w.Canary, known)
	}
	return true, nil
}

// leads tells whether a Service whose write was refused the last time does for traffic
// what it must: nothing waits for a label.
func (r *Reconciler) leads(ctx context.Context, w *world, intent *corev1.Service) bool {
	refused := slices.ContainsFunc(w.Failures, func(f release.Failure) bool { return f.Object == "Service "+intent.Name })
	if !refused {
		return false
	}
	live, err := kube.Get[corev1.Service](ctx, r.Client, intent.Namespace, intent.Name)
	return err == nil && live != nil && workload.LeadsLike(live, intent)
}

// backends tells whether the Services that a route divides traffic between are there.
func (r *Reconciler) backends(ctx context.Context, w *world) bool {
	_, primary, canary := w.Canary.ServiceNames()
	for _, name := range []string{primary, canary} {
		if live, err := kube.Get[corev1.Service](ctx, r.Client, w.Canary.Namespace, name); err != nil || live == nil {
			return false
		}
	}
	return true
}

// route is the route that the persisted status asks for.
func (w *world) route() providers.Route {
	return w.routeOf(serving.TrafficOf(w.Canary, &w.Canary.Status))
}

// routeOf tells a router what the decision core asks for.
func (w *world) routeOf(t release.Traffic) providers.Route {
	route := providers.Route{Canary: w.Canary, Gone: w.gone, Traffic: providers.Traffic{
		Primary: 100 - t.Canary, Canary: t.Canary, Matched: t.Matched, Mirror: t.Mirror, Sessions: providers.Sessions(t.Sessions),
	}}
	for _, o := range []client.Object{w.target, w.primary} {
		if o != nil && workload.Template(o) != nil {
			route.PodAnnotations = workload.Template(o).Annotations
			break
		}
	}
	return route
}
