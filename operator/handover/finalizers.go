package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"k8s.io/client-go/util/retry"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// errOperatorAtWork says that finalizers come back.
var errOperatorAtWork = errors.New("an operator is at work and puts the finalizers back; stop it first")

// settleTime is how long an operator that is at work has to show itself.
const settleTime = 3 * time.Second

// RemoveFinalizers takes the finalizer from the Canaries that a list of them has, so that none waits for an operator that is not there any more.
// Nothing else is touched: what serves goes on serving, with the same share of the traffic. A Canary that is
// being deleted goes, and leaves all that was made for it.
func RemoveFinalizers(ctx context.Context, api client.Client, of []client.ListOption, stdout io.Writer, clk clock.Clock) error {
	held, err := withFinalizer(ctx, api, of, func(*v1beta1.Canary) bool { return true })
	if err != nil {
		return err
	}
	for _, key := range held {
		err := retry.RetryOnConflict(retry.DefaultBackoff, func() error { return removeFinalizer(ctx, api, key) })
		if err != nil {
			return fmt.Errorf("canary %s: %w", key, err)
		}
		fmt.Fprintln(stdout, "let go of Canary", key)
	}
	if len(held) == 0 {
		return nil
	}
	if err := settle(ctx, clk); err != nil {
		return err
	}
	again, err := withFinalizer(ctx, api, of, func(*v1beta1.Canary) bool { return true })
	if err != nil {
		return err
	}
	if slices.ContainsFunc(again, func(key client.ObjectKey) bool { return slices.Contains(held, key) }) {
		return errOperatorAtWork
	}
	return nil
}

// settle gives an operator that is at work the time to show itself.
func settle(ctx context.Context, clk clock.Clock) error {
	select {
	case <-clk.After(settleTime):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// withFinalizer are those of the Canaries that wait for an operator when they are deleted.
func withFinalizer(ctx context.Context, api client.Client, of []client.ListOption, which func(*v1beta1.Canary) bool) ([]client.ObjectKey, error) {
	var list v1beta1.CanaryList
	if err := api.List(ctx, &list, of...); err != nil {
		return nil, fmt.Errorf("list Canaries: %w", err)
	}
	var out []client.ObjectKey
	for i := range list.Items {
		if controllerutil.ContainsFinalizer(&list.Items[i], v1beta1.Finalizer) && which(&list.Items[i]) {
			out = append(out, client.ObjectKeyFromObject(&list.Items[i]))
		}
	}
	return out, nil
}

func removeFinalizer(ctx context.Context, api client.Client, key client.ObjectKey) error {
	c := &v1beta1.Canary{}
	if err := api.Get(ctx, key, c); err != nil {
		return client.IgnoreNotFound(err)
	}
	before := c.DeepCopy()
	if !controllerutil.RemoveFinalizer(c, v1beta1.Finalizer) {
		return nil
	}
	return client.IgnoreNotFound(api.Patch(ctx, c, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})))
}
