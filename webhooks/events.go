package webhooks

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"
)

// Bounds of Events where its options have none.
const (
	defaultWorkers  = 32
	defaultPerHost  = 2
	defaultCapacity = 4096
	// eventRetries is how often the call of an event is repeated at least: unlike a check, nobody repeats it later.
	eventRetries = 3
	// shutdownGrace is how long what is queued may take to be sent when the operator ends.
	shutdownGrace = 5 * time.Second
)

// Why an event was not told: the values that EventsOptions.Lost is called with.
const (
	LostFull     = "full"     // the queue had no room
	LostFailed   = "failed"   // the receiver did not take it
	LostShutdown = "shutdown" // the operator ended
)

// EventsOptions are the bounds of Events. Fields that are 0 have defaults.
type EventsOptions struct {
	// Workers is how many calls are made at once. The default is 32. Half of them may be for the Canaries of one namespace.
	Workers int
	// PerHost is how many of them may be to one host. The default is 2.
	PerHost int
	// Capacity is how many calls may wait. The default is 4096.
	Capacity int
	// Lost is called for each call that was not answered with success, with the reason. It must be quick, and is called
	// by many at once. Nil means that nobody counts.
	Lost func(reason string)
}

// Events sends the calls of event hooks, beside everything else and without ever holding it up. The calls of one Canary
// to one URL are made in order, one after the other. A host that is slow or away has no more than its share of the
// workers, as has a namespace, and if there is no room left, the namespace with most calls waiting loses the oldest one for
// the host for which most of them are.
type Events struct {
	client  *Client
	options EventsOptions

	mu     sync.Mutex
	wake   *sync.Cond
	closed bool
	queued int
	number uint64 // of the call that came last
	hosts  map[string]*host
	// active and waiting count the calls of namespaces.
	active, waiting map[string]int
	turn            []*host // hosts with lanes, the next one first
}

// host is what waits for one host.
type host struct {
	name    string
	ready   []*lane // lanes with calls and none under way, the next one first
	lanes   map[string]*lane
	waiting int
	active  int
	inTurn  bool
}

// lane is what waits for one URL of one Canary.
type lane struct {
	key    string
	of     string // the Canary's namespace
	calls  []queuedCall
	active bool
}

// queuedCall knows its place among all calls, so that the oldest can be found.
type queuedCall struct {
	Call
	number uint64
}

// NewEvents returns an empty queue.
func NewEvents(client *Client, o EventsOptions) *Events {
	o.Workers = orDefault(o.Workers, defaultWorkers)
	o.PerHost = orDefault(o.PerHost, defaultPerHost)
	o.Capacity = orDefault(o.Capacity, defaultCapacity)
	if o.Lost == nil {
		o.Lost = func(string) {}
	}
	e := &Events{client: client, options: o, hosts: map[string]*host{}, active: map[string]int{}, waiting: map[string]int{}}
	e.wake = sync.NewCond(&e.mu)
	return e
}

func orDefault(v, fallback int) int {
	if v <= 0 {
		return fallback
	}
	return v
}

// Enqueue adds a call and returns at once. The call's maps must not be changed after that.
func (e *Events) Enqueue(call Call) {
	call.Retries = max(call.Retries, eventRetries)
	lost := ""
	e.mu.Lock()
	if e.closed {
		lost = LostShutdown
	} else {
		if e.queued >= e.options.Capacity {
			e.dropOldest(call.Payload.Namespace)
			lost = LostFull
		}
		e.add(call)
		e.wake.Signal()
	}
	e.mu.Unlock()
	if lost != "" {
		e.options.Lost(lost)
	}
}

// Start sends what is queued until ctx ends, and then for a few seconds more what is left. It implements
// manager.Runnable, and returns nil.
func (e *Events) Start(ctx context.Context) error {
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var workers sync.WaitGroup
	for range e.options.Workers {
		workers.Go(func() { e.work(sending) })
	}
	<-ctx.Done()

	e.mu.Lock()
	e.closed = true
	e.wake.Broadcast()
	e.mu.Unlock()
	grace := e.client.clock.NewTimer(shutdownGrace)
	defer grace.Stop()
	idle := make(chan struct{})
	go func() { workers.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-grace.C():
		cancel()
		<-idle
	}
	return nil
}

// work makes one call after the other.
func (e *Events) work(ctx context.Context) {
	for {
		h, l, call, ok := e.take()
		if !ok {
			return
		}
		if ctx.Err() != nil {
			e.options.Lost(LostShutdown)
		} else if answer, err := e.client.Do(ctx, call); err != nil {
			e.options.Lost(lostReason(err))
			log.FromContext(ctx).Info("Event hook did not take an event", "namespace", call.Payload.Namespace,
				"name", call.Payload.Name, "hook", call.Hook, "attempts", answer.Attempts, "reason", err.Error())
		}
		e.done(h, l)
	}
}

