// Package cache has the config entries that Consul has, kept up to date by one waiting query a kind,
// whatever the number of Canaries, and writes entries. A write of ours counts before its watch shows it.
package cache

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/intentions"
	"github.com/sluice-delivery/sluice/providers/consul/internal/services"
)

// kinds are those that the router reads, each by one query that waits for changes,
// whatever the number of Canaries.
var kinds = []string{
	api.ServiceDefaults, api.ServiceIntentions, api.ServiceResolver, api.ServiceSplitter, api.ServiceRouter, api.ProxyDefaults,
}

// How long a query that failed waits for the next try.
const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// firstAnswer is how long a turn waits for the first answers of Consul. Without it the first turn after a start would take it
// for one that can't be reached.
const firstAnswer = 2 * time.Second

// errUnread says that the first answer of Consul has not come yet.
var errUnread = errors.New("it has not answered yet")

// Backend is Consul as far as it has config entries.
type Backend interface {
	// List gives the entries of a kind in a scope once their index is above after, or
	// a while has passed, and their index. It answers at once for 0.
	List(ctx context.Context, in entries.Scope, kind string, after uint64) (entries.Set, uint64, error)
	// Put writes an entry if its index is still the given one, 0 for none there. It
	// returns false if it is not.
	Put(ctx context.Context, in entries.Scope, e entries.Entry, index uint64) (bool, error)
	// Remove deletes an entry on the same condition.
	Remove(ctx context.Context, in entries.Scope, k entries.Key, index uint64) (bool, error)
}

// Cache has what Consul has.
type Cache struct {
	backend Backend
	clock   clock.Clock
	changed func(in entries.Scope, keys []entries.Key)

	mu     sync.Mutex
	ctx    context.Context //nolint:containedctx // watches begin when a scope is first asked for
	scopes map[entries.Scope]*watched
}

// watched is what is known of a scope.
type watched struct {
	kinds map[string]*kindState
	// pending are our writes that the watches have not shown yet.
	pending map[entries.Key]pending
	lets    intentions.Lets
	// answered is closed once each kind was read, or could not be.
	answered chan struct{}
}

// note closes answered once there is nothing to wait for. The lock must be held.
func (w *watched) note() {
	for _, state := range w.kinds {
		if errors.Is(state.err, errUnread) {
			return
		}
	}
	select {
	case <-w.answered:
	default:
		close(w.answered)
	}
}

// kindState is what is known of a kind. entries is never changed, only replaced.
type kindState struct {
	entries entries.Set
	index   uint64
	err     error
}

// pending is a write of ours: what is there now, and the index of what it replaced.
type pending struct {
	now entries.Entry // its index is 0 for an entry that was removed
	was uint64
}

// New returns one that tells changed of the keys that have changed, with nil for all of them:
// whether Consul can be reached has changed.
func New(of Backend, clk clock.Clock, changed func(in entries.Scope, keys []entries.Key)) *Cache {
	return &Cache{backend: of, clock: clk, changed: changed}
}

// Start watches the scopes that are asked for, from now on until ctx ends.
func (c *Cache) Start(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ctx = ctx
	for in := range c.scopes {
		c.watch(in)
	}
}

// Started tells whether scopes are watched.
func (c *Cache) Started() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ctx != nil
}

// of returns what is known of a scope; the lock must be held.
func (c *Cache) of(in entries.Scope) *watched {
	w := c.scopes[in]
	if w != nil {
		return w
	}
	w = &watched{kinds: map[string]*kindState{}, pending: map[entries.Key]pending{}, answered: make(chan struct{})}
	for _, kind := range kinds {
		w.kinds[kind] = &kindState{err: errUnread}
	}
	if c.scopes == nil {
		c.scopes = map[entries.Scope]*watched{}
	}
	c.scopes[in] = w
	if c.ctx != nil {
		c.watch(in)
	}
	return w
}

func (c *Cache) watch(in entries.Scope) {
	for _, kind := range kinds {
		go c.follow(c.ctx, in, kind)
	}
}

// follow keeps a kind up to date until ctx ends.
func (c *Cache) follow(ctx context.Context, in entries.Scope, kind string) {
	after, retry := uint64(0), firstRetry
	for ctx.Err() == nil {
		list, index, err := c.backend.List(ctx, in, kind, after)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			c.fail(ctx, in, kind, err)
			after = 0
			select {
			case <-c.clock.After(retry):
			case <-ctx.Done():
			}
			retry = min(2*retry, lastRetry)
			continue
		}
		// An index that goes back is one of a server that lost its data.
		c.store(ctx, in, kind, list, index, after == 0 || index < after)
		after, retry = max(index, 1), firstRetry
	}
}

