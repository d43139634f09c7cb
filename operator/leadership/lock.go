// Package leadership has one replica of several act. It keeps the lease by which they choose it, knows since when nobody led when
// this one came to, and holds back the writes of a replica that may not lead any more.
package leadership

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	recording "k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/operator/release"
)

// ErrNotLeading is why a replica writes nothing.
var ErrNotLeading = errors.New("this replica does not lead")

// errOfAnother refuses to give back a lease that another replica holds.
var errOfAnother = errors.New("another replica holds the lease")

// Times of an election.
type Times struct {
	// Lease is how long a leader is waited for that gives no sign of life. It is whole seconds, as the lease says it in such.
	Lease time.Duration
	// Renew is how old the last renewal of a leader may be. It is shorter than Lease by the time in which what the leader has begun
	// by then is over before another one leads.
	Renew time.Duration
	// Retry is how often the lease is renewed, and asked for.
	Retry time.Duration
}

// TimesOf are the times that go with the duration of a lease.
func TimesOf(lease time.Duration) Times {
	return Times{Lease: lease, Renew: lease * 2 / 3, Retry: lease * 2 / 15}
}

// Config is what a Lock is made from.
type Config struct {
	// Namespace and Name are those of the lease.
	Namespace, Name string
	// Times are those of the election.
	Times Times
	// Scheme knows the lease.
	Scheme *runtime.Scheme
	// Clock tells the time. That of production has two readings: see Leads.
	Clock clock.PassiveClock
}

// Lock is the lock by which the replicas choose their leader. It is safe for concurrent use.
type Lock struct {
	resourcelock.Interface

	clock   clock.PassiveClock
	renew   time.Duration
	deposed chan struct{} // closed when another one leads after this one did

	mu      sync.Mutex
	last    resourcelock.LeaderElectionRecord // as it was read or written last
	absence release.Absence
	held    bool      // by this replica, as far as it knows
	renewed time.Time // when the renewal that succeeded last was begun
	wall    time.Time // the same by the clock of the wall alone
}

// New makes the lock of the leader's lease. Events about it are sent beyond the end of ctx.
func New(ctx context.Context, config *rest.Config, c Config) (*Lock, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name of a replica: %w", err)
	}
	config = rest.AddUserAgent(rest.CopyConfig(config), "leader-election") // the operator's own has no timeout, which would end its watches
	// Half of the time in which a leader has to renew its lease, so that one request that hangs does not cost the leadership.
	config.Timeout = c.Times.Renew / 2
	core, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of the leader's events: %w", err)
	}
	leases, err := coordinationclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of the leader's lease: %w", err)
	}
	// The last event, that it no longer leads, comes after the end of ctx.
	broadcaster := recording.NewBroadcaster(recording.WithContext(context.WithoutCancel(ctx)))
	broadcaster.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: core.Events("")})
	id := host + "_" + string(uuid.NewUUID())
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, c.Namespace, c.Name, core, leases, resourcelock.ResourceLockConfig{
		Identity: id, EventRecorder: broadcaster.NewRecorder(c.Scheme, corev1.EventSource{Component: id}),
	})
	if err != nil {
		return nil, fmt.Errorf("lock of the leader's lease: %w", err)
	}
	return newLock(lock, c.Times, c.Clock), nil
}

func newLock(inner resourcelock.Interface, times Times, clk clock.PassiveClock) *Lock {
	return &Lock{Interface: inner, clock: clk, renew: times.Renew, deposed: make(chan struct{})}
}

// Get implements resourcelock.Interface.
func (l *Lock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Interface.Get(ctx)
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.last = *record
		if l.held && record.HolderIdentity != "" && record.HolderIdentity != l.Identity() {
			l.held = false
			close(l.deposed)
		}
	}
	return record, raw, err //nolint:wrapcheck // whoever elects looks at what it is
}

// Create implements resourcelock.Interface.
func (l *Lock) Create(ctx context.Context, first resourcelock.LeaderElectionRecord) error {
	began := l.clock.Now()
	err := l.Interface.Create(ctx, first)
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.wrote(first, began)
	}
	return err //nolint:wrapcheck // whoever elects looks at what it is
}

// Update implements resourcelock.Interface. A lease that another replica was seen to hold is not given back in its stead, as a
// replica would that stops after it was frozen.
func (l *Lock) Update(ctx context.Context, next resourcelock.LeaderElectionRecord) error {
	if next.HolderIdentity == "" && l.ofAnother() {
		return errOfAnother
	}
	began := l.clock.Now()
	err := l.Interface.Update(ctx, next)
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if next.HolderIdentity == l.Identity() && l.last.HolderIdentity != next.HolderIdentity {
			l.absence = absenceBetween(l.last, next)
		}
		l.wrote(next, began)
	}
	return err //nolint:wrapcheck // whoever elects looks at what it is
}

// ofAnother tells whether another replica was seen to hold the lease last.
func (l *Lock) ofAnother() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last.HolderIdentity != "" && l.last.HolderIdentity != l.Identity()
}

// wrote notes a write of the lease that was begun at a time; the lock must be held.
func (l *Lock) wrote(record resourcelock.LeaderElectionRecord, began time.Time) {
	l.last = record
	if l.held = record.HolderIdentity == l.Identity(); l.held {
		l.renewed, l.wall = began, began.Round(0)
	}
}

// Absence is the time before this replica came to lead in which no operator did.
func (l *Lock) Absence() release.Absence {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.absence
}

// absenceBetween is the time between the last renewal of one leader and the beginning of the next one. Nothing is known of
// it where there was no leader before, or one by a clock that is ahead.
func absenceBetween(last, next resourcelock.LeaderElectionRecord) release.Absence {
	from, to := last.RenewTime.Time, next.RenewTime.Time
	if from.IsZero() || !from.Before(to) {
		return release.Absence{}
	}
	return release.Absence{From: from, To: to}
}
