// Package handover lets go of Canaries when the operator that had them is stopped, for good or for Flagger, and sees to it that
// none begins while Flagger still has them.
package handover

import (
	"context"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// errNotHandedOver says that Flagger would not do well with all Canaries as they are.
var errNotHandedOver = errors.New("not all Canaries are handed over; start the operator again, wait, and hand over anew")

// ToFlagger readies the Canaries that a list of them has for Flagger, after this operator was stopped and before Flagger is started. Flagger knows a
// revision by a hash that it alone can compute. So it would take the hash of a Canary at rest for that of another
// revision, and release what serves already; of a Canary that is being initialized it notes the hash, and releases nothing.
// And it takes a finalizer away from those with revertOnDeletion only, so that the deletion of any other would hang.
func ToFlagger(ctx context.Context, api client.Client, of []client.ListOption, stdout io.Writer, clk clock.Clock) error {
	var list v1beta1.CanaryList
	if err := api.List(ctx, &list, of...); err != nil {
		return fmt.Errorf("list Canaries: %w", err)
	}
	handed := map[client.ObjectKey]bool{}
	for i := range list.Items {
		key := client.ObjectKeyFromObject(&list.Items[i])
		next, err := nextWithFlagger(&list.Items[i])
		if err == nil {
			err = handOneOver(ctx, api, key, clk)
		}
		var not *notYetError
		switch {
		case errors.As(err, &not):
			fmt.Fprintf(stdout, "Canary %s is not handed over: %s\n", key, not.why)
		case err != nil:
			return fmt.Errorf("canary %s: %w", key, err)
		default:
			handed[key] = true
			fmt.Fprintf(stdout, "Canary %s: %s\n", key, next)
		}
	}
	if err := undone(ctx, api, of, handed, clk); err != nil {
		return err
	}
	if len(handed) < len(list.Items) {
		return errNotHandedOver
	}
	return nil
}

// undone fails where an operator is at work and has taken Canaries back.
func undone(ctx context.Context, api client.Client, of []client.ListOption, handed map[client.ObjectKey]bool, clk clock.Clock) error {
	if len(handed) == 0 {
		return nil
	}
	if err := settle(ctx, clk); err != nil {
		return err
	}
	again, err := withFinalizer(ctx, api, of, func(c *v1beta1.Canary) bool { return !c.Spec.RevertOnDeletion })
	if err != nil {
		return err
	}
	for _, key := range again {
		if handed[key] {
			return errOperatorAtWork
		}
	}
	return nil
}

// notYetError says why a Canary stays this operator's.
type notYetError struct{ why string }

func (e *notYetError) Error() string { return e.why }

// nextWithFlagger says what Flagger will do with a Canary, or, as a [*notYetError], why it must not have it yet.
func nextWithFlagger(c *v1beta1.Canary) (string, error) {
	st := &c.Status
	switch {
	case !c.DeletionTimestamp.IsZero() && !c.Spec.RevertOnDeletion:
		return "", &notYetError{"it is being deleted without revertOnDeletion, which Flagger never ends"}
	case !c.DeletionTimestamp.IsZero():
		return "Flagger goes on with its deletion", nil
	case st.Phase == v1beta1.PhasePromoting, st.Phase == v1beta1.PhaseFinalising:
		return "", &notYetError{fmt.Sprintf("it is %s: Flagger would go by routes that it has not set, and release the same revision once more", st.Phase)}
	case release.Idle(st.Phase) && st.CanaryWeight > 0:
		return "", &notYetError{fmt.Sprintf("it is %s and its canary serves %d%% in place of the primary, which Flagger would take away", st.Phase, st.CanaryWeight)}
	case release.Idle(st.Phase):
		return fmt.Sprintf("it was %s, and Flagger initializes it and releases nothing", st.Phase), nil
	case release.Running(st.Phase):
		return fmt.Sprintf("it is %s, and Flagger begins the analysis anew", st.Phase), nil
	default:
		return "Flagger initializes it", nil
	}
}

// handOneOver writes what Flagger goes by.
func handOneOver(ctx context.Context, api client.Client, key client.ObjectKey, clk clock.PassiveClock) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		c := &v1beta1.Canary{}
		if err := api.Get(ctx, key, c); err != nil {
			return client.IgnoreNotFound(err)
		}
		if _, err := nextWithFlagger(c); err != nil {
			return err // it has changed since
		}
		if c.DeletionTimestamp.IsZero() && release.Idle(c.Status.Phase) {
			now := metav1.NewTime(clk.Now())
			c.Status = v1beta1.CanaryStatus{Phase: v1beta1.PhaseInitializing, LastTransitionTime: now}
			c.Status.SetCondition(v1beta1.CanaryCondition{
				Type: v1beta1.ConditionPromoted, Status: corev1.ConditionUnknown, Reason: string(v1beta1.PhaseInitializing),
				Message: "Handed over to Flagger.",
			}, now.Time)
			if err := api.Status().Update(ctx, c); err != nil {
				return client.IgnoreNotFound(err)
			}
		}
		if c.Spec.RevertOnDeletion {
			return nil
		}
		return removeFinalizer(ctx, api, key)
	})
}
