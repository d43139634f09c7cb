// Command argocd-sync keeps a namespace as a folder of manifests says, by Argo CD's own engine: its cache, its difference, its
// synchronisation and its health checks. It is an application with automated sync, prune and self-heal. Of Argo CD's controller it
// leaves out what stands around the engine (repositories, projects, waiting before a self-heal): it heals at once.
//
// It prints a line of JSON for each thing that it did or saw: a synchronisation with what was not in sync, a change of health.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("argocd-sync", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "", "the cluster")
	namespace := flags.String("namespace", "default", "the namespace that is kept")
	name := flags.String("app", "app", "the application's name, by which what it made is known")
	folder := flags.String("folder", ".", "the folder of the manifests")
	onlyHealth := flags.Bool("health", false, "only say of the objects on standard input how Argo CD says that they are")
	var ignored ignored
	flags.Func("ignore", "KIND/NAME:field.field: what is neither compared nor written (ignoreDifferences with RespectIgnoreDifferences)", ignored.add)
	if err := flags.Parse(args); err != nil {
		return err
	}
	healths, err := newHealths()
	if err != nil {
		return err
	}
	if *onlyHealth {
		return healths.print(os.Stdin, os.Stdout)
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	out := json.NewEncoder(os.Stdout)
	a := &application{
		namespace: *namespace, name: *name, folder: *folder, ignored: ignored, healths: healths, log: logr.Discard(),
		tell: func(l line) error { return out.Encode(l) },
	}
	return a.keep(ctx, config)
}

// line is one of the program's output.
type line struct {
	// Synced are the objects that were not as the folder has them, before they were made so: "Kind/name", and "Kind/name deleted"
	// for those that the folder has no longer.
	Synced []string `json:"synced,omitempty"`
	// Failed is why a synchronisation failed.
	Failed string `json:"failed,omitempty"`
	// Health has the objects whose health changed: "Kind/name" to Healthy, Progressing, Degraded and so on.
	Health map[string]string `json:"health,omitempty"`
}

// ignored are fields by object, "Kind/name".
type ignored map[string][][]string

func (i *ignored) add(s string) error {
	object, field, ok := strings.Cut(s, ":")
	if !ok || strings.Count(object, "/") != 1 {
		return fmt.Errorf("%q is not KIND/NAME:field.field", s)
	}
	if *i == nil {
		*i = ignored{}
	}
	(*i)[object] = append((*i)[object], strings.Split(field, "."))
	return nil
}
