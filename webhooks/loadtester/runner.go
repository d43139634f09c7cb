package loadtester

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// loggedOutput is how many bytes of a command's output are logged: its end.
const loggedOutput = 4 << 10

var (
	// ErrBusy is the answer when as many commands run as may run.
	ErrBusy = errors.New("as many commands as may run at once are running")
	// ErrStopping is the answer when the load tester ends.
	ErrStopping = errors.New("the load tester is being stopped")
)

// MissingProgramError is a command whose program is not there.
type MissingProgramError struct {
	Program string
	err     error
}

func (e *MissingProgramError) Error() string {
	return fmt.Sprintf("%q may be run, but is not in the load tester's image", e.Program)
}

func (e *MissingProgramError) Unwrap() error { return e.err }

// FailedError is the end of a command that did not succeed.
type FailedError struct {
	// Output of the command, fit to be shown.
	Output string
	// TimedOut tells that it took too long.
	TimedOut bool
	err      error
}

func (e *FailedError) Error() string {
	if e.Output == "" {
		return e.err.Error()
	}
	return e.err.Error() + ": " + e.Output
}

func (e *FailedError) Unwrap() error { return e.err }

// Canary is who a command is run for.
type Canary struct{ Namespace, Name string }

// RunnerOptions are what a Runner needs. None may be left out but Env.
type RunnerOptions struct {
	// Find gives the path of a program.
	Find func(program string) (string, error)
	// Env is all of the commands' environment.
	Env []string
	// Timeout is how long a command may take at most.
	Timeout time.Duration
	// Grace is how long a command has to end by itself after it was asked to.
	Grace time.Duration
	// MaxConcurrent is how many commands may run at once, 1 or more.
	MaxConcurrent int
	Clock         clock.PassiveClock
	Log           *slog.Logger
	Telemetry     *Telemetry
}

// Runner runs commands: each as a process group of its own, with a deadline, and not more at once than it may.
type Runner struct {
	RunnerOptions
	ctx   context.Context // ends with the Runner
	end   context.CancelFunc
	slots chan struct{}

	mu      sync.Mutex
	stopped bool
	started map[startedKey]struct{} // what runs in the background
	running sync.WaitGroup
}

type startedKey struct {
	canary  Canary
	command string
}

// NewRunner returns a Runner whose commands end when ctx does, or Stop is called.
func NewRunner(ctx context.Context, o RunnerOptions) *Runner {
	r := &Runner{RunnerOptions: o, slots: make(chan struct{}, o.MaxConcurrent), started: map[startedKey]struct{}{}}
	r.ctx, r.end = context.WithCancel(ctx)
	return r
}

// Start runs a command in the background, unless the same one is running for that Canary: then it does nothing, and
// false is returned. The error is ErrBusy, ErrStopping or a MissingProgramError.
func (r *Runner) Start(canary Canary, c Command) (bool, error) {
	path, err := r.find(c)
	if err != nil {
		return false, err
	}
	key := startedKey{canary, c.ID()}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return false, ErrStopping
	}
	if _, ok := r.started[key]; ok {
		return false, nil
	}
	select {
	case r.slots <- struct{}{}:
	default:
		return false, ErrBusy
	}
	r.started[key] = struct{}{}
	r.running.Go(func() {
		defer func() {
			<-r.slots
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.started, key)
		}()
		_, _ = r.run(r.ctx, path, canary, c) // its end is logged and counted
	})
	return true, nil
}

// Run runs a command and returns its output. It waits while too many run. The command ends when ctx does. The error is
// a FailedError, a MissingProgramError, ErrStopping, or that of ctx.
func (r *Runner) Run(ctx context.Context, canary Canary, c Command) (string, error) {
	path, err := r.find(c)
	if err != nil {
		return "", err
	}
	if err := r.enter(); err != nil {
		return "", err
	}
	defer r.running.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.ctx, func() { cancel(ErrStopping) })() //nolint:contextcheck // it ends with its caller or the Runner
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	return r.run(ctx, path, canary, c)
}

// enter counts a command in that Stop waits for.
func (r *Runner) enter() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return ErrStopping
	}
	r.running.Add(1)
	return nil
}

// Stop ends all commands and returns when they have ended. None can be started afterwards.
func (r *Runner) Stop() {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.end()
	r.running.Wait()
}

func (r *Runner) find(c Command) (string, error) {
	path, err := r.Find(c.Argv[0])
	if err != nil {
		return "", &MissingProgramError{c.Argv[0], err}
	}
	return path, nil
}

// errTimeout is why a command is ended that takes too long.
var errTimeout = errors.New("it took too long")

// run runs a command that has its slot.
func (r *Runner) run(ctx context.Context, path string, canary Canary, c Command) (string, error) {
	timeout := r.Timeout
	if c.Timeout > 0 {
		timeout = min(timeout, c.Timeout)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errTimeout)
	defer cancel()
	// The arguments are not logged: there may be passwords among them.
	log := r.Log.With("canary", canary.Name, "namespace", canary.Namespace, "type", c.Type, "program", c.Argv[0], "command", c.ID())
	log.Info("Command started", "arguments", len(c.Argv)-1, "timeout", timeout.String())
	ended := r.Telemetry.started(c.Type)
	began := r.Clock.Now()

	out := &output{limit: maxOutput}
	err := runProcess(ctx, path, c.Argv, r.Env, out, r.Grace)
	text := out.String()
	result, err := verdict(ctx, err, timeout, text)

	took := r.Clock.Since(began)
	ended(result, took)
	log = log.With("outcome", result, "seconds", took.Seconds())
	switch {
	case err != nil:
		log.Warn("Command failed", "error", errors.Unwrap(err), "output", cut(text, loggedOutput))
	case c.LogOutput:
		log.Info("Command ended", "output", cut(text, loggedOutput))
	default:
		log.Info("Command ended")
	}
	return text, err
}

// verdict is how a command ended, by the error of its process.
func verdict(ctx context.Context, err error, timeout time.Duration, text string) (outcome, error) {
	cause := context.Cause(ctx)
	switch {
	case err == nil:
		return succeeded, nil
	case errors.Is(cause, errTimeout):
		return timedOut, &FailedError{text, true, fmt.Errorf("it did not end within %s", timeout)}
	case cause != nil:
		return canceled, fmt.Errorf("it was ended: %w", cause)
	default:
		return failed, &FailedError{text, false, err}
	}
}