func lostReason(err error) string {
	if KindOf(err) == KindCanceled {
		return LostShutdown
	}
	return LostFailed
}

// take waits for the next call that may be made. It returns false when the queue is closed and empty.
func (e *Events) take() (*host, *lane, Call, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		if h, l := e.next(); h != nil {
			h.ready = slices.DeleteFunc(h.ready, func(ready *lane) bool { return ready == l })
			call := l.pop()
			l.active = true
			h.active++
			e.active[l.of]++
			h.waiting--
			e.count(e.waiting, l.of, -1)
			e.queued--
			e.putInTurn(h)
			return h, l, call, true
		}
		if e.closed && e.queued == 0 {
			return nil, nil, Call{}, false
		}
		e.wake.Wait()
	}
}

func (l *lane) pop() Call {
	call := l.calls[0].Call
	l.calls[0] = queuedCall{}
	l.calls = l.calls[1:]
	return call
}

// next takes the host whose turn it is out of the order, and gives the lane in it that may be served; nil if there is none.
func (e *Events) next() (*host, *lane) {
	for i := 0; i < len(e.turn); {
		h := e.turn[i]
		if len(h.ready) == 0 { // its calls were dropped since it was put in turn
			h.inTurn = false
			e.turn = slices.Delete(e.turn, i, i+1)
			continue
		}
		if at := slices.IndexFunc(h.ready, func(l *lane) bool { return e.active[l.of] < max(e.options.Workers/2, 1) }); at >= 0 {
			h.inTurn = false
			e.turn = slices.Delete(e.turn, i, i+1)
			return h, h.ready[at]
		}
		i++ // it waits for its namespaces
	}
	return nil, nil
}

// count changes how many calls a namespace has, and forgets one that has none.
func (*Events) count(of map[string]int, namespace string, by int) {
	if of[namespace] += by; of[namespace] <= 0 {
		delete(of, namespace)
	}
}

// putInTurn gives a host a turn if it has a call that may be made, behind all others.
func (e *Events) putInTurn(h *host) {
	if !h.inTurn && len(h.ready) > 0 && h.active < e.options.PerHost {
		h.inTurn = true
		e.turn = append(e.turn, h)
	}
}

// done says that a call to the host, of that lane, has ended.
func (e *Events) done(h *host, l *lane) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h.active--
	e.count(e.active, l.of, -1)
	l.active = false
	if len(l.calls) > 0 {
		h.ready = append(h.ready, l)
	} else {
		delete(h.lanes, l.key)
	}
	if h.active == 0 && h.waiting == 0 {
		delete(e.hosts, h.name)
	}
	e.putInTurn(h)
	// All: one may take the next call, and those that wait for the end of a closed queue look again.
	e.wake.Broadcast()
}

func (e *Events) add(call Call) {
	name := hostOf(call.URL)
	h := e.hosts[name]
	if h == nil {
		h = &host{name: name, lanes: map[string]*lane{}}
		e.hosts[name] = h
	}
	key := strings.Join([]string{call.Payload.Namespace, call.Payload.Name, call.URL}, " ")
	l := h.lanes[key]
	if l == nil {
		l = &lane{key: key, of: call.Payload.Namespace}
		h.lanes[key] = l
	}
	if len(l.calls) == 0 && !l.active {
		h.ready = append(h.ready, l)
	}
	e.number++
	l.calls = append(l.calls, queuedCall{call, e.number})
	h.waiting++
	e.count(e.waiting, l.of, 1)
	e.queued++
	e.putInTurn(h)
}

// busiest is the namespace with most calls waiting, and of several with as many the given one.
func (e *Events) busiest(most string) string {
	for namespace, n := range e.waiting {
		if n > e.waiting[most] {
			most = namespace
		}
	}
	return most
}

// dropOldest makes room for one call where it hurts the others least: in the namespace with most calls waiting, at the host
// with most of them. Of several with as many it is the one that wants room.
func (e *Events) dropOldest(wants string) {
	most := e.busiest(wants)
	var full *host
	longest := 0
	for _, h := range e.hosts {
		n := 0
		for _, l := range h.lanes {
			if l.of == most {
				n += len(l.calls)
			}
		}
		if n > longest {
			full, longest = h, n
		}
	}
	var oldest *lane
	for _, l := range full.lanes {
		if l.of == most && len(l.calls) > 0 && (oldest == nil || l.calls[0].number < oldest.calls[0].number) {
			oldest = l
		}
	}
	oldest.pop()
	full.waiting--
	e.count(e.waiting, most, -1)
	e.queued--
	if len(oldest.calls) > 0 {
		return
	}
	full.ready = slices.DeleteFunc(full.ready, func(l *lane) bool { return l == oldest })
	if !oldest.active {
		delete(full.lanes, oldest.key)
	}
	if full.active == 0 && full.waiting == 0 {
		delete(e.hosts, full.name)
	}
}

// hostOf returns host and port of a URL. URLs that cannot be read share a name: they fail at once.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Host)
}
