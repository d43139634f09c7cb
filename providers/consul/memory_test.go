package consul

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/providers/consul/internal/catalog"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
)

// memory is Consul without a server: entries in memory, and a discovery chain that
// says what the entries say.
type memory struct {
	mu      sync.Mutex
	has     entries.Set
	index   uint64
	changed chan struct{} // closed at the next change
	down    error
	serving map[string]bool
	writes  []string
	reads   int // without those that wait for changes
	// transparent says that instances have transparent proxies, and registeredFor is the
	// Kubernetes Service that they are registered for.
	transparent   bool
	registeredFor string
	// of are the namespaces of Kubernetes that services have their instances of, by their names.
	of map[string]string
	// assigned are addresses in Consul's own table, held those of instances for a Consul that
	// is too old to have one.
	assigned, held map[string]string
	old            bool
	refuses        error // of assign
	// before is called before a write, without the lock.
	before func(entries.Key)
}

func newMemory(instances ...string) *memory {
	m := &memory{has: entries.Set{}, index: 1, changed: make(chan struct{}), serving: map[string]bool{}, held: map[string]string{}, assigned: map[string]string{}}
	for _, name := range instances {
		m.serving[name] = true
	}
	return m
}

func (m *memory) List(ctx context.Context, _ entries.Scope, kind string, after uint64) (entries.Set, uint64, error) {
	for {
		m.mu.Lock()
		if after == 0 {
			m.reads++
		}
		// As in Consul, the index of a kind grows by a removal too. It is that of what is
		// answered: with a later one, the change between would never be told.
		changed, down, index := m.changed, m.down, m.index
		out := entries.Set{}
		for k, e := range m.has {
			if k.Kind == kind {
				out[k] = e
			}
		}
		m.mu.Unlock()
		if down != nil {
			return nil, 0, down
		}
		if index > after {
			return out, index, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

func (m *memory) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
	m.index++
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *memory) Put(_ context.Context, _ entries.Scope, e entries.Entry, index uint64) (done bool, err error) {
	if m.before != nil {
		m.before(e.Key)
	}
	m.set(func() {
		if err = m.down; err != nil || m.has[e.Key].Index != index {
			return
		}
		done = true
		e.Meta = maps.Clone(e.Meta)
		e.Index = m.index + 1
		m.has[e.Key] = e
		m.writes = append(m.writes, "put "+e.Kind+" "+e.Name)
	})
	return done, err
}

func (m *memory) Remove(_ context.Context, _ entries.Scope, k entries.Key, index uint64) (done bool, err error) {
	m.set(func() {
		if err = m.down; err != nil || m.has[k].Index != index {
			return
		}
		done = true
		delete(m.has, k)
		m.writes = append(m.writes, "remove "+k.Kind+" "+k.Name)
	})
	return done, err
}

func (m *memory) Chain(_ context.Context, _ entries.Scope, service string) (*api.CompiledDiscoveryChain, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	out := &api.CompiledDiscoveryChain{Nodes: map[string]*api.DiscoveryGraphNode{}, Targets: map[string]*api.DiscoveryTarget{}, StartNode: service}
	for k, e := range m.has {
		of := api.ServiceSplitterConfigEntry{}
		if k.Kind != api.ServiceSplitter || e.Into(&of) != nil {
			continue
		}
		node := &api.DiscoveryGraphNode{Type: api.DiscoveryGraphNodeTypeSplitter, Name: k.Name + ".default.default"}
		for _, s := range of.Splits {
			node.Splits = append(node.Splits, &api.DiscoverySplit{Weight: s.Weight, NextNode: "to " + s.Service})
			out.Nodes["to "+s.Service] = &api.DiscoveryGraphNode{Resolver: &api.DiscoveryResolver{Target: s.Service}}
			to := api.ServiceResolverConfigEntry{}
			if err := m.has[entries.Key{Kind: api.ServiceResolver, Name: s.Service}].Into(&to); err != nil {
				return nil, err
			}
			out.Targets[s.Service] = &api.DiscoveryTarget{Service: s.Service}
			if to.Redirect != nil {
				out.Targets[s.Service].Service = to.Redirect.Service
			}
		}
		out.Nodes[k.Name] = node
	}
	if e, ok := m.has[entries.Key{Kind: api.ServiceRouter, Name: service}]; ok {
		of := api.ServiceRouterConfigEntry{}
		if err := e.Into(&of); err != nil {
			return nil, err
		}
		node := &api.DiscoveryGraphNode{Type: api.DiscoveryGraphNodeTypeRouter, Name: service + ".default.default"}
		for i := range of.Routes {
			node.Routes = append(node.Routes, &api.DiscoveryRoute{Definition: &of.Routes[i]})
		}
		node.Routes = append(node.Routes, &api.DiscoveryRoute{NextNode: service}) // Consul's own, for the rest
		out.StartNode = "router of " + service
		out.Nodes[out.StartNode] = node
	}
	return out, m.down
}

func (m *memory) Instances(_ context.Context, _ entries.Scope, service string) (out []catalog.Instance, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	if m.serving[service] {
		out = append(out, catalog.Instance{Healthy: true, Transparent: m.transparent, Service: m.registeredFor, Namespace: m.of[service]})
	}
	if ip := m.held[service]; ip != "" {
		out = append(out, catalog.Instance{Holds: ip})
	}
	return out, m.down
}

func (m *memory) Manual(_ context.Context, _ entries.Scope, service string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	return []string{m.assigned[service]}, m.down
}

func (m *memory) Assign(_ context.Context, _ entries.Scope, a catalog.Address) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuses != nil {
		return m.refuses
	}
	into := m.assigned
	if m.old {
		into = m.held
	}
	into[a.Service] = a.IP
	m.writes = append(m.writes, "assign "+a.IP+" "+a.Service)
	return m.down
}

func (m *memory) Unassign(_ context.Context, _ entries.Scope, service string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.held, service)
	m.writes = append(m.writes, "unassign "+service)
	return m.down
}

func (m *memory) written() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.writes)
}
