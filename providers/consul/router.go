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
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// Annotations of a Canary that say where in Consul its services are, in place of the
// operator's flags.
const (
	NamespaceAnnotation = "sluice.dev/consul-namespace"
	PartitionAnnotation = "sluice.dev/consul-partition"
)

const (
	// warmUp is how long proxies may take until they can reach a service that is new to
	// them: longer than Envoy waits for the endpoints of a cluster, 15 s.
	warmUp = 20 * time.Second
	// registration is how long an instance may take to be in Consul before that is
	// told as a problem.
	registration = 15 * time.Second
	// farewell is how long a deletion waits for the target's instances.
	farewell = time.Minute
	// chainRetry is when to look at a discovery chain again.
	chainRetry = 2 * time.Second
	// healthRetry is when to look for instances again.
	healthRetry = time.Second
)

// Router is the providers.Router for Consul.
type Router struct {
	cache *cache
	clock clock.Clock
	base  scope
	// broken is why there is no way to reach Consul, nil if there is.
	broken error

	canaries *canaries
}

var (
	_ providers.Watcher      = (*Router)(nil)
	_ providers.RouteFirster = (*Router)(nil)
)

// New returns a router that reaches Consul by c once Start is called. A mistake in c
// is told by every call.
func New(c Config, clk clock.Clock) *Router {
	s, err := newServer(c)
	environment := api.DefaultConfig()
	base := scope{partition: cmp.Or(c.Partition, environment.Partition), namespace: cmp.Or(c.Namespace, environment.Namespace)}
	return newRouter(s, err, base, clk)
}

func newRouter(b backend, broken error, base scope, clk clock.Clock) *Router {
	r := &Router{clock: clk, base: base, broken: broken, canaries: newCanaries(clk)}
	r.cache = &cache{backend: b, clock: clk, changed: r.canaries.touched}
	return r
}

// Start implements providers.Watcher.
func (r *Router) Start(ctx context.Context) error {
	if r.broken != nil {
		<-ctx.Done()
		return nil //nolint:nilerr // Observe says so, for those whom it is about
	}
	r.canaries.begin(ctx)
	r.cache.start(ctx)
	r.canaries.bring(ctx)
	return nil
}

// Changed implements providers.Watcher.
func (r *Router) Changed() <-chan event.GenericEvent { return r.canaries.events }

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
	n, v, err := r.look(route)
	if err != nil {
		return providers.State{}, err
	}
	if !route.Canary.DeletionTimestamp.IsZero() {
		return r.left(route.Canary, n, v)
	}
	state := providers.State{Uncovered: v.uncovered}
	if state.Traffic, state.Exists, err = trafficOf(route.Canary, n, v.entries); err != nil {
		return state, err
	}
	p, err := r.plan(route, n, v.entries)
	if err != nil || !v.settled || !p.done(v.entries) {
		return state, err
	}
	shown, err := r.shown(ctx, route.Canary, n, p, v.entries)
	if err != nil || !shown {
		return state, err
	}
	if known, err := r.addressed(ctx, route, n, v.entries); err != nil || !known {
		state.Detail = "the cluster IPs of the Services are not known to transparent proxies yet"
		return state, err
	}
	return providers.State{Exists: true, Traffic: route.Traffic, InSync: true, Uncovered: v.uncovered}, nil
}

// left is the state of a Canary that is deleted: whether anything of ours is there.
func (r *Router) left(c *v1beta1.Canary, n names, v view) (providers.State, error) {
	traffic, _, err := trafficOf(c, n, v.entries)
	exists := !v.settled || slices.ContainsFunc(n.all(), func(k key) bool { return v.entries[k].isOurs(c) })
	if !exists {
		r.canaries.forget(c)
		traffic = providers.Traffic{}
	}
	return providers.State{Exists: exists, Traffic: traffic}, err
}

// look returns what is known of a Canary's entries, and remembers that it is asked for.
func (r *Router) look(route providers.Route) (names, view, error) {
	if r.broken != nil {
		return names{}, view{}, &providers.UnreachableError{System: "Consul", Err: r.broken}
	}
	in := r.base
	in.namespace = cmp.Or(route.Canary.Annotations[NamespaceAnnotation], in.namespace)
	in.partition = cmp.Or(route.Canary.Annotations[PartitionAnnotation], in.partition)
	n := namesOf(route.Canary, route.PodAnnotations, in)
	r.canaries.remember(route.Canary, func(k *known) { k.names = n })
	v, err := r.cache.view(n)
	return n, v, err
}

