// Package consul moves traffic with config entries of Consul: service-defaults,
// service-resolver, service-splitter and service-router, and has service-intentions
// guard what it leads to.
//
// What it writes has the Canary's name in its Meta. An entry that a user made before
// is kept in ours until it is given back; one that consul-k8s or another Canary takes
// care of is not touched. Every write is a check-and-set, in an order in which every
// state between is valid and serves all requests.
package consul

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/cache"
	"github.com/sluice-delivery/sluice/providers/consul/internal/canaries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/catalog"
	"github.com/sluice-delivery/sluice/providers/consul/internal/chains"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/plan"
	"github.com/sluice-delivery/sluice/providers/consul/internal/routes"
	"github.com/sluice-delivery/sluice/providers/consul/internal/server"
	"github.com/sluice-delivery/sluice/providers/consul/internal/services"
)

// Annotations of a Canary that say where in Consul its services are, in place of the
// operator's flags.
const (
	NamespaceAnnotation = services.NamespaceAnnotation
	PartitionAnnotation = services.PartitionAnnotation
)

// ServiceAnnotation on a pod is the name of the service that it is an instance of.
const ServiceAnnotation = services.ServiceAnnotation

// warmUp is how long proxies may take until they can reach a service that is new to
// them: longer than Envoy waits for the endpoints of a cluster, 15 s.
const warmUp = 20 * time.Second

// Config says how to reach Consul. What is empty comes from Consul's standard environment.
type Config = server.Config

// Router is the providers.Router for Consul.
type Router struct {
	clock clock.Clock
	base  entries.Scope
	// apart refuses what Canaries say about where their services are, but for what is their own namespace's.
	apart bool
	// broken is why there is no way to reach Consul, nil if there is.
	broken error

	canaries  *canaries.Canaries
	cache     *cache.Cache
	writer    writer
	chains    *chains.Confirmer
	instances *catalog.Instances
	addresses *catalog.Addresses
}

// backend is Consul as the router needs it.
type backend interface {
	cache.Backend
	chains.Asker
	catalog.Consul
}

var (
	_ providers.Watcher      = (*Router)(nil)
	_ providers.RouteFirster = (*Router)(nil)
)

// New returns a router that reaches Consul by c once Start is called. A mistake in c
// is told by every call.
func New(c Config, clk clock.Clock) *Router {
	s, err := server.New(c)
	r := newRouter(s, err, c.Scope(), clk)
	r.apart = c.Apart
	return r
}

func newRouter(b backend, broken error, base entries.Scope, clk clock.Clock) *Router {
	known := canaries.New(clk)
	has := cache.New(b, clk, known.Touched)
	return &Router{
		clock: clk, base: base, broken: broken,
		canaries: known, cache: has, writer: writer{has}, chains: chains.NewConfirmer(b, known),
		instances: catalog.NewInstances(b, known), addresses: catalog.NewAddresses(b, known),
	}
}

// Start implements providers.Watcher.
func (r *Router) Start(ctx context.Context) error {
	if r.broken != nil {
		<-ctx.Done()
		return nil //nolint:nilerr // Observe says so, for those whom it is about
	}
	r.canaries.Begin(ctx)
	r.cache.Start(ctx)
	r.canaries.Bring(ctx)
	return nil
}

// Changed implements providers.Watcher.
func (r *Router) Changed() <-chan event.GenericEvent { return r.canaries.Events() }

// Capabilities implements providers.Router. Consul's routes have no way to copy
// requests, and connections are not shared out by weight.
func (*Router) Capabilities() providers.Capabilities {
	return providers.Capabilities{Weighted: true, HeaderMatch: true, WeightedMatch: true, SessionAffinity: true}
}

// RouteFirst implements providers.RouteFirster: where the apex Service leads decides
// which pods consul-k8s takes for instances.
func (*Router) RouteFirst() bool { return true }

// Observe implements providers.Router. It reads what the watches have; only after a
// change it asks Consul once, for the discovery chain.
func (r *Router) Observe(ctx context.Context, route providers.Route) (providers.State, error) {
	n, v, err := r.look(ctx, route)
	if err != nil {
		return providers.State{}, err
	}
	if !route.Canary.DeletionTimestamp.IsZero() {
		return r.left(route.Canary, n, v)
	}
	state := providers.State{Uncovered: v.Uncovered}
	if state.Traffic, state.Exists, err = routes.TrafficOf(route.Canary, n, v.Entries); err != nil {
		return state, err
	}
	p, err := r.plan(route, n, v.Entries)
	if err != nil || !v.Settled || !p.Done(v.Entries) {
		return state, err
	}
	confirmed, err := r.chains.Confirmed(ctx, route.Canary, n, p, v.Entries)
	if err != nil || !confirmed {
		return state, err
	}
	if known, err := r.addresses.Known(ctx, route, n, v.Entries); err != nil || !known {
		state.Detail = "the cluster IPs of the Services are not known to transparent proxies yet"
		return state, err
	}
	return providers.State{Exists: true, Traffic: route.Traffic, InSync: true, Uncovered: v.Uncovered}, nil
}

// left is the state of a Canary that is deleted: whether anything of ours is there.
func (r *Router) left(c *v1beta1.Canary, n services.Names, v cache.View) (providers.State, error) {
	traffic, _, err := routes.TrafficOf(c, n, v.Entries)
	exists := !v.Settled || slices.ContainsFunc(n.Keys(), func(k entries.Key) bool { return v.Entries[k].IsOurs(c) })
	if !exists {
		r.canaries.Forget(c)
		traffic = providers.Traffic{}
	}
	return providers.State{Exists: exists, Traffic: traffic}, err
}

