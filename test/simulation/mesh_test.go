package simulation

import (
	"context"
	"time"

	"github.com/sluice-delivery/sluice/providers"
)

// route is what a mesh has for an apex name.
type route struct {
	asked     providers.Traffic // what the API has
	shown     providers.Traffic // what an observer sees
	effective providers.Traffic // what proxies do
	visible   bool              // it is seen at all
	acting    bool              // proxies have it
	released  bool              // it was asked to go
	showAt    time.Time
	actAt     time.Time
	since     time.Time // since when proxies do what they do

	primary, canary string // the Services that traffic is divided between
}

// mesh is one mesh, a providers.Router with state of its own. It outlives the operator.
type mesh struct {
	name   string
	can    providers.Capabilities
	routes map[string]*route            // by apex
	last   map[string]providers.Traffic // what was asked of each, if the mesh was removed since
	// lag is how long it takes until a route is seen, and acted on.
	lag func() (show, act time.Duration)
	// err is what the mesh answers while it is away, nil while it is there.
	err func() error
	// gate is called before each write with what was effective, and may stop it: the operator was stopped.
	gate func(verb string) error
	// asked is called for each change that is asked for.
	asked func(m *mesh, r providers.Route, before, after providers.Traffic)
	// changed is called when proxies act on something else.
	changed func()
	// seen is called when a watch of the mesh's objects would tell of a change.
	seen func()
}

var _ providers.Router = (*mesh)(nil)

func (m *mesh) tick() {
	now := time.Now()
	for apex, r := range m.routes {
		if !r.showAt.IsZero() && !r.showAt.After(now) {
			r.shown, r.visible, r.showAt = r.asked, !r.released, time.Time{}
			m.seen()
		}
		if !r.actAt.IsZero() && !r.actAt.After(now) {
			r.actAt = time.Time{}
			if r.effective != r.asked || r.acting == r.released {
				r.effective, r.acting, r.since = r.asked, !r.released, now
				m.changed()
			}
		}
		if r.released && !r.visible && !r.acting {
			delete(m.routes, apex)
		}
	}
}

// Capabilities implements providers.Router.
func (m *mesh) Capabilities() providers.Capabilities { return m.can }

// Observe implements providers.Router.
func (m *mesh) Observe(_ context.Context, of providers.Route) (providers.State, error) {
	if err := m.err(); err != nil {
		return providers.State{}, err
	}
	if of.Canary.DeletionTimestamp.IsZero() {
		if err := m.can.Check(m.name, of.Canary); err != nil {
			return providers.State{}, err
		}
	}
	apex, _, _ := of.Canary.ServiceNames()
	r := m.routes[apex]
	if r == nil || !r.visible {
		return providers.State{}, nil
	}
	return providers.State{Exists: true, Traffic: r.shown, InSync: r.shown == of.Traffic && r.showAt.IsZero()}, nil
}

// Apply implements providers.Router.
func (m *mesh) Apply(_ context.Context, of providers.Route) error {
	if err := of.Traffic.Validate(); err != nil {
		return err
	}
	if err := m.err(); err != nil {
		return err
	}
	if of.Canary.DeletionTimestamp.IsZero() {
		if err := m.can.Check(m.name, of.Canary); err != nil {
			return err
		}
	}
	apex, primary, canary := of.Canary.ServiceNames()
	r := m.routes[apex]
	if r != nil && !r.released && r.asked == of.Traffic {
		return nil
	}
	if err := m.gate("route"); err != nil {
		return err
	}
	before, known := m.last[apex]
	if !known {
		before = providers.Traffic{Primary: 100}
	}
	if r == nil {
		r = &route{primary: primary, canary: canary, since: time.Now()}
		m.routes[apex] = r
	} else if !r.released {
		before = r.asked
	}
	delete(m.last, apex)
	m.asked(m, of, before, of.Traffic)
	r.asked, r.released = of.Traffic, false
	m.write(r)
	return nil
}

func (m *mesh) write(r *route) {
	show, act := m.lag()
	r.showAt, r.actAt = time.Now().Add(show), time.Now().Add(act)
	m.tick()
}

// Release implements providers.Router.
func (m *mesh) Release(_ context.Context, of providers.Route) error {
	if err := m.err(); err != nil {
		return err
	}
	apex, _, _ := of.Canary.ServiceNames()
	r := m.routes[apex]
	if r == nil || r.released {
		return nil
	}
	if err := m.gate("release"); err != nil {
		return err
	}
	r.released = true
	m.write(r)
	return nil
}