// plan is what Consul must hold for a route, if it can.
func (r *Router) plan(route providers.Route, n names, have entries) (plan, error) {
	if err := route.Traffic.Validate(); err != nil {
		return plan{}, err
	}
	if err := r.Capabilities().Check(v1beta1.ProviderConsul, route.Canary); err != nil {
		return plan{}, err
	}
	if err := registered(route, n); err != nil {
		return plan{}, err
	}
	return planOf(route, n, have)
}

// done tells whether nothing is left to write.
func (p plan) done(have entries) bool {
	return !slices.ContainsFunc(p.wanted, func(e entry) bool { return have[e.key].index == 0 || !same(e, have[e.key]) }) &&
		!slices.ContainsFunc(p.unwanted, func(k key) bool { return have[k].index > 0 })
}

// shown tells whether Consul's discovery chain does what the entries say. That is
// asked once for each state of the entries.
func (r *Router) shown(ctx context.Context, c *v1beta1.Canary, n names, p plan, have entries) (bool, error) {
	state := stateOf(have)
	seen := false
	r.canaries.remember(c, func(k *known) { seen = k.confirmed == state })
	if seen {
		return true, nil
	}
	chain, err := r.cache.backend.chain(ctx, n.scope, n.apex)
	if err != nil {
		return false, err
	}
	lacks, err := chainHas(chain, n, p)
	if err != nil {
		return false, err
	}
	if lacks != "" {
		r.canaries.later(c, chainRetry) //nolint:contextcheck // that is after the end of this call
		return false, nil
	}
	r.canaries.remember(c, func(k *known) { k.confirmed = state })
	return true, nil
}

// stateOf changes when one of the entries does.
func stateOf(have entries) string {
	parts := make([]string, 0, len(have))
	for k, e := range have {
		parts = append(parts, fmt.Sprintf("%s/%s %d", k.kind, k.name, e.index))
	}
	slices.Sort(parts)
	return strings.Join(parts, ";")
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
		if err := r.cache.refresh(ctx, namesOf(route.Canary, nil, r.base.of(route.Canary)).scope); err != nil {
			return err
		}
	}
	return &providers.WaitError{For: "others to stop writing the config entries of " + route.Canary.Name + " in Consul", After: time.Second}
}

// apply returns false where it has found that what it knew was old.
func (r *Router) apply(ctx context.Context, route providers.Route) (bool, error) {
	n, v, err := r.look(route)
	if err != nil {
		return false, err
	}
	p, err := r.plan(route, n, v.entries)
	if err != nil {
		return true, err
	}
	if p.done(v.entries) {
		return true, r.assignAddresses(ctx, route, n, v.entries)
	}
	if current, warm, err := r.warm(ctx, route.Canary, n, p, v.entries); err != nil || !warm {
		return current, err
	}
	if err := r.instances(ctx, route.Canary, n, p, v.entries); err != nil {
		return true, err
	}
	if current, err := r.write(ctx, route.Canary, n, p, v.entries); err != nil || !current {
		return current, err
	}
	// The apex Service leads elsewhere only once this has returned without an error.
	return true, r.assignAddresses(ctx, route, n, v.entries)
}

// warm tells whether proxies know of the primary. It has them told where the service
// has instances, and so may have clients.
func (r *Router) warm(ctx context.Context, c *v1beta1.Canary, n names, p plan, have entries) (current, warm bool, err error) {
	live := have[key{api.ServiceSplitter, n.apex}]
	since := live.meta[warmingMeta]
	if live.isOurs(c) && since == "" {
		return true, true, nil
	}
	began, err := time.Parse(time.RFC3339, since)
	switch {
	case since != "" && err == nil:
	case live.isOurs(c): // somebody has edited it
		return true, true, nil
	default:
		serves, err := r.healthy(ctx, n.scope, n.apex)
		if err != nil || !serves {
			return true, err == nil, err
		}
		began = r.clock.Now()
	}
	left := began.Add(warmUp).Sub(r.clock.Now())
	if left <= 0 {
		return true, true, nil
	}
	telling, err := warming(p, n, have, c, began.UTC().Format(time.RFC3339))
	if err != nil {
		return true, false, err
	}
	if current, err := r.write(ctx, c, n, telling, have); err != nil || !current {
		return current, false, err
	}
	return true, false, &providers.WaitError{For: "proxies to hear of " + n.primary, After: left}
}

