package alerts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// bench is a Dispatcher with a clock of its own, and what came of its messages.
type bench struct {
	*Dispatcher
	t     *testing.T
	clock *clocktesting.FakeClock

	mu       sync.Mutex
	sent     []string
	outcomes map[Outcome]int
	received []string
	fail     func(text string) error // what a try comes to
	hang     map[string]chan struct{}
	tries    int
}

func newBench(t *testing.T, limits Limits) *bench {
	b := &bench{t: t, clock: clocktesting.NewFakeClock(time.Unix(0, 0)), outcomes: map[Outcome]int{}}
	b.Dispatcher = NewDispatcher(limits, b.clock, b)
	return b
}

func (b *bench) CountAlert(_ Destination, o Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.outcomes[o]++
}

func (b *bench) Send(_ context.Context, m Message) error {
	b.mu.Lock()
	b.tries++
	hang := b.hang[m.Text]
	b.mu.Unlock()
	if hang != nil {
		<-hang
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		if err := b.fail(m.Text); err != nil {
			return err
		}
	}
	b.sent = append(b.sent, m.TextWithRepeats())
	return nil
}

// add queues a message. Its news is that of no other, unless reason says so.
func (b *bench) add(to, text string, change ...func(*Alert)) {
	b.addOf("", to, text, change...)
}

// addOf is add for a receiver of a namespace.
func (b *bench) addOf(namespace, to, text string, change ...func(*Alert)) {
	a := Alert{Text: text, Reason: text, Release: "r", Severity: v1beta1.SeverityInfo}
	for _, c := range change {
		c(&a)
	}
	b.Enqueue(Delivery{
		To:      Destination{Namespace: namespace, Name: to},
		Open:    func(context.Context) (Sender, error) { return b, nil },
		Message: Compose(a),
		Undelivered: func(err error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.received = append(b.received, text+": "+err.Error())
		},
	})
}

func (b *bench) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.Start(ctx); err != nil {
			b.t.Error(err)
		}
	}()
	return func() {
		cancel()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			b.t.Fatal("it does not stop")
		}
	}
}

// wait waits for a condition under the bench's lock.
func (b *bench) wait(what string, condition func() bool) {
	b.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		b.mu.Lock()
		ok := condition()
		state := fmt.Sprintf("sent %v, outcomes %v, tries %d", b.sent, b.outcomes, b.tries)
		b.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("no %s: %s", what, state)
		}
		<-time.After(time.Millisecond)
	}
}

// step moves the clock once somebody waits for it.
func (b *bench) step(d time.Duration) {
	b.t.Helper()
	b.wait("timer", b.clock.HasWaiters)
	b.clock.Step(d)
}

func (b *bench) want(what string, got, want any) {
	b.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("%s (-want +got)\n%s", what, diff)
	}
}

func TestDispatcherKeepsTheOrder(t *testing.T) {
	b := newBench(t, Limits{Burst: 100})
	var want []string
	for i := range 50 {
		b.add("a", fmt.Sprint(i))
		want = append(want, fmt.Sprint(i))
	}
	defer b.start()()
	b.wait("message", func() bool { return len(b.sent) == 50 })
	b.want("order", b.sent, want)
	b.want("outcomes", b.outcomes, map[Outcome]int{Sent: 50})
}

// What begins a conversation comes first, however often it has to be tried.
func TestDispatcherTriesAgainInOrder(t *testing.T) {
	b := newBench(t, Limits{Burst: 100})
	failures := 0
	b.fail = func(text string) error {
		if text == "first" && failures < 3 {
			failures++
			return errors.New("out of order")
		}
		return nil
	}
	b.add("a", "first")
	b.add("a", "second")
	defer b.start()()
	for _, d := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
		b.step(d - time.Millisecond)
		b.want("too early", len(b.sent), 0)
		b.step(time.Millisecond)
	}
	b.wait("messages", func() bool { return len(b.sent) == 2 })
	b.want("order", b.sent, []string{"first", "second"})
}

func TestDispatcherHonoursRetryAfter(t *testing.T) {
	b := newBench(t, Limits{Burst: 100})
	b.fail = func(string) error {
		b.fail = nil
		return &SendError{To: "x", RetryAfter: 42 * time.Second, Err: errors.New("status 429")}
	}
	b.add("a", "first")
	defer b.start()()
	b.step(41 * time.Second)
	b.want("too early", len(b.sent), 0)
	b.step(time.Second)
	b.wait("message", func() bool { return len(b.sent) == 1 })
}

