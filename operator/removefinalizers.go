package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// removeFinalizersCommand is the first argument of the command line that lets go of all Canaries.
const removeFinalizersCommand = "remove-finalizers"

// errOperatorAtWork says that finalizers come back.
var errOperatorAtWork = errors.New("an operator is at work and puts the finalizers back; stop it first")

// settleTime is how long an operator that is at work has to show itself.
const settleTime = 3 * time.Second

// removeFinalizers takes the finalizer from every Canary, so that none waits for an operator that is not there any more.
// Nothing else is touched: what serves goes on serving, with the same share of the traffic. A Canary that is
// being deleted goes, and leaves all that was made for it.
func removeFinalizers(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	api, namespace, err := canariesCommand(removeFinalizersCommand, args, stderr)
	if err != nil {
		return err
	}
	return letGo(ctx, api, namespace, stdout, clock.RealClock{})
}

// canariesCommand reads the command line of a command that writes Canaries while no operator is at work, and gives it a
// client and the namespace that it is for.
func canariesCommand(name string, args []string, stderr io.Writer) (api client.Client, namespace string, err error) {
	o := options{}
	f := flag.NewFlagSet("sluice "+name, flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; without it $KUBECONFIG, else the service account of the pod")
	f.StringVar(&o.namespace, "namespace", "", "of the Canaries of this namespace only")
	if err := f.Parse(args); err != nil {
		return nil, "", err
	}
	if f.NArg() > 0 {
		return nil, "", fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	config, err := kubeConfig(o.kubeconfig, o)
	if err != nil {
		return nil, "", err
	}
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		return nil, "", fmt.Errorf("scheme: %w", err)
	}
	if api, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return nil, "", fmt.Errorf("client: %w", err)
	}
	return api, o.namespace, nil
}

// letGo is removeFinalizers with what a test replaces.
func letGo(ctx context.Context, api client.Client, namespace string, stdout io.Writer, clk clock.Clock) error {
	held, err := withFinalizer(ctx, api, namespace, func(*v1beta1.Canary) bool { return true })
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
	again, err := withFinalizer(ctx, api, namespace, func(*v1beta1.Canary) bool { return true })
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
func withFinalizer(ctx context.Context, api client.Client, namespace string, which func(*v1beta1.Canary) bool) ([]client.ObjectKey, error) {
	var list v1beta1.CanaryList
	if err := api.List(ctx, &list, client.InNamespace(namespace)); err != nil {
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