// instances makes sure that a half which gets requests from now on has instances:
// Consul splits requests without looking whether anybody is there.
func (r *Router) instances(ctx context.Context, c *v1beta1.Canary, n names, p plan, have entries) error {
	then := entries{}
	for _, e := range p.wanted {
		then[e.key] = e
	}
	primaryNow, canaryNow, err := served(n, have)
	if err != nil {
		return err
	}
	primaryThen, canaryThen, err := served(n, then)
	if err != nil {
		return err
	}
	instanceOfCanary := n.canary
	if n.aliased {
		instanceOfCanary = n.apex
	}
	for _, half := range []struct {
		gets bool
		name string
	}{{primaryThen && !primaryNow, n.primary}, {canaryThen && !canaryNow, instanceOfCanary}} {
		if !half.gets {
			continue
		}
		there, err := r.healthy(ctx, n.scope, half.name)
		if err != nil {
			return err
		}
		if !there {
			return r.canaries.missing(c, half.name)
		}
	}
	r.canaries.remember(c, func(k *known) { k.waiting = time.Time{} })
	return nil
}

// write brings Consul from what it has to the plan. It returns false where an entry
// was not what it was taken for.
func (r *Router) write(ctx context.Context, c *v1beta1.Canary, n names, p plan, have entries) (bool, error) {
	for _, e := range p.wanted {
		live := have[e.key]
		if live.index > 0 && same(e, live) {
			continue
		}
		if current, err := r.put(ctx, n.scope, e, live.index); err != nil || !current {
			return false, err
		}
	}
	for _, k := range p.unwanted {
		if current, err := r.giveBack(ctx, c, n.scope, have[k]); err != nil || !current {
			return false, err
		}
	}
	return true, nil
}

func (r *Router) put(ctx context.Context, in scope, e entry, index uint64) (bool, error) {
	done, err := r.cache.backend.put(ctx, in, e, index)
	if err != nil {
		return false, fmt.Errorf("write %s %s: %w", e.kind, e.name, err)
	}
	if done {
		e.index = max(index, 1) // whatever it is, it is there
		r.cache.wrote(in, e.key, e, index)
	}
	return done, nil
}

// giveBack makes an entry of ours what it was before, or removes it.
func (r *Router) giveBack(ctx context.Context, c *v1beta1.Canary, in scope, live entry) (bool, error) {
	if !live.isOurs(c) {
		return true, nil
	}
	users, theirs, err := live.users(c)
	if err != nil {
		return false, err
	}
	if theirs {
		return r.put(ctx, in, users, live.index)
	}
	done, err := r.cache.backend.remove(ctx, in, live.key, live.index)
	if err != nil {
		return false, fmt.Errorf("remove %s %s: %w", live.kind, live.name, err)
	}
	if done {
		r.cache.wrote(in, live.key, entry{key: live.key}, live.index)
	}
	return done, nil
}

// Release implements providers.Router. What leads elsewhere goes first, what guards
// the halves last.
func (r *Router) Release(ctx context.Context, route providers.Route) error {
	return r.retry(ctx, route, r.release)
}

func (r *Router) release(ctx context.Context, route providers.Route) (bool, error) {
	n, v, err := r.look(route)
	if err != nil {
		return false, err
	}
	if err := r.replaced(ctx, route.Canary, n, v.entries); err != nil {
		return true, err
	}
	if err := r.unassignAddresses(ctx, n); err != nil {
		return true, err
	}
	keys := n.all()
	slices.Reverse(keys)
	for _, k := range keys {
		if current, err := r.giveBack(ctx, route.Canary, n.scope, v.entries[k]); err != nil || !current {
			return false, err
		}
	}
	return true, nil
}

// replaced makes sure that the service has instances of its own when requests come to
// them again. A target that is gone, or broken, does not hold up the deletion for ever.
func (r *Router) replaced(ctx context.Context, c *v1beta1.Canary, n names, have entries) error {
	if !n.aliased || !have[key{api.ServiceSplitter, n.apex}].isOurs(c) {
		return nil
	}
	now := r.clock.Now()
	since := now
	r.canaries.remember(c, func(k *known) {
		if k.leaving.IsZero() {
			k.leaving = now
		}
		since = k.leaving
	})
	all, err := r.cache.backend.instances(ctx, n.scope, n.apex)
	// What is registered for a Service that goes with the Canary, goes with it.
	there := slices.ContainsFunc(all, func(i instance) bool { return i.healthy && i.service != c.RegistrationName() })
	if err != nil || there || now.Sub(since) >= farewell {
		return err
	}
	return &providers.WaitError{For: "an instance of " + n.apex + " in Consul", After: healthRetry}
}
