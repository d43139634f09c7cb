package handover

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestHeld(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	renewed := func(ago time.Duration) *metav1.MicroTime { return new(metav1.NewMicroTime(now.Add(-ago))) }
	for name, tc := range map[string]struct {
		spec coordinationv1.LeaseSpec
		want bool
	}{
		"empty":         {},
		"renewed":       {coordinationv1.LeaseSpec{HolderIdentity: new("a"), RenewTime: renewed(0), LeaseDurationSeconds: new(int32(60))}, true},
		"about to end":  {coordinationv1.LeaseSpec{HolderIdentity: new("a"), RenewTime: renewed(time.Minute - 1), LeaseDurationSeconds: new(int32(60))}, true},
		"ended":         {coordinationv1.LeaseSpec{HolderIdentity: new("a"), RenewTime: renewed(time.Minute), LeaseDurationSeconds: new(int32(60))}, false},
		"given up":      {coordinationv1.LeaseSpec{HolderIdentity: new(""), RenewTime: renewed(0), LeaseDurationSeconds: new(int32(60))}, false},
		"no holder":     {coordinationv1.LeaseSpec{RenewTime: renewed(0), LeaseDurationSeconds: new(int32(60))}, false},
		"never renewed": {coordinationv1.LeaseSpec{HolderIdentity: new("a"), LeaseDurationSeconds: new(int32(60))}, false},
		"no duration":   {coordinationv1.LeaseSpec{HolderIdentity: new("a"), RenewTime: renewed(0)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := held(&coordinationv1.Lease{Spec: tc.spec}, now); got != tc.want {
				t.Errorf("held: %t, want %t", got, tc.want)
			}
		})
	}
}
