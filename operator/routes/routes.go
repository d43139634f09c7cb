// Package routes has meshes divide the traffic as it is decided.
package routes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"

	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/memory"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/serving"
	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers"
)

// ReasonMeshMissing: the cluster does not serve the kinds of the mesh that spec.provider names.
const ReasonMeshMissing = "MeshNotInstalled"

// Routes are those of Canaries. It is safe for concurrent use.
type Routes struct {
	// Client reads Canaries from the informer cache.
	Client client.Reader
	// Mesh is the cluster that has the objects of the mesh.
	Mesh cluster.Cluster
	// Kinds are those by which routers move traffic.
	Kinds []providers.Watch
	// Served is by what routers know which kinds there are; nil where they look each time.
	Served *kube.Served
	// Provider is the mesh provider of a Canary that names none.
	Provider string

	memory memory.Memory[seen]
}

// seen is what a route was when it was last looked at.
type seen struct {
	looked bool
	inSync bool
	weight int32
	since  time.Time // since when, zero if it was so at the first look
	shown  time.Time // since when it was seen to be, the first look included

	givenBack time.Time // since when the Services were seen given back

	undone []time.Time // when it was written over, the last few times
}

// Share is the route of a Canary in a turn.
type Share struct {
	part  *Routes
	world *world.World
}

var (
	_ world.Part[*Share] = (*Routes)(nil)
	_ wake.Waker         = (*Routes)(nil)
)

// SetUp wakes the Canaries of a route that changed, each kind as soon as it is served.
func (p *Routes) SetUp(_ context.Context, w *wake.Watches) error {
	for _, mesh := range p.Kinds {
		mesh.Index = p.found(mesh.Index)
		w.WhenServed(wake.Meshes(p.Mesh, mesh, p.Provider, w.Events.OfRoutes(p.Mesh.GetCache(), mesh.About)))
	}
	return nil
}

// found has routers know of a kind that it is served, which is when it is indexed.
func (p *Routes) found(index func(context.Context, client.FieldIndexer, client.Object) error) func(context.Context, client.FieldIndexer, client.Object) error {
	return func(ctx context.Context, indexer client.FieldIndexer, kind client.Object) error {
		if p.Served != nil {
			gvk, err := p.Served.GroupVersionKindFor(kind)
			if err != nil {
				return fmt.Errorf("kind of %T: %w", kind, err)
			}
			p.Served.Found(gvk)
		}
		if index == nil {
			return nil
		}
		return index(ctx, indexer, kind)
	}
}

// Forget drops what is known of a Canary that is gone.
func (p *Routes) Forget(key types.NamespacedName) { p.memory.Forget(key) }

// Size is how many Canaries something is known of.
func (p *Routes) Size() int { return p.memory.Size() }

// Observe asks the mesh for the route. What the mesh can't do is a mistake; where it can't
// be asked, nothing is known of the route.
func (p *Routes) Observe(ctx context.Context, w *world.World) (*Share, error) {
	s := &Share{part: p, world: w}
	deleted := !w.Canary.DeletionTimestamp.IsZero()
	var state providers.State
	if w.Router != nil {
		w.Route.Fixed = !w.Router.Capabilities().Weighted
		var err error
		state, err = s.look(ctx)
		if err == nil && !deleted {
			err = s.portServed()
		}
		w.Route.Unreachable = err != nil && (!isMistake(err) || !deleted && providers.IsNotInstalled(err))
		switch {
		case err == nil, deleted && providers.IsNotInstalled(err):
		case isMistake(err):
			return s, asMistake(err)
		default:
			// Whatever it is, nothing is known of the route, and it goes away by itself.
			w.Outage = "spec.provider: " + err.Error()
			w.Route.Since, w.Route.Seen = s.note(false, w.Canary.Status.CanaryWeight, w.Now)
			return s, nil
		}
	}
	tell(w, state)
	if state.Exists {
		has := state.Traffic
		w.Route.Has = &release.Traffic{Canary: has.Canary, Matched: has.Matched, Mirror: has.Mirror}
	}
	weight := w.Canary.Status.CanaryWeight
	w.Route.InSync, w.Route.Detail, w.Route.Refused = w.ServicesInSync && state.InSync, state.Detail, state.Refused
	if deleted {
		weight = releasedWeight
		w.Route.GivenBack = s.noteGivenBack()
		w.Route.InSync = w.ServicesInSync && !state.Exists
	}
	if state.Detail == "" {
		w.Route.Contested = s.contested(w.Route.InSync, weight)
	}
	w.Route.Since, w.Route.Seen = s.note(w.Route.InSync, weight, w.Now)
	return s, nil
}

