package webhooks

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// counter counts what is lost, by reason.
type counter struct {
	mu   sync.Mutex
	lost map[string]int
}

func (c *counter) count(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost == nil {
		c.lost = map[string]int{}
	}
	c.lost[reason]++
}

func (c *counter) want(t *testing.T, want map[string]int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := cmp.Diff(want, c.lost); d != "" {
		t.Errorf("lost (-want +got):\n%s", d)
	}
}

// mailbox keeps the messages that it is told, in order.
type mailbox struct {
	mu       sync.Mutex
	received []string
}

func (m *mailbox) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var payload Payload
	_ = json.NewDecoder(r.Body).Decode(&payload)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.received = append(m.received, payload.Name+" "+payload.Metadata[eventMessageKey])
}

func (m *mailbox) all() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.received)
}

func eventCall(url, canary, message string) Call {
	return Call{URL: url, Payload: Payload{Name: canary}.Event(message, "Normal", newYear)}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			t.Fatalf("not within 30 seconds: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// run starts the queue, and returns what ends it and waits for its end.
func run(t *testing.T, e *Events) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Start: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func TestEventsKeepOrder(t *testing.T) {
	var box mailbox
	server := httptest.NewServer(&box)
	t.Cleanup(server.Close)
	client, _ := testClient(t)
	var lost counter
	events := NewEvents(client, EventsOptions{Workers: 8, PerHost: 8, Lost: lost.count})
	run(t, events)
	const each = 30
	for i := range each {
		for _, canary := range []string{"a", "b", "c"} {
			events.Enqueue(eventCall(server.URL, canary, fmt.Sprintf("%03d", i)))
		}
	}
	eventually(t, "all events are told", func() bool { return len(box.all()) == 3*each })
	for _, canary := range []string{"a", "b", "c"} {
		of := slices.DeleteFunc(box.all(), func(s string) bool { return s[:1] != canary })
		if !slices.IsSorted(of) || len(of) != each {
			t.Errorf("events of %s came as %v", canary, of)
		}
	}
	lost.want(t, nil)
}

func TestEventsAreRepeated(t *testing.T) {
	var box mailbox
	var calls atomic.Int32
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) <= eventRetries {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		box.ServeHTTP(w, r)
	})
	client, _ := testClient(t)
	var lost counter
	events := NewEvents(client, EventsOptions{Lost: lost.count})
	run(t, events)
	events.Enqueue(eventCall(server.URL, "a", "1"))
	events.Enqueue(eventCall(server.URL, "a", "2"))
	eventually(t, "both are told", func() bool { return cmp.Equal(box.all(), []string{"a 1", "a 2"}) })
	lost.want(t, nil)
}

func TestEventsThatAreNotTaken(t *testing.T) {
	var calls atomic.Int32
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.WriteHeader(http.StatusForbidden)
	})
	client, _ := testClient(t)
	var lost counter
	events := NewEvents(client, EventsOptions{Lost: lost.count})
	stop := run(t, events)
	events.Enqueue(eventCall(server.URL, "a", "1"))
	events.Enqueue(eventCall("http://a b/", "a", "2"))
	events.Enqueue(eventCall("http://169.254.169.254/", "a", "3"))
	stop()
	lost.want(t, map[string]int{LostFailed: 3})
	if calls.Load() != 1 {
		t.Errorf("called %d times, want once", calls.Load())
	}
	events.Enqueue(eventCall(server.URL, "a", "late"))
	lost.want(t, map[string]int{LostFailed: 3, LostShutdown: 1})
}

