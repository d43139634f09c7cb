package checks

import (
	"context"
	"net/url"
	"sync"
)

// pool bounds how much is under way at once, and how much of that with one
// server: one that does not answer must leave places for the others.
type pool struct {
	places chan struct{}
	share  int

	mu      sync.Mutex
	servers map[string]*server
}

// server counts who waits for, or has, a place of one server.
type server struct {
	places chan struct{}
	users  int
}

// newPool gives a pool of so many places, at least 1, of which one server gets
// half, at least 1.
func newPool(places int) *pool {
	places = max(places, 1)
	return &pool{places: make(chan struct{}, places), share: max(places/2, 1), servers: map[string]*server{}}
}

// do runs f when there is a place, or nothing when ctx ends before.
func (p *pool) do(ctx context.Context, name string, f func()) {
	s := p.enter(name)
	defer p.leave(name, s)
	// First the server's place: who waits for that must not hold one of all.
	for _, places := range []chan struct{}{s.places, p.places} {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		case <-ctx.Done():
			return
		}
	}
	if ctx.Err() == nil { // both may have been ready
		f()
	}
}

func (p *pool) enter(name string) *server {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.servers[name]
	if s == nil {
		s = &server{places: make(chan struct{}, p.share)}
		p.servers[name] = s
	}
	s.users++
	return s
}

// leave forgets a server that nobody uses.
func (p *pool) leave(name string, s *server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.users--; s.users == 0 {
		delete(p.servers, name)
	}
}

// host is the part of a hook's URL that names its server.
func host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Host
}
