package alerts

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// Destination names a receiver, for its queue, its rate limit and for numbers. It holds nothing that is secret.
type Destination struct {
	// Namespace and Name are those of the AlertProvider; Namespace is empty for a receiver of the operator's own.
	Namespace, Name string
}

// String is for logs.
func (d Destination) String() string {
	if d.Namespace == "" {
		return d.Name
	}
	return d.Namespace + "/" + d.Name
}

// Outcome is what came of a message.
type Outcome string

// Outcomes.
const (
	// Sent: the receiver has it.
	Sent Outcome = "sent"
	// Failed: the receiver did not take it, however often it was tried.
	Failed Outcome = "failed"
	// Lost: it was never tried, as there were too many, or the process ended.
	Lost Outcome = "lost"
	// Collapsed: a later message that says the same stands for it.
	Collapsed Outcome = "collapsed"
)

// Counter is told of every message exactly once. It is called at once from several goroutines.
type Counter interface {
	CountAlert(to Destination, outcome Outcome)
}

// Delivery is a message to one receiver.
type Delivery struct {
	// To is the receiver.
	To Destination
	// Open gives its Sender. It is called before each try, from the Dispatcher, so that it may take its time and sees a
	// receiver that was mended meanwhile. Its error counts as one of Send.
	Open func(ctx context.Context) (Sender, error)
	// Message is what to send.
	Message Message
	// Undelivered is told when the message is given up, with the reason; nil where nobody is. It must not block.
	Undelivered func(err error)
}

// Limits of a Dispatcher. Zero values mean the defaults.
type Limits struct {
	// Workers is how many messages are sent at once, 4 by default: half of them for the receivers of one namespace. Two
	// messages to the same receiver are never.
	Workers int
	// Queue is how many messages may wait for one receiver, 100 by default; Total how many for all, 2000. Where they are too
	// many, the namespace with most of them loses some.
	Queue, Total int
	// PerSecond and Burst limit the messages to one receiver: 1 a second and 5 at once by default, which every platform
	// allows.
	PerSecond rate.Limit
	Burst     int
	// Age is how long a message is tried for, 10 minutes by default. Each is tried once at least.
	Age time.Duration
	// Drain is how long what waits is still sent when the Dispatcher is stopped, 5 seconds by default.
	Drain time.Duration
}

func (l Limits) orDefaults() Limits {
	l.Workers = orDefault(l.Workers, 4)
	l.Queue = orDefault(l.Queue, 100)
	l.Total = orDefault(l.Total, 2000)
	l.PerSecond = orDefault(l.PerSecond, 1)
	l.Burst = orDefault(l.Burst, 5)
	l.Age = orDefault(l.Age, 10*time.Minute)
	l.Drain = orDefault(l.Drain, 5*time.Second)
	return l
}

func orDefault[T int | rate.Limit | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// attempt bounds one try with all that belongs to it.
const attempt = 30 * time.Second

// How long a message that was not taken waits for its next try.
const (
	firstWait = time.Second
	lastWait  = time.Minute
)

// Dispatcher sends messages beside what moves traffic: Enqueue never waits. The messages to one receiver are sent one
// after the other in their order, so that what begins a conversation comes first; a receiver that hangs holds up no
// other. It is a manager.Runnable.
type Dispatcher struct {
	limits  Limits
	clock   clock.WithDelayedExecution
	counter Counter

	mu      sync.Mutex
	wake    *sync.Cond
	lanes   map[Destination]*lane
	sending map[string]int // messages under way, by namespace
	ready   []*lane        // have a message that is due, and no worker
	waiting int            // messages in all lanes
	stopped bool           // nothing is taken any more
	ended   bool           // workers go home
	busy    int            // lanes that a worker or a timer has, or that are ready
}

// lane has the messages to one receiver.
type lane struct {
	to      Destination
	limiter *rate.Limiter
	queue   []*entry
	held    bool // a worker or a timer has it, or it is ready
}

type entry struct {
	Delivery
	since time.Time
	wait  time.Duration // the last one
	tried bool
	sent  bool // it is under way
}

// NewDispatcher gives a Dispatcher that takes messages at once and sends them when it is started. The counter may be nil.
func NewDispatcher(limits Limits, clk clock.WithDelayedExecution, counter Counter) *Dispatcher {
	d := &Dispatcher{limits: limits.orDefaults(), clock: clk, counter: counter, lanes: map[Destination]*lane{}, sending: map[string]int{}}
	d.wake = sync.NewCond(&d.mu)
	return d
}

// Enqueue takes a message and returns at once. One that says the same about the same release as one that still waits
// takes its place. When there are too many for the receiver, what matters least gives way.
func (d *Dispatcher) Enqueue(x Delivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.stopped:
		d.giveUp(x, Lost, errStopped)
		return
	case d.waiting >= d.limits.Total && !d.makeRoom(x.To.Namespace):
		d.giveUp(x, Lost, errTooMany)
		return
	}
	l := d.lanes[x.To]
	if l == nil {
		l = &lane{to: x.To, limiter: rate.NewLimiter(d.limits.PerSecond, d.limits.Burst)}
		d.lanes[x.To] = l
	}
	e := &entry{Delivery: x, since: d.clock.Now()}
	if i := slices.IndexFunc(l.queue, func(w *entry) bool { return !w.tried && sameNews(w.Message.Alert, x.Message.Alert) }); i >= 0 {
		e.Message.Repeated += l.queue[i].Message.Repeated + 1
		d.count(x.To, Collapsed)
		l.queue = slices.Delete(l.queue, i, i+1)
		d.waiting--
	}
	l.queue = append(l.queue, e)
	d.waiting++
	if len(l.queue) > d.limits.Queue {
		i := l.leastWanted()
		d.giveUp(l.queue[i].Delivery, Lost, errTooMany)
		l.queue = slices.Delete(l.queue, i, i+1)
		d.waiting--
	}
	d.schedule(l, 0)
}

