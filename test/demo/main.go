// Command demo shows a good and a bad release in an embedded cluster with a
// real mesh and real requests. It exits non-zero if anything did not go as it
// should. With KEEP=1 in the environment the cluster stays up at the end.
package main

import (
	"context"
	"errors"
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
	if err := cluster.Enter(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, os.Stdout, os.Getenv("KEEP") == "1"); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "\ndemo: FAILED:", err)
		os.Exit(1)
	}
}
