package handover

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/operator/kube"
)

// FlaggerLease is the name of the lease that a Flagger with leader election
// holds.
const FlaggerLease = "flagger-leader-election"

// RefuseBesideFlagger fails while Flagger is at work in the cluster, or in one of
// the namespaces that this operator is for: two operators on one Canary undo
// each other's routes.
func RefuseBesideFlagger(ctx context.Context, config *rest.Config, namespaces []string, clk clock.PassiveClock) error {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	for _, namespace := range kube.Each(namespaces) {
		if err := refuseBesideIn(ctx, clients, namespace, clk); err != nil {
			return err
		}
	}
	return nil
}

func refuseBesideIn(ctx context.Context, clients kubernetes.Interface, namespace string, clk clock.PassiveClock) error {
	leases, err := clients.CoordinationV1().Leases(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, FlaggerLease).String(),
	})
	if apierrors.IsForbidden(err) {
		log.FromContext(ctx).Info("Not allowed to see whether Flagger is running; make sure that it is not", "error", err.Error())
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for a lease of Flagger's: %w", err)
	}
	for i := range leases.Items {
		if l := &leases.Items[i]; held(l, clk.Now()) {
			return fmt.Errorf("a Flagger is running: %s holds lease %s/%s; scale it to zero first, its Canaries are then taken over as they are",
				*l.Spec.HolderIdentity, l.Namespace, l.Name)
		}
	}
	return nil
}

// held tells whether a lease has a holder that renewed it in time.
func held(l *coordinationv1.Lease, now time.Time) bool {
	s := l.Spec
	if s.HolderIdentity == nil || *s.HolderIdentity == "" || s.RenewTime == nil || s.LeaseDurationSeconds == nil {
		return false
	}
	return now.Before(s.RenewTime.Add(time.Duration(*s.LeaseDurationSeconds) * time.Second))
}