// fail notes that a kind can't be read.
func (c *Cache) fail(ctx context.Context, in entries.Scope, kind string, err error) {
	c.mu.Lock()
	w := c.of(in)
	state := w.kinds[kind]
	worked := state.err == nil || errors.Is(state.err, errUnread)
	state.err, state.index = err, 0
	w.note()
	c.mu.Unlock()
	if worked {
		log.FromContext(ctx).Error(err, "Reading config entries of Consul", "kind", kind, "scope", in.String())
		c.changed(in, nil)
	}
}

// store takes over an answer, unless a later one is there already.
func (c *Cache) store(ctx context.Context, in entries.Scope, kind string, list entries.Set, index uint64, force bool) {
	c.mu.Lock()
	w := c.of(in)
	state := w.kinds[kind]
	if !force && index < state.index {
		c.mu.Unlock()
		return
	}
	mended := state.err != nil
	was := state.entries
	state.entries, state.index, state.err = list, index, nil
	w.note()
	keys := differing(was, list)
	if kind == api.ServiceIntentions && len(keys) > 0 {
		before := w.lets
		w.lets = intentions.Of(list)
		keys = append(keys, intentions.Concerned(keys, before, w.lets)...)
	}
	for k, p := range w.pending {
		if k.Kind == kind && list[k].Index != p.was {
			delete(w.pending, k)
		}
	}
	whole := w.err() == nil
	c.mu.Unlock()
	switch {
	case mended && whole:
		log.FromContext(ctx).Info("Config entries of Consul are read", "scope", in.String())
		c.changed(in, nil)
	case !mended && len(keys) > 0:
		c.changed(in, keys)
	}
}

// differing are the keys of the entries that came, changed or went.
func differing(was, is entries.Set) (out []entries.Key) {
	for k, e := range is {
		if was[k].Index != e.Index {
			out = append(out, k)
		}
	}
	for k := range was {
		if is[k].Index == 0 {
			out = append(out, k)
		}
	}
	return out
}

// err is why not all is known, nil if it is.
func (w *watched) err() error {
	for _, kind := range kinds {
		if err := w.kinds[kind].err; err != nil {
			return err
		}
	}
	return nil
}

// Await waits a moment for the first answers about a scope, if they have not come yet.
func (c *Cache) Await(ctx context.Context, in entries.Scope) {
	if !c.Started() {
		return
	}
	c.mu.Lock()
	answered := c.of(in).answered
	c.mu.Unlock()
	select {
	case <-answered:
		return
	default:
	}
	select {
	case <-answered:
	case <-c.clock.After(firstAnswer):
	case <-ctx.Done():
	}
}

// View is what one Canary is about.
type View struct {
	// Entries are those that concern it.
	Entries entries.Set
	// Settled says that all our writes have come back.
	Settled bool
	// Uncovered are intentions that let in the service, and not its released pods, in words.
	Uncovered string
}

// View returns what is known of the entries that concern a Canary. While it is not
// routed yet, all intentions do.
func (c *Cache) View(n services.Names) (View, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.of(n.Scope)
	if err := w.err(); err != nil {
		if !providers.IsUnreachable(err) {
			err = &providers.UnreachableError{System: "Consul", Err: err}
		}
		return View{}, err
	}
	out := View{Entries: entries.Set{}, Settled: true, Uncovered: w.lets.Uncovered(n)}
	keys := append(n.Keys(), entries.Key{Kind: api.ServiceResolver, Name: n.Apex}, entries.Key{Kind: api.ServiceIntentions, Name: n.Apex}, entries.ProxyDefaults)
	if w.kinds[api.ServiceSplitter].entries[entries.Key{Kind: api.ServiceSplitter, Name: n.Apex}].Meta[entries.CanaryMeta] == "" {
		maps.Copy(out.Entries, w.kinds[api.ServiceIntentions].entries)
	}
	for _, k := range keys {
		e, ok := w.kinds[k.Kind].entries[k]
		if p, written := w.pending[k]; written {
			out.Settled = false
			e, ok = p.now, p.now.Index > 0
			delete(out.Entries, k)
		}
		if ok {
			out.Entries[k] = e
		}
	}
	return out, nil
}

// Refresh reads everything again, for a write that was refused because it was based on
// something old.
func (c *Cache) Refresh(ctx context.Context, in entries.Scope) error {
	for _, kind := range kinds {
		list, index, err := c.backend.List(ctx, in, kind, 0)
		if err != nil {
			return err
		}
		c.store(ctx, in, kind, list, index, false)
	}
	return nil
}
