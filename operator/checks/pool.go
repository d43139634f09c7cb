package checks

import (
	"context"
	"net/url"
	"sync"
)

// pool bounds how much is under way at once, and how much of that with one
// server and for one namespace: one that does not answer, or one whose Canaries ask
// for much, must leave places for the others.
type pool struct {
	places chan struct{}
	share  int

	mu      sync.Mutex
	sharers map[sharer]*share
}

// sharer is who has no more than a share of the places: a server, or a namespace.
type sharer struct{ server, namespace string }

// share counts who waits for, or has, a place of one sharer.
type share struct {
	places chan struct{}
	users  int
}

// newPool gives a pool of so many places, at least 1, of which one server, and
// one namespace, gets half, at least 1.
func newPool(places int) *pool {
	places = max(places, 1)
	return &pool{places: make(chan struct{}, places), share: max(places/2, 1), sharers: map[sharer]*share{}}
}

// do runs f, for a namespace and with a server, when there is a place, or nothing
// when ctx ends before.
func (p *pool) do(ctx context.Context, namespace, server string, f func()) {
	of, with := sharer{namespace: namespace}, sharer{server: server}
	ours, theirs := p.enter(of), p.enter(with)
	defer p.leave(of, ours)
	defer p.leave(with, theirs)
	// First the server's place: who waits for that must not hold one of all.
	for _, places := range []chan struct{}{theirs.places, ours.places, p.places} {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		case <-ctx.Done():
			return
		}
	}
	if ctx.Err() == nil { // all may have been ready
		f()
	}
}

func (p *pool) enter(of sharer) *share {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.sharers[of]
	if s == nil {
		s = &share{places: make(chan struct{}, p.share)}
		p.sharers[of] = s
	}
	s.users++
	return s
}

// leave forgets a sharer that has nothing under way.
func (p *pool) leave(of sharer, s *share) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.users--; s.users == 0 {
		delete(p.sharers, of)
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