// contested tells whether somebody else has written over what was in sync, again and again: this process has seen it so, and with the
// same weight as now, often enough within contestedWithin.
func (s *Share) contested(inSync bool, weight int32) (is bool) {
	s.part.memory.Update(s.world.Canary, func(last *seen) {
		if !inSync && last.inSync && last.weight == weight {
			last.undone = append(last.undone, s.world.Now)
		}
		last.undone = slices.DeleteFunc(last.undone, func(at time.Time) bool { return s.world.Now.Sub(at) > contestedWithin })
		last.undone = last.undone[max(len(last.undone)-contestedTimes, 0):]
		is = len(last.undone) == contestedTimes
	})
	return is
}

// A route that is written over so many times within so long has somebody who will go on with it. People, and a GitOps
// tool that is told of a change once, stay below.
const (
	contestedTimes  = 5
	contestedWithin = time.Minute
)

// tell adds to what the Canary's conditions say what of it does not hold in the mesh. The slices are other
// parts'.
func tell(w *world.World, state providers.State) {
	if w.Coverage != nil && state.Uncovered != "" {
		w.Coverage.Uncovered = append(slices.Clip(w.Coverage.Uncovered), state.Uncovered)
	}
	if state.Ignored != "" {
		w.Ignored = append(slices.Clip(w.Ignored), state.Ignored)
	}
}

// portServed refuses what is spoken on the Canary's port, as an adopted Service says it, where the
// router can't move it: the route would be in sync without effect.
func (s *Share) portServed() error {
	w := s.world
	if w.Port.AppProtocol == nil || *w.Port.AppProtocol == w.Canary.Spec.Service.AppProtocol {
		return nil // what the spec says is refused there
	}
	apex, _, _ := w.Canary.ServiceNames()
	provider := w.Canary.GetProvider(s.part.Provider)
	field := fmt.Sprintf("Service %s: appProtocol of port %d", apex, w.Port.Port)
	if err := w.Router.Capabilities().CheckPort(provider, field, *w.Port.AppProtocol); err != nil {
		return err
	}
	return providers.Uncounted(w.Canary.GetAnalysis(), provider, *w.Port.AppProtocol)
}

// look asks the router what there is. What the route needs of a Canary that is
// gone is taken over.
func (s *Share) look(ctx context.Context) (providers.State, error) {
	for {
		state, err := s.world.Router.Observe(ctx, s.present())
		var conflict *providers.ConflictError
		if !errors.As(err, &conflict) {
			return state, err
		}
		known := len(s.world.Gone)
		if err := s.world.Inherit(ctx, s.part.Client, conflict.Canary); err != nil {
			return state, err
		}
		if len(s.world.Gone) == known {
			return state, err
		}
	}
}

// releasedWeight stands for no route at all where weights are remembered.
const releasedWeight = -1

// isMistake tells the user's mistakes from what goes away by itself.
func isMistake(err error) bool {
	return providers.IsNotInstalled(err) || providers.IsInvalid(err) || providers.IsUnsupported(err) || providers.IsConflict(err)
}

func asMistake(err error) error {
	switch {
	case providers.IsNotInstalled(err):
		return world.Mistake(ReasonMeshMissing, "spec.provider: %v", err)
	case providers.IsConflict(err):
		return world.Foreign(world.ReasonConflict, "%v", err)
	case providers.IsMissing(err):
		return world.Missing(world.ReasonInvalidSpec, "%v", err)
	default:
		return world.Mistake(world.ReasonInvalidSpec, "%v", err)
	}
}

