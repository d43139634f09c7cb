package main

import (
	"context"
	"errors"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/operator/release"
)

func TestLastAbsence(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	lease := func(renewed *metav1.MicroTime) *coordinationv1.Lease {
		return &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: "sluice", Name: leaderLease},
			Spec:       coordinationv1.LeaseSpec{RenewTime: renewed},
		}
	}
	renewed := func(ago time.Duration) *coordinationv1.Lease {
		return lease(new(metav1.NewMicroTime(now.Add(-ago))))
	}
	elects := options{leaderElection: true, leaderElectionSpace: "sluice"}
	refused := errors.New("refused")
	for name, tc := range map[string]struct {
		options options
		lease   *coordinationv1.Lease
		refuse  error
		want    release.Absence
		wantErr error
	}{
		"an hour":               {options: elects, lease: renewed(time.Hour), want: release.Absence{From: now.Add(-time.Hour), To: now}},
		"another clock":         {options: elects, lease: renewed(-time.Second)},
		"never renewed":         {options: elects, lease: lease(nil)},
		"no lease":              {options: elects},
		"another namespace":     {options: options{leaderElection: true, leaderElectionSpace: "other"}, lease: renewed(time.Hour)},
		"without election":      {options: options{leaderElectionSpace: "sluice"}, lease: renewed(time.Hour)},
		"the read is not done":  {options: elects, refuse: refused, wantErr: refused},
		"no read, no namespace": {options: options{leaderElection: true}, refuse: refused},
	} {
		t.Run(name, func(t *testing.T) {
			b := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme)
			if tc.lease != nil {
				b.WithObjects(tc.lease)
			}
			if tc.refuse != nil {
				b.WithInterceptorFuncs(interceptor.Funcs{
					Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
						return tc.refuse
					},
				})
			}
			got, err := lastAbsence(t.Context(), b.Build(), tc.options, clocktesting.NewFakePassiveClock(now))
			if !errors.Is(err, tc.wantErr) {
				t.Fatalf("error %v, want %v", err, tc.wantErr)
			}
			if !got.From.Equal(tc.want.From) || !got.To.Equal(tc.want.To) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