// makeRoom has the namespace with most messages lose one; false where that is this one. The lock is held.
func (d *Dispatcher) makeRoom(namespace string) bool {
	waiting := map[string]int{}
	most := namespace
	for to, l := range d.lanes {
		if waiting[to.Namespace] += len(l.queue); waiting[to.Namespace] > waiting[most] {
			most = to.Namespace
		}
	}
	if waiting[most] == waiting[namespace] {
		return false
	}
	var longest *lane
	at := -1
	for to, l := range d.lanes {
		if to.Namespace != most || longest != nil && len(l.queue) <= len(longest.queue) {
			continue
		}
		if i := slices.IndexFunc(l.queue, func(e *entry) bool { return !e.sent }); i >= 0 {
			longest, at = l, i
		}
	}
	if longest == nil {
		return false
	}
	d.giveUp(longest.queue[at].Delivery, Lost, errTooMany)
	longest.queue = slices.Delete(longest.queue, at, at+1)
	d.waiting--
	return true
}

// sameNews tells whether the second of two messages makes the first one superfluous.
func sameNews(a, b Alert) bool {
	return a.Namespace == b.Namespace && a.Name == b.Name && a.Release == b.Release && a.Reason == b.Reason &&
		a.Severity == b.Severity && a.Final == b.Final
}

// leastWanted is the oldest of the least severe messages, without the one that may be under way.
func (l *lane) leastWanted() int {
	least := 1
	for i := 1; i < len(l.queue); i++ {
		if rank(l.queue[i].Message.Alert.Severity) < rank(l.queue[least].Message.Alert.Severity) {
			least = i
		}
	}
	return min(least, len(l.queue)-1)
}

// schedule has a worker look at a lane after a while, unless it is in somebody's hands already. The lock is held.
func (d *Dispatcher) schedule(l *lane, after time.Duration) {
	if l.held {
		return
	}
	l.held = true
	d.busy++
	if after <= 0 {
		d.ready = append(d.ready, l)
		d.wake.Broadcast()
		return
	}
	d.after(after, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.ready = append(d.ready, l)
		d.wake.Broadcast()
	})
}

// after calls f in a goroutine of its own: a clock may hold its lock when it calls back.
func (d *Dispatcher) after(wait time.Duration, f func()) clock.Timer {
	return d.clock.AfterFunc(wait, func() { go f() })
}

// Start sends messages until ctx ends, and what waits then for a little longer.
func (d *Dispatcher) Start(ctx context.Context) error {
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var workers sync.WaitGroup
	for range d.limits.Workers {
		workers.Go(func() { d.work(sending) })
	}
	<-ctx.Done()

	d.mu.Lock()
	d.stopped = true
	d.wake.Broadcast()
	d.mu.Unlock()
	deadline := d.after(d.limits.Drain, func() {
		cancel()
		d.end()
	})
	workers.Wait()
	deadline.Stop()
	d.loseRest()
	return nil
}

