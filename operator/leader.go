package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sluice-delivery/sluice/operator/canary"
	"github.com/sluice-delivery/sluice/operator/leadership"
)

const (
	// leaderLease is the name of the lease that the leader of all replicas holds.
	leaderLease = "sluice-leader-election"
	// shortestLease leaves a leader two seconds in which it has to renew it.
	shortestLease = 3 * time.Second
	// ownNamespaceFile has the namespace of the pod that this runs in.
	ownNamespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
)

// leaderOptions say whether the replicas elect one of them, and how.
type leaderOptions struct {
	enabled   bool
	namespace string
	lease     time.Duration
}

func (o *leaderOptions) register(f *flag.FlagSet) {
	f.BoolVar(&o.enabled, "enable-leader-election", false, "act only as the leader of all replicas")
	f.StringVar(&o.namespace, "leader-election-namespace", os.Getenv("POD_NAMESPACE"), "namespace of the leader's lease")
	f.DurationVar(&o.lease, "leader-election-lease-duration", 15*time.Second, "how long the other replicas wait for a leader that gives no sign of life, in whole seconds. A leader renews its lease about eight times in that, and ends when it has not been able to for two thirds of it")
}

func (o *leaderOptions) check() error {
	if o.lease < shortestLease || o.lease%time.Second != 0 {
		return fmt.Errorf("-leader-election-lease-duration: %s is not %s or more in whole seconds", o.lease, shortestLease)
	}
	return nil
}

// lock makes the lock by which the replicas elect their leader, nil where they elect none.
func (o *leaderOptions) lock(ctx context.Context, config *rest.Config, scheme *runtime.Scheme, lease string) (*leadership.Lock, error) {
	if !o.enabled {
		return nil, nil //nolint:nilnil // there is none, and that is no error
	}
	namespace := o.namespace
	if namespace == "" {
		own, err := os.ReadFile(ownNamespaceFile)
		if errors.Is(err, os.ErrNotExist) {
			return nil, errors.New("-leader-election-namespace: it is needed where the operator does not run in a pod")
		}
		if err != nil {
			return nil, fmt.Errorf("-leader-election-namespace: %w", err)
		}
		namespace = strings.TrimSpace(string(own))
	}
	return leadership.New(ctx, config, leadership.Config{
		Namespace: namespace, Name: lease, Times: leadership.TimesOf(o.lease), Scheme: scheme, Clock: clock.RealClock{},
	})
}

// elect has a manager elect by a lock, which is none where it is nil, and the routers of Consul write behind its fence.
func (o *options) elect(settings *ctrl.Options, lock *leadership.Lock) {
	if lock == nil {
		return
	}
	if o.consul.Wrap == nil {
		o.consul.Wrap = lock.Fence
	}
	times := leadership.TimesOf(o.leader.lease)
	settings.LeaderElection, settings.LeaderElectionResourceLockInterface = true, lock
	settings.LeaseDuration, settings.RenewDeadline, settings.RetryPeriod = &times.Lease, &times.Renew, &times.Retry
	settings.LeaderElectionReleaseOnCancel = true
}

// heed has a reconciler act only while it leads by a lock, which is none where it is nil, and the manager end when it does not any more.
func heed(mgr ctrl.Manager, r *canary.Reconciler, lock *leadership.Lock) error {
	if lock == nil {
		return nil
	}
	r.Absence, r.Leads = lock.Absence, lock.Leads
	if err := mgr.Add(lock); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	return nil
}
