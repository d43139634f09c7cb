package main

import (
	"context"
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

	"github.com/sluice-delivery/sluice/operator/release"
)

const (
	// leaderLease is the name of the lease that the leader of all replicas holds.
	leaderLease = "sluice-leader-election"
	// leaseTimeout is how long a request for the lease may take: half of the time in which a leader has to renew
	// it, so that one request that hangs does not cost the leadership.
	leaseTimeout = 5 * time.Second
)

// succession is the lock by which the replicas choose their leader. It knows since when there was no leader when this replica
// came to lead, whether that has just begun or stood by for days beside a leader at work.
type succession struct {
	resourcelock.Interface

	mu      sync.Mutex
	last    resourcelock.LeaderElectionRecord // as it was read or written last
	absence release.Absence
}

// newSuccession makes the lock of the leader's lease. It is nil without leader election, and where the lease is in whatever
// namespace the pod is in: nothing is known of an absence then.
func newSuccession(ctx context.Context, config *rest.Config, scheme *runtime.Scheme, o options) (*succession, error) {
	if !o.leaderElection || o.leaderElectionSpace == "" {
		return nil, nil //nolint:nilnil // there is none, and that is no error
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name of a replica: %w", err)
	}
	config = rest.AddUserAgent(config, "leader-election")
	config.Timeout = leaseTimeout
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
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, o.leaderElectionSpace, o.scope.lease(), core, leases, resourcelock.ResourceLockConfig{
		Identity: id, EventRecorder: broadcaster.NewRecorder(scheme, corev1.EventSource{Component: id}),
	})
	if err != nil {
		return nil, fmt.Errorf("lock of the leader's lease: %w", err)
	}
	return &succession{Interface: lock}, nil
}

// Get implements resourcelock.Interface.
func (s *succession) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := s.Interface.Get(ctx)
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.last = *record
	}
	return record, raw, err //nolint:wrapcheck // whoever elects looks at what it is
}

// Update implements resourcelock.Interface.
func (s *succession) Update(ctx context.Context, next resourcelock.LeaderElectionRecord) error {
	err := s.Interface.Update(ctx, next)
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if next.HolderIdentity == s.Identity() && s.last.HolderIdentity != next.HolderIdentity {
			s.absence = absenceBetween(s.last, next)
		}
		s.last = next
	}
	return err //nolint:wrapcheck // whoever elects looks at what it is
}

// Absence is the time before this replica came to lead in which no operator did.
func (s *succession) Absence() release.Absence {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.absence
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
