// Package server is a Consul that is asked over HTTP. All that it reads is consistent.
package server

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/providers/consul/internal/cache"
	"github.com/sluice-delivery/sluice/providers/consul/internal/catalog"
	"github.com/sluice-delivery/sluice/providers/consul/internal/chains"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
)

// requestLimit bounds a request that Consul answers at once; blockFor is how long
// it may wait for a change in one that asks for that.
const (
	requestLimit = 10 * time.Second
	blockFor     = 45 * time.Second
)

// Server is a real Consul.
type Server struct {
	api        *api.Client
	datacenter string
}

var (
	_ cache.Backend  = (*Server)(nil)
	_ catalog.Consul = (*Server)(nil)
	_ chains.Asker   = (*Server)(nil)
)

func (s *Server) query(ctx context.Context, in entries.Scope) *api.QueryOptions {
	// A server that was just started answers other queries while it still reads its log, with entries as they
	// once were. A deletion must not take that for a Consul without any of ours.
	q := &api.QueryOptions{Datacenter: s.datacenter, Partition: in.Partition, Namespace: in.Namespace, RequireConsistent: true}
	return q.WithContext(ctx)
}

func (s *Server) write(ctx context.Context, in entries.Scope) *api.WriteOptions {
	w := &api.WriteOptions{Datacenter: s.datacenter, Partition: in.Partition, Namespace: in.Namespace}
	return w.WithContext(ctx)
}

// List implements cache.Backend.
func (s *Server) List(ctx context.Context, in entries.Scope, kind string, after uint64) (entries.Set, uint64, error) {
	limit := requestLimit
	if after > 0 {
		limit += blockFor + blockFor/16 // servers add up to that
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	q := s.query(ctx, in)
	q.WaitIndex, q.WaitTime = after, blockFor
	var raw []json.RawMessage
	meta, err := s.api.Raw().Query("/v1/config/"+kind, &raw, q)
	if err != nil {
		return nil, 0, explain(ctx, err)
	}
	out := entries.Set{}
	for _, r := range raw {
		e, err := entries.Parse(r)
		if err != nil {
			return nil, 0, err
		}
		out[e.Key] = e
	}
	return out, meta.LastIndex, nil
}

// Put implements cache.Backend.
func (s *Server) Put(ctx context.Context, in entries.Scope, e entries.Entry, index uint64) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	done, _, err := s.api.ConfigEntries().CAS(entries.Wire{Entry: e, Scope: in}, index, s.write(ctx, in))
	return done, explain(ctx, err)
}

// Remove implements cache.Backend.
func (s *Server) Remove(ctx context.Context, in entries.Scope, k entries.Key, index uint64) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	done, _, err := s.api.ConfigEntries().DeleteCAS(k.Kind, k.Name, index, s.write(ctx, in))
	return done, explain(ctx, err)
}

// Chain implements chains.Asker.
func (s *Server) Chain(ctx context.Context, in entries.Scope, service string) (*api.CompiledDiscoveryChain, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	out, _, err := s.api.DiscoveryChain().Get(service, nil, s.query(ctx, in))
	if err != nil {
		return nil, explain(ctx, err)
	}
	return out.Chain, nil
}
