// Command sluice is the operator: it reconciles the Canaries of a cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/operator/handover"
	"github.com/sluice-delivery/sluice/operator/limits"
)

// version is set by the linker.
var version = "dev"

func main() {
	var exit *exitError
	err := run(ctrl.SetupSignalHandler(), os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.As(err, &exit):
		if exit.err != nil {
			fmt.Fprintln(os.Stderr, "sluice:", exit.err)
		}
		os.Exit(exit.status)
	case err != nil:
		fmt.Fprintln(os.Stderr, "sluice:", err)
		os.Exit(1)
	}
}

// commands are what the program does beside being the operator, by the first argument of the command line.
var commands = map[string]func(ctx context.Context, args []string, stdout, stderr io.Writer) error{
	removeFinalizersCommand: removeFinalizers,
	handOverCommand:         handOver,
	applyCRDsCommand:        applyCRDs,
	preflightCommand: func(ctx context.Context, args []string, stdout, stderr io.Writer) error {
		log.SetLogger(logr.Discard()) // what is to be said is in the report
		return runPreflight(ctx, args, os.Stdin, stdout, stderr)
	},
}

// run is the operator from its command line to the end of ctx.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		if command := commands[args[0]]; command != nil {
			return command(ctx, args[1:], stdout, stderr)
		}
	}
	o, err := parseFlags(args, stderr)
	if err != nil {
		return err
	}
	if o.version {
		fmt.Fprintln(stdout, "Sluice version", version)
		return nil
	}
	level, err := o.level()
	if err != nil {
		return err
	}
	logger := newLogger(stderr, level, o.logEncoding)
	log.SetLogger(logger)
	for _, f := range o.ignored {
		logger.Info("A flag of Flagger's has no effect", "flag", "-"+f.name, "why", f.why)
	}
	if err := limits.Set(os.Getenv); err != nil {
		return err
	}
	config, err := kubeConfig(o.kubeconfig, o)
	if err != nil {
		return err
	}
	if err := handover.RefuseBesideFlagger(ctx, config, o.namespaces, clock.RealClock{}); err != nil {
		return err
	}
	mgr, err := newManager(ctx, config, o, wiring{log: logger})
	if err != nil {
		return err
	}
	logger.Info("Starting", "version", version, "meshProvider", o.meshProvider, "metricsServer", o.metrics.address())
	return mgr.Start(ctx)
}

// userAgent is what the operator calls itself.
func userAgent() string { return "sluice/" + version }

// kubeConfig is that of the file, else of the pod that this runs in.
func kubeConfig(file string, o options) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = file
	overrides := &clientcmd.ConfigOverrides{ClusterInfo: clientcmdapi.Cluster{Server: o.master}}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("no way to reach Kubernetes: %w", err)
	}
	config.UserAgent = userAgent()
	config.QPS, config.Burst = float32(o.qps), o.burst
	// One line for each warning of the API server, not one for each object that it is about.
	config.WarningHandlerWithContext = log.NewKubeAPIWarningLogger(log.KubeAPIWarningLoggerOptions{Deduplicate: true})
	config.DisableCompression = true // it costs both sides more than the network between them
	return config, nil
}
