// Command sluice is the operator: it reconciles the Canaries of a cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// version is set by the linker.
var version = "dev"

func main() {
	err := run(ctrl.SetupSignalHandler(), os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "sluice:", err)
		os.Exit(1)
	}
}

// run is the operator from its command line to the end of ctx.
func run(ctx context.Context, args []string, stderr io.Writer) error {
	o, err := parseFlags(args, stderr)
	if err != nil {
		return err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return fmt.Errorf("-log-level: %q is none of debug, info, warn, error", o.logLevel)
	}
	logger := newLogger(stderr, level)
	log.SetLogger(logger)
	config, err := kubeConfig(o.kubeconfig, o)
	if err != nil {
		return err
	}
	if err := refuseBesideFlagger(ctx, config, o.namespace, clock.RealClock{}); err != nil {
		return err
	}
	mgr, err := newManager(ctx, config, o, wiring{log: logger})
	if err != nil {
		return err
	}
	logger.Info("Starting", "version", version, "meshProvider", o.meshProvider, "metricsServer", o.metrics.address())
	return mgr.Start(ctx)
}

// kubeConfig is that of the file, else of the pod that this runs in.
func kubeConfig(file string, o options) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = file
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("no way to reach Kubernetes: %w", err)
	}
	config.UserAgent = "sluice/" + version
	config.QPS, config.Burst = float32(o.qps), o.burst
	// One line for each warning of the API server, not one for each object that it is about.
	config.WarningHandlerWithContext = log.NewKubeAPIWarningLogger(log.KubeAPIWarningLoggerOptions{Deduplicate: true})
	config.DisableCompression = true // it costs both sides more than the network between them
	return config, nil
}
