package consul

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/providers"
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

// errUnread says that the first answer of Consul has not come yet.
var errUnread = errors.New("it has not answered yet")

// cache has what Consul has.
type cache struct {
	backend backend
	clock   clock.Clock
	// changed is told of the keys that have changed, nil for all of them: whether
	// Consul can be reached has changed.
	changed func(in scope, keys []key)

	mu     sync.Mutex
	ctx    context.Context //nolint:containedctx // watches begin when a scope is first asked for
	scopes map[scope]*watched
}

// watched is what is known of a scope.
type watched struct {
	kinds map[string]*kindState
	// pending are our writes that the watches have not shown yet.
	pending map[key]pending
	lets    lets
}

// kindState is what is known of a kind. entries is never changed, only replaced.
type kindState struct {
	entries entries
	index   uint64
	err     error
}

// pending is a write of ours: what is there now, and the index of what it replaced.
type pending struct {
	now entry // its index is 0 for an entry that was removed
	was uint64
}

// start watches the scopes that are asked for, from now on until ctx ends.
func (c *cache) start(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ctx = ctx
	for in := range c.scopes {
		c.watch(in)
	}
}

// of returns what is known of a scope; the lock must be held.
func (c *cache) of(in scope) *watched {
	w := c.scopes[in]
	if w != nil {
		return w
	}
	w = &watched{kinds: map[string]*kindState{}, pending: map[key]pending{}}
	for _, kind := range kinds {
		w.kinds[kind] = &kindState{err: errUnread}
	}
	if c.scopes == nil {
		c.scopes = map[scope]*watched{}
	}
	c.scopes[in] = w
	if c.ctx != nil {
		c.watch(in)
	}
	return w
}

func (c *cache) watch(in scope) {
	for _, kind := range kinds {
		go c.follow(c.ctx, in, kind)
	}
}

// follow keeps a kind up to date until ctx ends.
func (c *cache) follow(ctx context.Context, in scope, kind string) {
	after, retry := uint64(0), firstRetry
	for ctx.Err() == nil {
		list, index, err := c.backend.list(ctx, in, kind, after)
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
func (c *cache) fail(ctx context.Context, in scope, kind string, err error) {
	c.mu.Lock()
	state := c.of(in).kinds[kind]
	worked := state.err == nil || errors.Is(state.err, errUnread)
	state.err, state.index = err, 0
	c.mu.Unlock()
	if worked {
		log.FromContext(ctx).Error(err, "Reading config entries of Consul", "kind", kind, "scope", in.show())
		c.changed(in, nil)
	}
}

// store takes over an answer, unless a later one is there already.
func (c *cache) store(ctx context.Context, in scope, kind string, list entries, index uint64, force bool) {
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
	keys := differing(was, list)
	if kind == api.ServiceIntentions && len(keys) > 0 {
		before := w.lets
		w.lets = letsOf(list)
		keys = append(keys, concerned(keys, before, w.lets)...)
	}
	for k, p := range w.pending {
		if k.kind == kind && list[k].index != p.was {
			delete(w.pending, k)
		}
	}
	whole := w.err() == nil
	c.mu.Unlock()
	switch {
	case mended && whole:
		log.FromContext(ctx).Info("Config entries of Consul are read", "scope", in.show())
		c.changed(in, nil)
	case !mended && len(keys) > 0:
		c.changed(in, keys)
	}
}

// differing are the keys of the entries that came, changed or went.
func differing(was, is entries) (out []key) {
	for k, e := range is {
		if was[k].index != e.index {
			out = append(out, k)
		}
	}
	for k := range was {
		if is[k].index == 0 {
			out = append(out, k)
		}
	}
	return out
}

// concerned are keys for the services that intentions let in before they changed, or let in now.
func concerned(changed []key, before, now lets) (out []key) {
	for _, k := range changed {
		for _, source := range slices.Concat(before.in[k.name], now.in[k.name]) {
			out = append(out, key{k.kind, source})
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

// view is what one Canary is about.
type view struct {
	entries
	// settled says that all our writes have come back.
	settled bool
	// uncovered are intentions that let in the service, and not its released pods, in words.
	uncovered string
}

// view returns what is known of the entries that concern a Canary. While it is not
// routed yet, all intentions do.
func (c *cache) view(n names) (view, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.of(n.scope)
	if err := w.err(); err != nil {
		if !providers.IsUnreachable(err) {
			err = &providers.UnreachableError{System: "Consul", Err: err}
		}
		return view{}, err
	}
	out := view{entries: entries{}, settled: true, uncovered: w.lets.uncovered(n)}
	keys := append(n.all(), key{api.ServiceResolver, n.apex}, key{api.ServiceIntentions, n.apex}, proxyDefaults)
	if w.kinds[api.ServiceSplitter].entries[key{api.ServiceSplitter, n.apex}].meta[canaryMeta] == "" {
		maps.Copy(out.entries, w.kinds[api.ServiceIntentions].entries)
	}
	for _, k := range keys {
		e, ok := w.kinds[k.kind].entries[k]
		if p, written := w.pending[k]; written {
			out.settled = false
			e, ok = p.now, p.now.index > 0
			delete(out.entries, k)
		}
		if ok {
			out.entries[k] = e
		}
	}
	return out, nil
}

// wrote notes a write of ours; of a removal, now has the index 0.
func (c *cache) wrote(in scope, k key, now entry, was uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.of(in)
	if w.kinds[k.kind].entries[k].index == was { // else the watch was faster
		w.pending[k] = pending{now: now, was: was}
	}
}

// refresh reads everything again, for a write that was refused because it was based on
// something old.
func (c *cache) refresh(ctx context.Context, in scope) error {
	for _, kind := range kinds {
		list, index, err := c.backend.list(ctx, in, kind, 0)
		if err != nil {
			return err
		}
		c.store(ctx, in, kind, list, index, false)
	}
	return nil
}
