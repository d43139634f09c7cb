package consul

import (
	"context"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// canaries are those that a router moves traffic for: what is remembered of each, and
// who is to be looked at.
type canaries struct {
	clock  clock.Clock
	events chan event.GenericEvent
	wake   chan struct{}

	mu     sync.Mutex
	known  map[types.NamespacedName]*known
	queued map[types.NamespacedName]bool
	ctx    context.Context //nolint:containedctx // of the timers that Observe sets
}

// known is what is remembered of a Canary. All of it can be lost.
type known struct {
	names names
	// confirmed is the state of the entries whose discovery chain was seen to do what
	// they say.
	confirmed string
	// addressed is the state of the entries, and the addresses, that were seen to be told to
	// transparent proxies.
	addressed string
	// waiting is since when a half has no instance, and leaving since when it is
	// being released.
	waiting, leaving time.Time
	// due says that it is to be looked at again in a while.
	due bool
}

func newCanaries(clk clock.Clock) *canaries {
	return &canaries{
		clock: clk, events: make(chan event.GenericEvent), wake: make(chan struct{}, 1),
		known: map[types.NamespacedName]*known{}, queued: map[types.NamespacedName]bool{},
	}
}

// begin allows timers until ctx ends.
func (x *canaries) begin(ctx context.Context) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ctx = ctx
}

// bring sends those that are queued until ctx ends.
func (x *canaries) bring(ctx context.Context) {
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

// touched queues the Canaries that entries are about, all of the scope for nil.
func (x *canaries) touched(in scope, keys []key) {
	changed := map[string]bool{}
	all := keys == nil
	for _, k := range keys {
		changed[k.name] = true
		all = all || k == proxyDefaults
	}
	x.mu.Lock()
	for name, k := range x.known {
		n := k.names
		if n.scope == in && (all || changed[n.apex] || changed[n.primary] || changed[n.canary] || changed[n.split]) {
			x.queued[name] = true
		}
	}
	x.mu.Unlock()
	x.awake()
}

func (x *canaries) awake() {
	select {
	case x.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// later queues a Canary in a while.
func (x *canaries) later(c *v1beta1.Canary, after time.Duration) {
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
		case <-x.clock.After(after):
			x.remember(c, func(k *known) { k.due = false })
			x.mu.Lock()
			x.queued[name] = true
			x.mu.Unlock()
			x.awake()
		}
	}()
}

func (x *canaries) remember(c *v1beta1.Canary, change func(*known)) {
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

func (x *canaries) forget(c *v1beta1.Canary) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.known, client.ObjectKeyFromObject(c))
}

// missing is a wait at first: instances come a moment after their pods are ready.
func (x *canaries) missing(c *v1beta1.Canary, service string) error {
	now := x.clock.Now()
	since := now
	x.remember(c, func(k *known) {
		if k.waiting.IsZero() {
			k.waiting = now
		}
		since = k.waiting
	})
	if now.Sub(since) < registration {
		return &providers.WaitError{For: "an instance of " + service + " in Consul", After: healthRetry}
	}
	return fmt.Errorf("consul has no healthy instance of %s in its mesh, although pods are ready: are they in the mesh, and registered by that name?", service)
}
