package main

import (
	"context"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/operator/release"
)

// leaderLease is the name of the lease that the leader of all replicas holds.
const leaderLease = "sluice-leader-election"

// lastAbsence is the time from the last renewal of the leader's lease until now, in which
// no operator was there. It ends when this process begins and not when it comes to lead: a
// replica may stand by for days beside a leader that is at work. Without leader election, or
// Before there was a leader, nothing is known of an absence.
func lastAbsence(ctx context.Context, live client.Reader, o options, clk clock.PassiveClock) (release.Absence, error) {
	if !o.leaderElection || o.leaderElectionSpace == "" {
		return release.Absence{}, nil
	}
	var lease coordinationv1.Lease
	err := live.Get(ctx, client.ObjectKey{Namespace: o.leaderElectionSpace, Name: o.scope.lease()}, &lease)
	if apierrors.IsNotFound(err) {
		return release.Absence{}, nil
	}
	if err != nil {
		return release.Absence{}, fmt.Errorf("read the leader's lease: %w", err)
	}
	now := clk.Now()
	if lease.Spec.RenewTime.IsZero() || lease.Spec.RenewTime.After(now) {
		return release.Absence{}, nil
	}
	return release.Absence{From: lease.Spec.RenewTime.Time, To: now}, nil
}
