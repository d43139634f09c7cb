package main

import (
	"context"
	"flag"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/handover"
	"github.com/sluice-delivery/sluice/operator/kube"
)

const (
	// removeFinalizersCommand is the first argument of the command line that lets go of all Canaries.
	removeFinalizersCommand = "remove-finalizers"
	// handOverCommand is the first argument of the command line that readies all Canaries for Flagger.
	handOverCommand = "hand-over"
)

// removeFinalizers takes the finalizer from every Canary.
func removeFinalizers(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	api, of, err := canariesCommand(removeFinalizersCommand, args, stderr)
	if err != nil {
		return err
	}
	for _, some := range of {
		if err := handover.RemoveFinalizers(ctx, api, some, stdout, clock.RealClock{}); err != nil {
			return err
		}
	}
	return nil
}

// handOver readies every Canary for Flagger.
func handOver(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	api, of, err := canariesCommand(handOverCommand, args, stderr)
	if err != nil {
		return err
	}
	for _, some := range of {
		if err := handover.ToFlagger(ctx, api, some, stdout, clock.RealClock{}); err != nil {
			return err
		}
	}
	return nil
}

// canariesCommand reads the command line of a command that writes Canaries while no operator is at work, and gives it a
// client and which of them it is for, by namespace.
func canariesCommand(name string, args []string, stderr io.Writer) (api client.Client, of [][]client.ListOption, err error) {
	o := options{}
	f := flag.NewFlagSet("sluice "+name, flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; without it $KUBECONFIG, else the service account of the pod")
	f.Var((*list)(&o.namespaces), "namespace", "of the Canaries of these namespaces only, comma separated")
	f.StringVar(&o.scope.selector, "watch-label-selector", "", "of the Canaries only whose labels it selects")
	if err := f.Parse(args); err != nil {
		return nil, nil, err
	}
	selected, err := labels.Parse(o.scope.selector)
	if err != nil {
		return nil, nil, fmt.Errorf("-watch-label-selector: %w", err)
	}
	if f.NArg() > 0 {
		return nil, nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	config, err := kubeConfig(o.kubeconfig, o)
	if err != nil {
		return nil, nil, err
	}
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		return nil, nil, fmt.Errorf("scheme: %w", err)
	}
	if api, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return nil, nil, fmt.Errorf("client: %w", err)
	}
	for _, namespace := range kube.Each(o.namespaces) {
		of = append(of, []client.ListOption{client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: selected}})
	}
	return api, of, nil
}