func TestDispatcherGivesUp(t *testing.T) {
	b := newBench(t, Limits{Burst: 100, Age: 10 * time.Second})
	b.fail = func(text string) error {
		switch text {
		case "revoked":
			return Permanent("x", errors.New("no_service"))
		case "down":
			return errors.New("connection refused")
		}
		return nil
	}
	b.add("a", "revoked")
	b.add("a", "down")
	b.add("a", "fine")
	defer b.start()()
	for range 2 { // at 4s and 8s; the next wait would end after 10s
		b.step(4 * time.Second)
	}
	b.wait("message", func() bool { return len(b.sent) == 1 })
	b.want("outcomes", b.outcomes, map[Outcome]int{Failed: 2, Sent: 1})
	b.want("told", b.received, []string{"revoked: x: no_service", "down: connection refused"})
}

// An AlertProvider that is not there is told at once, and mended ones are seen by the next try.
func TestDispatcherOpensForEachTry(t *testing.T) {
	b := newBench(t, Limits{})
	opened := 0
	b.Enqueue(Delivery{To: Destination{Name: "a"}, Open: func(context.Context) (Sender, error) {
		if opened++; opened == 1 {
			return nil, errors.New("the cache is not filled")
		}
		return b, nil
	}, Message: Message{Text: "x"}})
	defer b.start()()
	b.step(time.Second)
	b.wait("message", func() bool { return len(b.sent) == 1 })
}

// A receiver that hangs holds up no other.
func TestDispatcherHangingReceiver(t *testing.T) {
	b := newBench(t, Limits{Workers: 4, Burst: 100})
	release := make(chan struct{})
	b.hang = map[string]chan struct{}{"hangs": release}
	b.add("a", "hangs")
	b.add("a", "behind it")
	for i := range 10 {
		b.add("b", fmt.Sprint(i))
	}
	stop := b.start()
	b.wait("messages to the other", func() bool { return len(b.sent) == 10 })
	close(release)
	b.wait("the rest", func() bool { return len(b.sent) == 12 })
	stop()
	b.want("outcomes", b.outcomes, map[Outcome]int{Sent: 12})
}

// A namespace whose receivers hang has half of the workers, and no other's.
func TestDispatcherHangingNamespace(t *testing.T) {
	b := newBench(t, Limits{Workers: 4, Burst: 100})
	release := make(chan struct{})
	b.hang = map[string]chan struct{}{}
	for i := range 6 {
		text := fmt.Sprint("hangs ", i)
		b.hang[text] = release
		b.addOf("hostile", fmt.Sprint("receiver ", i), text)
	}
	for i := range 10 {
		b.addOf("shop", "chat", fmt.Sprint(i))
	}
	stop := b.start()
	b.wait("messages of the other", func() bool { return len(b.sent) == 10 })
	close(release)
	b.wait("those that hung", func() bool { return len(b.sent) == 16 })
	stop()
	b.want("outcomes", b.outcomes, map[Outcome]int{Sent: 16})
}

// A namespace that fills the queue, with however many receivers, makes room for the others.
func TestDispatcherFullOfOneNamespace(t *testing.T) {
	b := newBench(t, Limits{Total: 6, Burst: 100})
	for i := range 8 {
		b.addOf("hostile", fmt.Sprint("receiver ", i), fmt.Sprint("hostile ", i))
	}
	for i := range 3 {
		b.addOf("shop", "chat", fmt.Sprint(i))
	}
	b.addOf("shop", "chat", "more than the other") // each has three
	if len(b.received) != 6 || slices.ContainsFunc(b.received[:5], func(s string) bool { return !strings.HasPrefix(s, "hostile") }) || !strings.HasPrefix(b.received[5], "more") {
		t.Errorf("lost are %q", b.received)
	}
	defer b.start()()
	b.wait("messages", func() bool { return len(b.sent) == 6 })
	b.want("outcomes", b.outcomes, map[Outcome]int{Sent: 6, Lost: 6})
}

