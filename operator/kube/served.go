package kube

import (
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Served is a client that remembers of kinds that a cluster does not serve that it does not: to look
// for them is a request each time. It forgets that of a kind once Found is called, and
// remembers it no more of one that was served once. It is safe for concurrent use.
type Served struct {
	client.Client

	mapper *servedMapper
}

// NewServed returns a client that goes by another.
func NewServed(c client.Client) *Served {
	return &Served{Client: c, mapper: &servedMapper{RESTMapper: c.RESTMapper(), found: map[schema.GroupVersionKind]bool{}, missing: map[schema.GroupVersionKind]error{}}}
}

// RESTMapper implements client.Client.
func (s *Served) RESTMapper() meta.RESTMapper { return s.mapper }

// Found notes that the cluster serves a kind.
func (s *Served) Found(kind schema.GroupVersionKind) { s.mapper.note(kind, nil) }

type servedMapper struct {
	meta.RESTMapper

	mu      sync.Mutex
	found   map[schema.GroupVersionKind]bool
	missing map[schema.GroupVersionKind]error
}

// RESTMapping implements meta.RESTMapper.
func (m *servedMapper) RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	if len(versions) != 1 {
		return m.RESTMapper.RESTMapping(gk, versions...)
	}
	kind := gk.WithVersion(versions[0])
	m.mu.Lock()
	known := m.missing[kind]
	m.mu.Unlock()
	if known != nil {
		return nil, known
	}
	mapping, err := m.RESTMapper.RESTMapping(gk, versions...)
	if err == nil || meta.IsNoMatchError(err) {
		m.note(kind, err)
	}
	return mapping, err
}

func (m *servedMapper) note(kind schema.GroupVersionKind, missing error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case missing == nil:
		m.found[kind] = true
		delete(m.missing, kind)
	case !m.found[kind]: // else it was served, or has come while it was looked for
		m.missing[kind] = missing
	}
}