// note notes whether the mesh shows the route with this weight. It returns since when it is
// known to, and since when it was shown: the same, but for what was so at the first look.
func (s *Share) note(inSync bool, weight int32, now time.Time) (since, shown time.Time) {
	s.part.memory.Update(s.world.Canary, func(last *seen) {
		switch {
		case !inSync:
			last.since, last.shown = time.Time{}, time.Time{}
		case !last.looked:
			last.shown = now // it was so before this process looked
		case !last.inSync || last.weight != weight:
			last.since, last.shown = now, now
		}
		last.looked, last.inSync, last.weight = true, inSync, weight
		since, shown = last.since, last.shown
	})
	return since, shown
}

// noteGivenBack notes whether the Services lead where they did before the Canary, and returns
// since when that was seen.
func (s *Share) noteGivenBack() (since time.Time) {
	s.part.memory.Update(s.world.Canary, func(last *seen) {
		switch {
		case !s.world.ServicesInSync:
			last.givenBack = time.Time{}
		case last.givenBack.IsZero():
			last.givenBack = s.world.Now
		}
		since = last.givenBack
	})
	return since
}

// Acknowledged notes, and returns since when, the mesh has the route with this weight that
// was just applied. ok is false where that must be seen first.
func (s *Share) Acknowledged(weight int32, now time.Time) (since, shown time.Time, ok bool) {
	a, is := s.world.Router.(providers.Acknowledger)
	if !is || !a.Acknowledged() {
		return time.Time{}, time.Time{}, false
	}
	since, shown = s.note(true, weight, now)
	return since, shown, true
}

// Settled tells whether Services and route were just observed to be what is
// wanted.
func (s *Share) Settled(want release.Desired) bool {
	c := s.world.Canary
	return s.world.Route.InSync && want.Routed && want.Traffic == serving.TrafficOf(c, &c.Status)
}

// First tells whether the route must be there before the apex Service leads to the
// primary, as the mesh finds pods by what that Service selects.
func (s *Share) First() bool {
	first, ok := s.world.Router.(providers.RouteFirster)
	return ok && first.RouteFirst()
}

// Apply makes the mesh express what is wanted.
func (s *Share) Apply(ctx context.Context, want release.Desired) error {
	w := s.world
	if w.Router == nil || w.Mistake != nil && w.Mistake.Reason == ReasonMeshMissing {
		return nil // there is no mesh, which is the user's mistake
	}
	if err := w.Router.Apply(ctx, s.of(want.Traffic)); err != nil {
		return fmt.Errorf("apply the route: %w", err)
	}
	return nil
}

// GiveBack takes the route away. A mesh that is not there has none.
func (s *Share) GiveBack(ctx context.Context, want release.Desired) error {
	if s.world.Router == nil {
		return nil
	}
	route := s.present()
	route.Again = !want.Finished
	if err := s.world.Router.Release(ctx, route); err != nil && !providers.IsNotInstalled(err) {
		return err
	}
	return nil
}

// present is the route that the persisted status asks for.
func (s *Share) present() providers.Route {
	c := s.world.Canary
	return s.of(serving.TrafficOf(c, &c.Status))
}

// of tells a router what the decision core asks for.
func (s *Share) of(t release.Traffic) providers.Route {
	w := s.world
	route := providers.Route{Canary: w.Canary, Gone: w.Gone, Ports: w.Ports, Port: w.Port, ClusterIPs: w.ClusterIPs, Traffic: providers.Traffic{
		Primary: 100 - t.Canary, Canary: t.Canary, Matched: t.Matched, Mirror: t.Mirror, Sessions: providers.Sessions(t.Sessions),
	}}
	for _, o := range []client.Object{w.TargetObject, w.PrimaryObject} {
		if o != nil && workload.Template(o) != nil {
			route.PodAnnotations = workload.Template(o).Annotations
			break
		}
	}
	return route
}
