// Command sluice-loadtester answers hooks of Canaries: it starts load tests, runs acceptance tests and keeps gates.
// Under the name of a load generator that it brings along (hey, ghz) it is that.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/webhooks/loadtester"
	"github.com/sluice-delivery/sluice/webhooks/loadtester/builtin"
)

// version is set by the linker.
var version = "dev"

const (
	// headerTimeout and bodyTimeout bound how long a caller may take to say what it wants.
	headerTimeout = 10 * time.Second
	bodyTimeout   = 30 * time.Second
	// stopTimeout is how long answers may take that are under way when the load tester ends.
	stopTimeout = 15 * time.Second
	// commandGrace is how long commands have to end by themselves after they were asked to.
	commandGrace = 5 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if program, ok := builtin.Lookup(filepath.Base(os.Args[0])); ok {
		os.Exit(builtin.Main(ctx, program))
	}
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "sluice-loadtester:", err)
		os.Exit(1)
	}
}

// run is the program from its command line to the end of ctx.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && (args[0] == string(loadtester.ConfirmGate) || args[0] == string(loadtester.RollbackGate)) {
		return gate(ctx, args, stdout, stderr)
	}
	o, err := parseFlags(args, stderr)
	if err != nil {
		return err
	}
	if o.version {
		fmt.Fprintln(stdout, "Sluice load tester version", version)
		return nil
	}
	return serve(ctx, o, stderr)
}

// serve answers hooks until ctx ends.
func serve(ctx context.Context, o options, stderr io.Writer) error {
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: o.logLevel}))
	programs, err := newPrograms(o.rules.Shell)
	if err != nil {
		return err
	}
	defer programs.remove()

	registry := prometheus.NewRegistry()
	gates := &loadtester.Gates{}
	telemetry := loadtester.NewTelemetry(registry, version, gates)
	runner := loadtester.NewRunner(ctx, loadtester.RunnerOptions{
		Find: programs.find, Env: append(o.environment(), programs.env()...),
		Timeout: o.timeout, Grace: commandGrace, MaxConcurrent: o.maxConcurrent, Clock: clock.RealClock{}, Log: log, Telemetry: telemetry,
	})
	defer runner.Stop()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":"+strconv.Itoa(o.port))
	if err != nil {
		return err
	}
	local, forget := localKey(log, listener.Addr())
	defer forget()
	handler := &loadtester.Server{
		Rules: o.rules, Runner: runner, Gates: gates, Namespaces: o.namespaces, Keys: o.keys(local),
		Clock: clock.RealClock{}, Log: log, Telemetry: telemetry,
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.Handle("/", handler.Handler())

	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	log.Info("Listening", "version", version, "address", listener.Addr().String(), "shell", o.rules.Shell, "signed", o.keyFile != "" || o.keyDir != "")
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	log.Info("Stopping")
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return server.Shutdown(stopping)
}

// programs finds the programs of commands. Those that are built in are this program under their names.
type programs struct {
	self string
	dir  string // has links for a shell to find them; empty without one
}

// builtins are the names of what is built in.
var builtins = []string{"hey", "ghz"}

func newPrograms(shell bool) (programs, error) {
	self, err := os.Executable()
	if err != nil || !shell {
		return programs{self: self}, err
	}
	dir, err := os.MkdirTemp("", "sluice-loadtester-")
	if err != nil {
		return programs{}, fmt.Errorf("a shell needs a folder for temporary files to find what is built in: %w", err)
	}
	p := programs{self, dir}
	for _, name := range builtins {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			p.remove()
			return programs{}, err
		}
	}
	return p, nil
}

func (p programs) find(name string) (string, error) {
	if _, ok := builtin.Lookup(name); ok {
		return p.self, nil
	}
	return exec.LookPath(name)
}

// env has a shell find what is built in, unless there are others of their names.
func (p programs) env() []string {
	if p.dir == "" {
		return nil
	}
	return []string{"PATH=" + os.Getenv("PATH") + string(os.PathListSeparator) + p.dir}
}

func (p programs) remove() {
	if p.dir != "" {
		_ = os.RemoveAll(p.dir)
	}
}