func TestDispatcherRateLimitCollapses(t *testing.T) {
	b := newBench(t, Limits{Burst: 1, PerSecond: 1})
	check := func(a *Alert) { a.Reason = "CheckFailed" }
	b.add("a", "start")
	b.add("a", "check 1", check)
	b.add("a", "weight")
	b.add("a", "check 2", check)
	b.add("a", "another release", check, func(a *Alert) { a.Release = "other" })
	b.add("a", "check 3", check)
	b.add("a", "end", check, func(a *Alert) { a.Final = true })
	b.add("b", "check 3 elsewhere", check)
	defer b.start()()
	b.wait("the first of each", func() bool { return len(b.sent) == 2 })
	for n := 3; n <= 6; n++ {
		b.step(time.Second)
		b.wait("one a second", func() bool { return len(b.sent) == n })
	}
	var toA []string
	for _, s := range b.sent {
		if s != "check 3 elsewhere" {
			toA = append(toA, s)
		}
	}
	b.want("sent", toA, []string{"start", "weight", "another release", "check 3 (3 times since the last message)", "end"})
	b.want("outcomes", b.outcomes, map[Outcome]int{Sent: 6, Collapsed: 2})
}

func TestDispatcherIsBounded(t *testing.T) {
	b := newBench(t, Limits{Queue: 3, Total: 5, Burst: 100})
	severe := func(a *Alert) { a.Severity = v1beta1.SeverityError }
	b.add("a", "head")
	b.add("a", "bad", severe)
	b.add("a", "info 1")
	b.add("a", "info 2")        // info 1 gives way
	b.add("a", "bad 2", severe) // info 2 gives way
	b.add("b", "1")
	b.add("b", "2")
	b.add("b", "3") // too many for all
	b.want("told", b.received, []string{
		"info 1: " + errTooMany.Error(), "info 2: " + errTooMany.Error(), "3: " + errTooMany.Error(),
	})
	defer b.start()()
	b.wait("messages", func() bool { return len(b.sent) == 5 })
	b.want("outcomes", b.outcomes, map[Outcome]int{Sent: 5, Lost: 3})
}

func TestDispatcherDrains(t *testing.T) {
	b := newBench(t, Limits{Burst: 2, PerSecond: 1})
	for _, text := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"} {
		b.add("a", text)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.Start(ctx); err != nil {
			t.Error(err)
		}
	}()
	for n := range 4 {
		b.wait("what the limit allows", func() bool { return len(b.sent) == 2+n })
		b.wait("both timers", func() bool { return b.clock.Waiters() == 2 })
		b.clock.Step(time.Second)
	}
	b.wait("the last of them", func() bool { return len(b.sent) == 6 })
	b.wait("both timers", func() bool { return b.clock.Waiters() == 2 })
	b.clock.Step(999 * time.Millisecond)
	b.clock.Step(time.Millisecond) // five seconds are over
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it does not stop")
	}
	if total := b.outcomes[Sent] + b.outcomes[Lost]; total != 9 || b.outcomes[Sent] < 6 || b.outcomes[Lost] < 2 {
		t.Errorf("outcomes %v", b.outcomes)
	}
	b.received = nil
	b.add("a", "late")
	b.want("told", b.received, []string{"late: " + errStopped.Error()})
}

// A lane, with its rate limit, is forgotten when it is as good as new.
func TestDispatcherForgetsLanes(t *testing.T) {
	b := newBench(t, Limits{})
	b.add("a", "1")
	stop := b.start()
	b.wait("message", func() bool { return len(b.sent) == 1 })
	b.clock.Step(time.Minute)
	b.add("b", "2")
	b.wait("message", func() bool { return len(b.sent) == 2 })
	stop()
	b.Dispatcher.mu.Lock()
	defer b.Dispatcher.mu.Unlock()
	if _, known := b.lanes[Destination{Name: "a"}]; known {
		t.Error("the lane is kept")
	}
}

// What is under way is not taken back by a later message that says the same.
func TestDispatcherDoesNotCollapseWhatIsUnderWay(t *testing.T) {
	b := newBench(t, Limits{Burst: 100})
	release := make(chan struct{})
	b.hang = map[string]chan struct{}{"check 1": release}
	check := func(a *Alert) { a.Reason = "CheckFailed" }
	b.add("a", "check 1", check)
	stop := b.start()
	b.wait("try", func() bool { return b.tries == 1 })
	b.add("a", "check 2", check)
	b.add("a", "check 3", check)
	close(release)
	b.wait("messages", func() bool { return len(b.sent) == 2 })
	stop()
	b.want("sent", b.sent, []string{"check 1", "check 3 (2 times since the last message)"})
}
