// Package fake is a router without a mesh, for tests: it records what it is
// asked, and what it shows may lag behind what was applied.
package fake

import (
	"context"
	"slices"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/providers"
)

// Router is a providers.Router in memory. The zero value is ready and can
// share out traffic by weight. It is safe for concurrent use.
type Router struct {
	// Can is what Capabilities returns, once it is not zero.
	Can providers.Capabilities

	// Acks makes it a providers.Acknowledger that says yes.
	Acks bool

	mu       sync.Mutex
	lag      int
	routes   map[client.ObjectKey]*entry
	err      error
	wait     *providers.WaitError
	writes   int
	applied  []providers.Traffic
	released []client.ObjectKey
}

var _ providers.Router = (*Router)(nil)

// entry is what the mesh has and what an observer sees of it.
type entry struct {
	actual, shown providers.Traffic
	visible       bool // shown was ever set
	behind        int  // observations until shown is actual
}

// SetLag makes the next n observations after each write show the state before it.
func (r *Router) SetLag(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lag = n
}

// Fail makes every call that can fail return err, until Fail(nil).
func (r *Router) Fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// Wait makes Apply and Release wait for something, until Wait(nil).
func (r *Router) Wait(wait *providers.WaitError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wait = wait
}

// Drift changes the traffic as somebody else would, at once visible. A Canary
// without a route gets none.
func (r *Router) Drift(key client.ObjectKey, traffic providers.Traffic) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.routes[key]; e != nil {
		*e = entry{actual: traffic, shown: traffic, visible: true}
	}
}

// Writes returns how many calls of Apply and Release changed something.
func (r *Router) Writes() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.writes
}

// Applied returns the traffic of every Apply that changed something, oldest first.
func (r *Router) Applied() []providers.Traffic {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.applied)
}

// Released returns the Canaries whose route was removed, oldest first.
func (r *Router) Released() []client.ObjectKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.released)
}

// Capabilities implements providers.Router.
func (r *Router) Capabilities() providers.Capabilities {
	if r.Can == (providers.Capabilities{}) {
		return providers.Capabilities{Weighted: true}
	}
	return r.Can
}

// Acknowledged implements providers.Acknowledger.
func (r *Router) Acknowledged() bool { return r.Acks }

// refuse says what the router cannot do. A Canary that is being deleted needs nothing.
func (r *Router) refuse(route providers.Route) error {
	if !route.Canary.DeletionTimestamp.IsZero() {
		return nil
	}
	return r.Capabilities().Check("fake", route.Canary)
}

// Observe implements providers.Router.
func (r *Router) Observe(_ context.Context, route providers.Route) (providers.State, error) {
	if err := r.refuse(route); err != nil {
		return providers.State{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return providers.State{}, r.err
	}
	e := r.routes[client.ObjectKeyFromObject(route.Canary)]
	if e == nil {
		return providers.State{}, nil
	}
	if e.behind > 0 {
		e.behind--
		return providers.State{Exists: e.visible, Traffic: e.shown}, nil
	}
	e.shown, e.visible = e.actual, true
	return providers.State{Exists: true, Traffic: e.shown, InSync: e.shown == route.Traffic}, nil
}

// Apply implements providers.Router.
func (r *Router) Apply(_ context.Context, route providers.Route) error {
	if err := route.Traffic.Validate(); err != nil {
		return err
	}
	if err := r.refuse(route); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	if r.wait != nil {
		return r.wait
	}
	key := client.ObjectKeyFromObject(route.Canary)
	e := r.routes[key]
	if e != nil && e.actual == route.Traffic {
		return nil
	}
	if e == nil {
		e = &entry{}
		if r.routes == nil {
			r.routes = map[client.ObjectKey]*entry{}
		}
		r.routes[key] = e
	}
	e.actual, e.behind = route.Traffic, r.lag
	r.writes++
	r.applied = append(r.applied, route.Traffic)
	return nil
}

// Release implements providers.Router. It does not lag.
func (r *Router) Release(_ context.Context, route providers.Route) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	if r.wait != nil {
		return r.wait
	}
	key := client.ObjectKeyFromObject(route.Canary)
	if r.routes[key] == nil {
		return nil
	}
	delete(r.routes, key)
	r.writes++
	r.released = append(r.released, key)
	return nil
}