// end sends the workers home.
func (d *Dispatcher) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	d.wake.Broadcast()
}

// loseRest counts what was not sent.
func (d *Dispatcher) loseRest() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lanes {
		for _, e := range l.queue {
			d.giveUp(e.Delivery, Lost, errStopped)
		}
		l.queue = nil
	}
	d.waiting = 0
}

func (d *Dispatcher) work(ctx context.Context) {
	for {
		l := d.next()
		if l == nil {
			return
		}
		d.serve(ctx, l)
	}
}

// next waits for a lane that is ready. Nil means that there is nothing left to do.
func (d *Dispatcher) next() *lane {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case d.ended || d.stopped && d.busy == 0:
			d.wake.Broadcast()
			return nil
		default:
			if i := slices.IndexFunc(d.ready, d.mayBeServed); i >= 0 {
				l := d.ready[i]
				d.ready = slices.Delete(d.ready, i, i+1)
				d.sending[l.to.Namespace]++
				return l
			}
		}
		d.wake.Wait()
	}
}

// mayBeServed is false for a lane whose namespace has its share of the workers.
func (d *Dispatcher) mayBeServed(l *lane) bool {
	return d.sending[l.to.Namespace] < max(d.limits.Workers/2, 1)
}

// serve tries the first message of a lane, unless its rate limit says to wait.
func (d *Dispatcher) serve(ctx context.Context, l *lane) {
	e, after := d.take(l)
	if e != nil {
		after = d.settle(ctx, l, e, d.try(ctx, e))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	l.held = false
	d.busy--
	if d.sending[l.to.Namespace]--; d.sending[l.to.Namespace] == 0 {
		delete(d.sending, l.to.Namespace)
	}
	if len(l.queue) > 0 {
		d.schedule(l, after)
	} else {
		d.sweep()
	}
	d.wake.Broadcast()
}

// sweep forgets lanes that are as good as new ones.
func (d *Dispatcher) sweep() {
	now := d.clock.Now()
	for to, l := range d.lanes {
		if !l.held && len(l.queue) == 0 && l.limiter.TokensAt(now) >= float64(d.limits.Burst) {
			delete(d.lanes, to)
		}
	}
}

// take gives the first message of a lane, or how long to wait for it. The message stays in the queue.
func (d *Dispatcher) take(l *lane) (*entry, time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(l.queue) == 0 {
		return nil, 0
	}
	now := d.clock.Now()
	r := l.limiter.ReserveN(now, 1)
	if after := r.DelayFrom(now); after > 0 {
		r.CancelAt(now)
		return nil, after
	}
	e := l.queue[0]
	e.tried, e.sent = true, true
	return e, 0
}

func (d *Dispatcher) try(ctx context.Context, e *entry) error {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	sender, err := e.Open(ctx)
	if err != nil {
		return err
	}
	return sender.Send(ctx, e.Message)
}

// settle acts on what came of a try and gives how long the lane is to be left alone.
func (d *Dispatcher) settle(ctx context.Context, l *lane, e *entry, err error) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	done := func() {
		l.queue = l.queue[1:]
		d.waiting--
	}
	e.sent = false
	switch wait := e.next(err); {
	case err == nil:
		done()
		d.count(l.to, Sent)
	case isPermanent(err) || d.clock.Now().Add(wait).Sub(e.since) > d.limits.Age:
		done()
		log.FromContext(ctx).Error(err, "Alert not sent", "to", l.to.String(), "canary", e.Message.Alert.Namespace+"/"+e.Message.Alert.Name, "reason", e.Message.Alert.Reason)
		d.giveUp(e.Delivery, Failed, err)
		return retryAfter(err)
	default:
		return wait
	}
	return 0
}

// next is how long to wait for the next try.
func (e *entry) next(err error) time.Duration {
	e.wait = min(max(2*e.wait, firstWait), lastWait)
	return max(e.wait, retryAfter(err))
}

// giveUp counts a message that was not delivered and tells who wants to know. The lock is held.
func (d *Dispatcher) giveUp(x Delivery, outcome Outcome, why error) {
	d.count(x.To, outcome)
	if x.Undelivered != nil {
		x.Undelivered(why)
	}
}

func (d *Dispatcher) count(to Destination, outcome Outcome) {
	if d.counter != nil {
		d.counter.CountAlert(to, outcome)
	}
}