// A receiver that does not answer holds its share of the workers, and nobody else's events.
func TestSlowReceiverHoldsNobodyUp(t *testing.T) {
	release := make(chan struct{})
	var busy atomic.Int32
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		busy.Add(1)
		<-release
	}))
	t.Cleanup(slow.Close)
	letGo := sync.OnceFunc(func() { close(release) })
	t.Cleanup(letGo)
	var box mailbox
	quick := httptest.NewServer(&box)
	t.Cleanup(quick.Close)

	client, _ := testClient(t)
	var lost counter
	events := NewEvents(client, EventsOptions{Workers: 6, PerHost: 2, Lost: lost.count})
	stop := run(t, events)
	for i := range 10 {
		call := eventCall(slow.URL, fmt.Sprint("slow", i), "x")
		call.Timeout = time.Minute
		events.Enqueue(call)
	}
	eventually(t, "the slow host has its share", func() bool { return busy.Load() == 2 })
	for i := range 50 {
		events.Enqueue(eventCall(quick.URL, fmt.Sprint("quick", i), "x"))
	}
	eventually(t, "all events of the quick host are told", func() bool { return len(box.all()) == 50 })
	if busy.Load() != 2 {
		t.Errorf("%d calls to the slow host at once, want 2", busy.Load())
	}
	letGo()
	stop()
	lost.want(t, nil)
	if busy.Load() != 10 {
		t.Errorf("the slow host was told %d events, want 10", busy.Load())
	}
}

// Whoever fills the queue loses the oldest of its own, and the others lose nothing.
func TestFullQueue(t *testing.T) {
	var loud, still mailbox
	loudServer, stillServer := httptest.NewServer(&loud), httptest.NewServer(&still)
	t.Cleanup(loudServer.Close)
	t.Cleanup(stillServer.Close)
	client, _ := testClient(t)
	var lost counter
	events := NewEvents(client, EventsOptions{Workers: 1, Capacity: 5, Lost: lost.count})
	events.Enqueue(eventCall(stillServer.URL, "b", "1"))
	for i := range 20 {
		events.Enqueue(eventCall(loudServer.URL, "a", fmt.Sprint(i)))
	}
	events.Enqueue(eventCall(stillServer.URL, "b", "2"))
	lost.want(t, map[string]int{LostFull: 17})
	run(t, events)()
	if d := cmp.Diff([]string{"b 1", "b 2"}, still.all()); d != "" {
		t.Errorf("told to the still one (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"a 17", "a 18", "a 19"}, loud.all()); d != "" {
		t.Errorf("told to the loud one (-want +got):\n%s", d)
	}
}

// A namespace whose hooks do not answer, at however many hosts, has its share of the workers, and no other's.
func TestNamespaceHoldsNobodyUp(t *testing.T) {
	release := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(release) })
	t.Cleanup(letGo)
	var busy atomic.Int32
	var box mailbox
	quick := httptest.NewServer(&box)
	t.Cleanup(quick.Close)
	client, _ := testClient(t)
	var lost counter
	events := NewEvents(client, EventsOptions{Workers: 4, PerHost: 2, Lost: lost.count})
	stop := run(t, events)
	for range 8 {
		slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			busy.Add(1)
			<-release
		}))
		t.Cleanup(slow.Close)
		call := eventCall(slow.URL, "hostile", "x")
		call.Payload.Namespace, call.Timeout = "hostile", time.Minute
		events.Enqueue(call)
	}
	eventually(t, "it has its share", func() bool { return busy.Load() == 2 })
	for i := range 20 {
		call := eventCall(quick.URL, fmt.Sprint("c", i), "x")
		call.Payload.Namespace = "shop"
		events.Enqueue(call)
	}
	eventually(t, "all events of the other are told", func() bool { return len(box.all()) == 20 })
	if busy.Load() != 2 {
		t.Errorf("%d calls of one namespace at once, want 2", busy.Load())
	}
	letGo()
	stop()
	lost.want(t, nil)
	if busy.Load() != 8 {
		t.Errorf("%d calls were made, want 8", busy.Load())
	}
}

