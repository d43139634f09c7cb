package canary

import (
	"context"
	"errors"
	"slices"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/autoscaling"
	"github.com/sluice-delivery/sluice/operator/configs"
	"github.com/sluice-delivery/sluice/operator/coverage"
	"github.com/sluice-delivery/sluice/operator/inventory"
	"github.com/sluice-delivery/sluice/operator/primaries"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/routes"
	"github.com/sluice-delivery/sluice/operator/services"
	"github.com/sluice-delivery/sluice/operator/spec"
	"github.com/sluice-delivery/sluice/operator/targets"
	"github.com/sluice-delivery/sluice/operator/wake"
	ground "github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers"
)

// world is an observation, the objects that it was made from and what the parts have to do
// with what is decided on it.
type world struct {
	*ground.World
	// unobserved are the parts that could not be observed, each with its reason.
	unobserved []release.Failure
	// mistakes are all that were found, of which the observation has one.
	mistakes []release.Mistake

	target     *targets.Share
	configs    *configs.Share
	primary    *primaries.Share
	autoscaler *autoscaling.Share
	services   *services.Share
	coverage   *coverage.Share
	route      *routes.Share
}

// observer is a step of an observation.
type observer func(context.Context, *ground.World) error

// into observes a part and keeps its share.
func into[S ground.Share](part ground.Part[S], share *S) observer {
	return func(ctx context.Context, w *ground.World) (err error) {
		*share, err = part.Observe(ctx, w)
		return err
	}
}

// observe reads everything that a decision depends on, from the informer cache
// only. What the user must mend is a Mistake of the observation, not an error. What was observed
// until then is there beside an error, too.
func (r *Reconciler) observe(ctx context.Context, c *v1beta1.Canary) (*world, error) {
	is, mistake := pinned(c, r.Provider)
	w := &world{World: ground.New(release.Observation{Now: r.Clock.Now(), Canary: is, Absence: absence(r)})}
	w.Mistake = mistake
	if mistake != nil {
		w.mistakes = append(w.mistakes, *mistake)
	}
	last, _ := r.failures.Get(c)
	w.Failures = slices.Clone(last.failures)
	w.Checks, w.Hooks = r.Checker.Results(c)
	for _, part := range []struct {
		name    string
		observe observer
		// aside is true for what only stands beside the traffic: where it can't be observed, the turn goes on.
		aside bool
	}{
		{"headless Services", r.observeHeadless, false},
		{"spec", r.observeSpec, false},
		{"metrics", r.Metrics.Observe, true},
		{"target", into(r.Targets, &w.target), false},
		{"deleted Canaries", r.inventory().Observe, false},
		{"ConfigMaps and Secrets", into(r.Configs, &w.configs), true},
		{"primary", into(r.Primaries, &w.primary), false},
		{"autoscaler", into(r.Autoscalers, &w.autoscaler), true},
		{"Services", into(r.Services, &w.services), false},
		{"coverage", into(r.Coverage, &w.coverage), true},
		{"route", into(r.Routes, &w.route), false},
	} {
		err := part.observe(ctx, w.World)
		switch mistake := ground.AsMistake(err); {
		case err == nil:
		case mistake != nil:
			w.mistakes = append(w.mistakes, ground.Mistakes(err)...)
			if w.Mistake == nil || mistake.Foreign && !w.Mistake.Foreign {
				w.Mistake = mistake
			}
		case part.aside:
			w.unobserved = append(w.unobserved, release.Failure{Object: part.name, Message: err.Error()})
		default:
			return w, err
		}
	}
	w.Identity = identityOf(w.Canary, w.TargetObject, w.PrimaryObject, w.Router != nil, r.Provider, r.Options)
	return w, nil
}

// inventory is all that parts make for Canaries, in the order in which it can go.
func (r *Reconciler) inventory() *inventory.Inventory {
	return &inventory.Inventory{Client: r.Client, Applier: r.Applier, Holders: []inventory.Holder{
		r.Autoscalers, r.Services, r.Primaries, r.Coverage, r.Configs,
	}}
}

// Reasons of mistakes that the reconciler finds itself.
const (
	// reasonUnknownProvider: spec.provider names no router that there is; the message lists those that there are.
	reasonUnknownProvider = "UnknownProvider"
	// reasonTargetShared: an older Canary has the same target, or the same names of Services.
	reasonTargetShared = "TargetShared"
)

func (r *Reconciler) observeSpec(ctx context.Context, w *ground.World) error {
	provider := w.Canary.GetProvider(r.Provider)
	router, err := r.Router(provider)
	if err != nil {
		return ground.Mistake(reasonUnknownProvider, "spec.provider: %v", err)
	}
	w.Router = router
	serve(w, provider, router)
	var wrong []error
	for _, message := range invalid(w.Canary, provider, router.Capabilities()) {
		wrong = append(wrong, ground.Mistake(ground.ReasonInvalidSpec, "%s", message))
	}
	if len(wrong) > 0 {
		return errors.Join(wrong...)
	}
	if err := spec.Apart(w.Canary, provider, r.NoCrossNamespace); err != nil {
		return err
	}
	if err := r.observeSiblings(ctx, w); err != nil {
		return err
	}
	if r.Hooks == nil {
		return nil
	}
	return r.Hooks.Check(ctx, w.Canary)
}

// serve has the turn be about the Canary as it can be carried out. What has no effect is told.
func serve(w *ground.World, provider string, router providers.Router) {
	var withoutWeights, withoutAutoscaler []string
	w.Canary, withoutWeights = router.Capabilities().Served(provider, w.Canary)
	w.Canary, withoutAutoscaler = autoscaling.Served(w.Canary)
	w.Ignored = slices.Concat(withoutWeights, withoutAutoscaler, ignored(w.Canary, router))
}

// observeSiblings refuses a Canary that would share its target or its Services
// with an older one; the older goes on.
func (r *Reconciler) observeSiblings(ctx context.Context, w *ground.World) error {
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
			return ground.Foreign(reasonTargetShared, "the %s belongs to Canary %s, which %s; a workload and a service can have one Canary", shared.what, owner.Name, why)
		}
	}
	return nil
}
