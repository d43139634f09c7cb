// Package canaries remembers the Canaries that a router for Consul moves traffic for, and brings
// those that are to be looked at. All that it remembers can be lost.
package canaries

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/services"
)

// retry is when to look again at a Canary for which Consul is not done yet.
const retry = 2 * time.Second

// Canaries are those that a router moves traffic for: what is remembered of each, and
// who is to be looked at.
type Canaries struct {
	clock  clock.Clock
	events chan event.GenericEvent
	wake   chan struct{}

	mu     sync.Mutex
	known  map[types.NamespacedName]*known
	queued map[types.NamespacedName]bool
	ctx    context.Context //nolint:containedctx // of the timers that Observe sets
}

// Fact is something that was seen of a Canary once, in a state of its entries.
type Fact int

// What holds until the state is another one.
const (
	// Confirmed is that the discovery chain does what the entries say.
	Confirmed Fact = iota
	// Addressed is that transparent proxies are told what the addresses stand for.
	Addressed
	facts
)

// Wait is something that a Canary waits for and that has a limit.
type Wait int

// What is waited for.
const (
	// Instance is one of a half that is to get requests and has none.
	Instance Wait = iota
	// Replacement is one of the service itself, whose Canary is being released.
	Replacement
	waits
)

// known is what is remembered of a Canary.
type known struct {
	names services.Names
	// seen are the states in which facts were seen.
	seen [facts]string
	// since is when waits began, zero for those that have not.
	since [waits]time.Time
	// due says that it is to be looked at again in a while.
	due bool
}

// New returns none yet.
func New(clk clock.Clock) *Canaries {
	return &Canaries{
		clock: clk, events: make(chan event.GenericEvent), wake: make(chan struct{}, 1),
		known: map[types.NamespacedName]*known{}, queued: map[types.NamespacedName]bool{},
	}
}

// Events are those of Canaries that are to be looked at.
func (x *Canaries) Events() <-chan event.GenericEvent { return x.events }

// Begin allows timers until ctx ends.
func (x *Canaries) Begin(ctx context.Context) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ctx = ctx
}

// Bring sends those that are queued until ctx ends.
func (x *Canaries) Bring(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-x.wake:
		}
		x.mu.Lock()
		queued := x.queued
		x.queued = map[types.NamespacedName]bool{}
		x.mu.Unlock()
		for name := range queued {
			select {
			case x.events <- event.GenericEvent{Object: &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}}:
			case <-ctx.Done():
				return
			}
		}
	}
}

// Touched queues the Canaries that entries are about, all of the scope for nil.
func (x *Canaries) Touched(in entries.Scope, keys []entries.Key) {
	changed := map[string]bool{}
	all := keys == nil
	for _, k := range keys {
		changed[k.Name] = true
		all = all || k == entries.ProxyDefaults
	}
	x.mu.Lock()
	for name, k := range x.known {
		n := k.names
		if n.Scope == in && (all || changed[n.Apex] || changed[n.Primary] || changed[n.Canary] || changed[n.Split]) {
			x.queued[name] = true
		}
	}
	x.mu.Unlock()
	x.awake()
}

func (x *Canaries) awake() {
	select {
	case x.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Later queues a Canary in a while.
func (x *Canaries) Later(c *v1beta1.Canary) {
	already := false
	x.remember(c, func(k *known) { already, k.due = k.due, true })
	x.mu.Lock()
	ctx := x.ctx
	x.mu.Unlock()
	if ctx == nil || already {
		return
	}
	name := client.ObjectKeyFromObject(c)
	go func() {
		select {
		case <-ctx.Done():
		case <-x.clock.After(retry):
			x.remember(c, func(k *known) { k.due = false })
			x.mu.Lock()
			x.queued[name] = true
			x.mu.Unlock()
			x.awake()
		}
	}()
}

// Know remembers what a Canary's services are called, by which it is found when entries change.
func (x *Canaries) Know(c *v1beta1.Canary, n services.Names) {
	x.remember(c, func(k *known) { k.names = n })
}

// Forget drops all that is remembered of a Canary.
func (x *Canaries) Forget(c *v1beta1.Canary) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.known, client.ObjectKeyFromObject(c))
}

// See remembers that a fact was seen in a state.
func (x *Canaries) See(c *v1beta1.Canary, of Fact, state string) {
	x.remember(c, func(k *known) { k.seen[of] = state })
}

// Saw tells whether a fact was seen in this state.
func (x *Canaries) Saw(c *v1beta1.Canary, of Fact, state string) (is bool) {
	x.remember(c, func(k *known) { is = k.seen[of] == state })
	return is
}

// Waited is how long a Canary has waited. The first call begins that.
func (x *Canaries) Waited(c *v1beta1.Canary, of Wait) (long time.Duration) {
	now := x.clock.Now()
	x.remember(c, func(k *known) {
		if k.since[of].IsZero() {
			k.since[of] = now
		}
		long = now.Sub(k.since[of])
	})
	return long
}

// Found ends a wait.
func (x *Canaries) Found(c *v1beta1.Canary, of Wait) {
	x.remember(c, func(k *known) { k.since[of] = time.Time{} })
}

func (x *Canaries) remember(c *v1beta1.Canary, change func(*known)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	name := client.ObjectKeyFromObject(c)
	k := x.known[name]
	if k == nil {
		k = &known{}
		x.known[name] = k
	}
	change(k)
}
