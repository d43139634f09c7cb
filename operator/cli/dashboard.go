package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/dashboard"
	"github.com/sluice-delivery/sluice/operator/dashboard/access"
	"github.com/sluice-delivery/sluice/operator/dashboard/fleet"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
)

type dashboardOptions struct {
	port   int
	browse bool
	links  alerts.LinkTemplates
}

func newDashboard(a *app) *cobra.Command {
	o := dashboardOptions{}
	c := &cobra.Command{
		Use:   "dashboard",
		Short: "Open the dashboard in a browser, with your own rights",
		Long: `Serve the dashboard on this machine and open it in a browser: all releases that you may see, live, and a page for each, with
buttons for what you may do. Nothing needs to be served in the cluster, and nothing leaves your machine but your own requests.

It listens on the loopback interface alone, below a path that nobody can guess, so that other users of the machine can't use
your rights. It ends with the command.`,
		Example: `  kubectl sluice dashboard
  kubectl sluice dashboard -n shop --port=8090 --browser=false`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDashboard(cmd.Context(), a, o) },
	}
	c.Flags().IntVar(&o.port, "port", 0, "port on the loopback interface; one that is free where it is 0")
	c.Flags().BoolVar(&o.browse, "browser", true, "open it in a browser")
	c.Flags().Var(&linkFlag{&o.links}, "link", "NAME=TEMPLATE of a link at each release, such as logs=https://logs.example.com/?ns={{ .Namespace }}; may be given often")
	return c
}

// linkFlag has links be a flag of this command line.
type linkFlag struct{ *alerts.LinkTemplates }

// Type is part of the flag's value.
func (linkFlag) Type() string { return "NAME=TEMPLATE" }

func runDashboard(ctx context.Context, a *app, o dashboardOptions) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	options, err := choose(c, "")
	if err != nil {
		return err
	}
	person, err := access.NewPerson(ctx, c, a.Clock)
	if err != nil {
		return fmt.Errorf("the API server does not know you: %w", err)
	}
	all := fleet.New(a.Clock)
	handler, err := dashboard.New(dashboard.Config{
		Fleet: all, Who: func(*http.Request) (*access.Person, error) { return person, nil }, Links: o.links, Cluster: a.contextName(),
		Version: a.Version, Mode: "kubectl sluice dashboard: with your own rights, on this machine alone", Clock: a.Clock,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	listed, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- a.feed(ctx, c, options, all, listed) }()
	select {
	case <-listed:
	case err := <-ended:
		return a.listError(c, unlessEnded(ctx, err))
	}
	return a.serve(ctx, handler, o, ended)
}

// contextName is that of the cluster that is looked at, empty where nobody has named it.
func (a *app) contextName() string {
	if named := *a.flags.Context; named != "" {
		return named
	}
	raw, err := a.flags.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return ""
	}
	return raw.CurrentContext
}

// feed has a fleet follow the Canaries, and closes listed when it has all.
func (a *app) feed(ctx context.Context, c *connection, options []client.ListOption, all *fleet.Fleet, listed chan<- struct{}) error {
	begun := false
	f := follower[*v1beta1.Canary]{
		client: c, clock: a.Clock, options: options, list: func() client.ObjectList { return &v1beta1.CanaryList{} }, trouble: a.silent,
		each: func(canary *v1beta1.Canary, deleted bool) (bool, error) {
			if deleted {
				all.Gone(canary.Namespace, canary.Name)
			} else {
				all.Changed(canary)
			}
			return false, nil
		},
		listed: func(names map[types.NamespacedName]bool) (bool, error) {
			all.Only(names)
			if !begun {
				begun = true
				close(listed)
			}
			return false, nil
		},
	}
	return f.run(ctx)
}

// serve serves until ctx ends or the Canaries can't be followed any more.
func (a *app) serve(ctx context.Context, handler http.Handler, o dashboardOptions, ended <-chan error) error {
	local, path := dashboard.Local(handler)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(o.port)))
	if err != nil {
		return fmt.Errorf("--port: %w", err)
	}
	address := "http://" + listener.Addr().String() + path
	server := &http.Server{
		Handler: local, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer server.Close()
	fmt.Fprintf(a.Out, "The dashboard is at\n\n  %s\n\nuntil you press Ctrl-C. Whoever has this address acts with your rights.\n", address)
	if o.browse {
		forget, err := browse(ctx, address)
		if err != nil {
			fmt.Fprintln(a.ErrOut, "No browser could be started:", err)
		}
		defer forget()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-served:
		return fmt.Errorf("dashboard: %w", err)
	case err := <-ended:
		if apierrors.IsUnauthorized(err) {
			return errors.New("the API server does not know you any more: log in again, and begin anew")
		}
		return unlessEnded(ctx, err)
	}
}

// browse opens an address in a browser. All users of a machine can read the command lines of programs, so that the address is
// in a file that only its owner can read, and which leads there. The file goes with forget.
func browse(ctx context.Context, address string) (forget func(), err error) {
	folder, err := os.MkdirTemp("", "sluice-dashboard-")
	if err != nil {
		return func() {}, err
	}
	forget = func() { _ = os.RemoveAll(folder) } // what is left leads nowhere
	file := filepath.Join(folder, "open.html")
	page := `<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=` + address + `"><title>Sluice</title><a href="` + address + `">The dashboard</a>`
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		return forget, err
	}
	program, args := opener(runtime.GOOS, file)
	command := exec.CommandContext(context.WithoutCancel(ctx), program, args...) // what it opens is the user's to close
	if err := command.Start(); err != nil {
		return forget, err
	}
	go func() { _ = command.Wait() }() // how it ends tells nobody anything
	return forget, nil
}

// opener is what opens a file as its system does.
func opener(system, file string) (program string, args []string) {
	switch system {
	case "darwin":
		return "open", []string{file}
	case "windows":
		return "rundll32", []string{"url.dll,FileProtocolHandler", file}
	default:
		return "xdg-open", []string{file}
	}
}
