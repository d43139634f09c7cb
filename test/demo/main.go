// Command demo shows a good and a bad release with real requests. It exits
// non-zero if anything did not go as it should.
//
// Without flags it does so in an embedded cluster with a real mesh; with KEEP=1
// in the environment that stays up at the end. With -cluster current it does so
// in the cluster of the current context of the user's kubeconfig, once the user
// has agreed, and removes everything it made at its end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/test/cluster"
)

func main() {
	log.SetLogger(logr.Discard()) // else its absence is told, in the middle of the show
	var o currentOptions
	where := flag.String("cluster", "", "current: the cluster of the current context of the kubeconfig; an embedded one without it")
	flag.BoolVar(&o.yes, "yes", false, "do not ask before something is made in the cluster")
	flag.BoolVar(&o.clean, "clean", false, "remove what a demo that was killed has left in the cluster, and do nothing else")
	flag.Parse()
	o.keep = os.Getenv("KEEP") == "1"
	if err := run(*where, o); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "\ndemo: FAILED:", err)
		os.Exit(1)
	}
}

func run(where string, o currentOptions) error {
	switch where {
	case "current":
	case "":
		if err := cluster.Enter(); err != nil {
			return err
		}
	default:
		return fmt.Errorf("CLUSTER=%s: it may be current, which is the cluster of the current context of your kubeconfig", where)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if where == "current" {
		return runInCurrent(ctx, os.Stdin, os.Stdout, o)
	}
	return runEmbedded(ctx, os.Stdout, o.keep)
}