// look returns what is known of a Canary's entries, and remembers that it is asked for.
func (r *Router) look(ctx context.Context, route providers.Route) (services.Names, cache.View, error) {
	if r.broken != nil {
		return services.Names{}, cache.View{}, &providers.UnreachableError{System: "Consul", Err: r.broken}
	}
	if err := r.mayBeIn(route.Canary); err != nil && route.Canary.DeletionTimestamp.IsZero() { // what is ours is given back wherever it is
		return services.Names{}, cache.View{}, err
	}
	n := services.Of(route.Canary, route.PodAnnotations, services.ScopeOf(route.Canary, r.base))
	r.canaries.Know(route.Canary, n)
	r.cache.Await(ctx, n.Scope)
	v, err := r.cache.View(n)
	return n, v, err
}

// plan is what Consul must hold for a route, if it can.
func (r *Router) plan(route providers.Route, n services.Names, have entries.Set) (plan.Plan, error) {
	if err := route.Traffic.Validate(); err != nil {
		return plan.Plan{}, err
	}
	if err := r.Capabilities().Check(v1beta1.ProviderConsul, route.Canary); err != nil {
		return plan.Plan{}, err
	}
	if err := services.Registered(route, n); err != nil {
		return plan.Plan{}, err
	}
	return plan.Of(route, n, have)
}

// Apply implements providers.Router.
func (r *Router) Apply(ctx context.Context, route providers.Route) error {
	return r.retry(ctx, route, r.apply)
}

// retry calls a function once more when Consul refused a write because it was based
// on something old.
func (r *Router) retry(ctx context.Context, route providers.Route, do func(context.Context, providers.Route) (bool, error)) error {
	for range 3 {
		current, err := do(ctx, route)
		if err != nil || current {
			return err
		}
		if err := r.cache.Refresh(ctx, services.ScopeOf(route.Canary, r.base)); err != nil {
			return err
		}
	}
	return &providers.WaitError{For: "others to stop writing the config entries of " + route.Canary.Name + " in Consul", After: time.Second}
}

// apply returns false where it has found that what it knew was old.
func (r *Router) apply(ctx context.Context, route providers.Route) (bool, error) {
	n, v, err := r.look(ctx, route)
	if err != nil {
		return false, err
	}
	p, err := r.plan(route, n, v.Entries)
	if err != nil {
		return true, err
	}
	if p.Done(v.Entries) {
		return true, r.addresses.Assign(ctx, route, n, v.Entries)
	}
	if err := r.instances.NobodyElses(ctx, route.Canary, n, v.Entries); err != nil {
		return true, err
	}
	if current, warm, err := r.warm(ctx, route.Canary, n, p, v.Entries); err != nil || !warm {
		return current, err
	}
	if err := r.instances.Ready(ctx, route.Canary, n, p.Wanted, v.Entries); err != nil {
		return true, err
	}
	if current, err := r.writer.write(ctx, route.Canary, n.Scope, p, v.Entries); err != nil || !current {
		return current, err
	}
	// The apex Service leads elsewhere only once this has returned without an error.
	return true, r.addresses.Assign(ctx, route, n, v.Entries)
}

// warm tells whether proxies know of the primary. It has them told where the service
// has instances, and so may have clients.
func (r *Router) warm(ctx context.Context, c *v1beta1.Canary, n services.Names, p plan.Plan, have entries.Set) (current, warm bool, err error) {
	live := have[entries.Key{Kind: api.ServiceSplitter, Name: n.Apex}]
	since := live.Meta[entries.WarmingMeta]
	if live.IsOurs(c) && since == "" {
		return true, true, nil
	}
	began, err := time.Parse(time.RFC3339, since)
	switch {
	case since != "" && err == nil:
	case live.IsOurs(c): // somebody has edited it
		return true, true, nil
	default:
		serves, err := r.instances.Serve(ctx, n.Scope, n.Apex)
		if err != nil || !serves {
			return true, err == nil, err
		}
		began = r.clock.Now()
	}
	left := began.Add(warmUp).Sub(r.clock.Now())
	if left <= 0 {
		return true, true, nil
	}
	telling, err := plan.Warming(p, n, have, c, began.UTC().Format(time.RFC3339))
	if err != nil {
		return true, false, err
	}
	if current, err := r.writer.write(ctx, c, n.Scope, telling, have); err != nil || !current {
		return current, false, err
	}
	return true, false, &providers.WaitError{For: "proxies to hear of " + n.Primary, After: left}
}

// Release implements providers.Router. What leads elsewhere goes first, what guards
// the halves last.
func (r *Router) Release(ctx context.Context, route providers.Route) error {
	return r.retry(ctx, route, r.release)
}

func (r *Router) release(ctx context.Context, route providers.Route) (bool, error) {
	n, v, err := r.look(ctx, route)
	if err != nil {
		return false, err
	}
	if err := r.instances.Replaced(ctx, route.Canary, n, v.Entries); err != nil {
		return true, err
	}
	if err := r.addresses.Unassign(ctx, n); err != nil {
		return true, err
	}
	keys := n.Keys()
	slices.Reverse(keys)
	for _, k := range keys {
		if current, err := r.writer.giveBack(ctx, route.Canary, n.Scope, v.Entries[k]); err != nil || !current {
			return false, err
		}
	}
	return true, nil
}