// A namespace that fills the queue with calls to many hosts loses its own oldest, and the others lose nothing.
func TestNamespaceFillsTheQueue(t *testing.T) {
	var box mailbox
	server := httptest.NewServer(&box)
	t.Cleanup(server.Close)
	client, _ := testClient(t)
	var lost counter
	events := NewEvents(client, EventsOptions{Capacity: 6, Lost: lost.count})
	for i := range 3 { // the oldest, and most at one host
		call := eventCall(server.URL, "still", fmt.Sprint(i))
		call.Payload.Namespace = "shop"
		events.Enqueue(call)
	}
	for i := range 20 {
		call := eventCall(fmt.Sprintf("http://host-%d.invalid/", i), "hostile", "x")
		call.Payload.Namespace = "hostile"
		events.Enqueue(call)
	}
	lost.want(t, map[string]int{LostFull: 17})
	run(t, events)
	eventually(t, "all of the still one are told", func() bool { return len(box.all()) == 3 })
	if d := cmp.Diff([]string{"still 0", "still 1", "still 2"}, box.all()); d != "" {
		t.Errorf("told to the still one (-want +got):\n%s", d)
	}
}

// What is not sent within the grace is lost, and counted.
func TestShutdown(t *testing.T) {
	release, asked := make(chan struct{}), make(chan struct{}, 9)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-release
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	client, clock := testClient(t)
	clock.noGrace = true
	var lost counter
	events := NewEvents(client, EventsOptions{Lost: lost.count})
	stop := run(t, events)
	for i := range 3 {
		call := eventCall(server.URL, "a", fmt.Sprint(i))
		call.Timeout = time.Minute
		events.Enqueue(call)
	}
	<-asked
	stop()
	lost.want(t, map[string]int{LostShutdown: 3})
}

// Whatever is added and taken in whatever order: nothing is lost but what is counted, no lane has two calls under way,
// no host has more than its share, order is kept, and an empty queue remembers nothing.
func TestQueueKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lost := 0
		e := NewEvents(nil, EventsOptions{PerHost: 2, Capacity: 6, Lost: func(string) { lost++ }})
		type taken struct {
			h *host
			l *lane
		}
		var underWay []taken
		added, received, last := 0, 0, map[string]string{}
		take := func() {
			h, l, call, ok := e.take()
			if !ok {
				t.Fatal("nothing to take")
			}
			message := call.Payload.Metadata[eventMessageKey]
			if message <= last[l.key] {
				t.Fatalf("%s comes after %s", message, last[l.key])
			}
			last[l.key] = message
			inHost := 1
			for _, other := range underWay {
				if other.l == l || other.l.key == l.key {
					t.Fatalf("two calls at once of %s", l.key)
				}
				if other.h.name == h.name {
					inHost++
				}
			}
			if inHost > 2 {
				t.Fatalf("%d calls at once to %s", inHost, h.name)
			}
			underWay = append(underWay, taken{h, l})
			received++
		}
		runnable := func() bool { return slices.ContainsFunc(e.turn, func(h *host) bool { return len(h.ready) > 0 }) }
		finish := func(i int) {
			e.done(underWay[i].h, underWay[i].l)
			underWay = slices.Delete(underWay, i, i+1)
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				url := rapid.SampledFrom([]string{"http://x/", "http://x/2", "http://y/", "http://z/"}).Draw(t, "url")
				e.Enqueue(eventCall(url, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "canary"), fmt.Sprintf("%04d", added)))
				added++
			case 2:
				if runnable() {
					take()
				}
			case 3:
				if len(underWay) > 0 {
					finish(rapid.IntRange(0, len(underWay)-1).Draw(t, "which"))
				}
			}
			if e.queued > 6 {
				t.Fatalf("%d calls wait", e.queued)
			}
		}
		for e.queued > 0 || len(underWay) > 0 {
			switch {
			case runnable():
				take()
			case len(underWay) > 0:
				finish(0)
			default:
				t.Fatalf("%d calls wait and none may be made", e.queued)
			}
		}
		if received+lost != added {
			t.Fatalf("%d added, %d told, %d lost", added, received, lost)
		}
		if len(e.hosts) != 0 {
			t.Fatalf("an empty queue has %d hosts", len(e.hosts))
		}
	})
}
