package loadtester

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

var podinfo = Canary{Namespace: "test", Name: "podinfo"}

func command(argv ...string) Command { return Command{Type: "cmd", Argv: argv} }

func TestRunGivesOutput(t *testing.T) {
	r := newRunner(t)
	out, err := r.Run(t.Context(), podinfo, command("helper", "say", "a b", "$HOME", "*"))
	if err != nil || out != "a b|$HOME|*" {
		t.Errorf("got %q and error %v", out, err)
	}
	_, err = r.Run(t.Context(), podinfo, command("helper", "fail", "it", "broke"))
	var ended *FailedError
	if !errors.As(err, &ended) || ended.TimedOut || err.Error() != "exit status 3: it broke" {
		t.Errorf("got error %v", err)
	}
	for outcome, want := range map[outcome]float64{succeeded: 1, failed: 1} {
		if got := testutil.ToFloat64(r.Telemetry.commands.WithLabelValues("cmd", string(outcome))); got != want {
			t.Errorf("%v commands are counted as %s, want %v", got, outcome, want)
		}
	}
}

func TestRunBoundsOutput(t *testing.T) {
	r := newRunner(t)
	out, err := r.Run(t.Context(), podinfo, command("helper", "flood", "1000000"))
	if err != nil || len(out) > maxOutput+100 || !strings.HasSuffix(out, "x[31mred[0m end") {
		t.Errorf("got %d bytes that end with %q, error %v", len(out), out[max(0, len(out)-30):], err)
	}
}

func TestRunWithoutProgram(t *testing.T) {
	r := newRunner(t)
	var missing *MissingProgramError
	if _, err := r.Run(t.Context(), podinfo, command("no-such-program")); !errors.As(err, &missing) {
		t.Errorf("got error %v", err)
	}
	if _, err := r.Start(podinfo, command("no-such-program")); !errors.As(err, &missing) {
		t.Errorf("got error %v", err)
	}
}

// A command takes with it what it has started, however it ends.
func TestRunLeavesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		args     []string
		cancel   bool
		wantTime bool
	}{
		"it ends by itself":          {args: []string{"and goes"}},
		"it takes too long":          {wantTime: true},
		"nobody waits for it longer": {cancel: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRunner(t, func(o *RunnerOptions) { o.Grace = 100 * time.Millisecond })
			file := filepath.Join(t.TempDir(), "child")
			c := command(append([]string{"helper", "family", file}, tc.args...)...)
			if tc.wantTime {
				c.Timeout = 5 * time.Second
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				_, err := r.Run(ctx, podinfo, c)
				ended <- err
			}()
			child := awaitPID(t, file)
			if tc.cancel {
				cancel()
			}
			err := <-ended
			var failed *FailedError
			switch {
			case tc.wantTime:
				if !errors.As(err, &failed) || !failed.TimedOut || !strings.Contains(err.Error(), "within 5s") {
					t.Errorf("got error %v", err)
				}
			case tc.cancel:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got error %v", err)
				}
			case err != nil:
				t.Error(err)
			}
			awaitEnd(t, child)
		})
	}
}

func TestRunTimeoutIsBounded(t *testing.T) {
	r := newRunner(t, func(o *RunnerOptions) { o.Timeout = 100 * time.Millisecond })
	c := command("helper", "hang", filepath.Join(t.TempDir(), "x"))
	c.Timeout = limit
	if _, err := r.Run(t.Context(), podinfo, c); err == nil || !strings.Contains(err.Error(), "within 100ms") {
		t.Errorf("got error %v", err)
	}
}

func TestStartOnce(t *testing.T) {
	r := newRunner(t, func(o *RunnerOptions) { o.MaxConcurrent = 3 })
	dir := t.TempDir()
	hang := command("helper", "hang", filepath.Join(dir, "a"))
	start := func(canary Canary, c Command) bool {
		t.Helper()
		started, err := r.Start(canary, c)
		if err != nil {
			t.Fatal(err)
		}
		return started
	}
	if !start(podinfo, hang) {
		t.Error("it was not started")
	}
	if start(podinfo, hang) {
		t.Error("it was started twice")
	}
	if !start(Canary{Namespace: "other", Name: "podinfo"}, hang) {
		t.Error("it was not started for another Canary")
	}
	if !start(podinfo, command("helper", "hang", filepath.Join(dir, "b"))) {
		t.Error("another command was not started")
	}
	if _, err := r.Start(podinfo, command("helper", "say", "x")); !errors.Is(err, ErrBusy) {
		t.Errorf("one too many was not refused: %v", err)
	}
	if start(podinfo, hang) {
		t.Error("it was started twice when busy")
	}
	if got := testutil.ToFloat64(r.Telemetry.running.WithLabelValues("cmd")); got > 3 {
		t.Errorf("%v commands are running", got)
	}
}

func TestStartAgain(t *testing.T) {
	r := newRunner(t)
	count := r.Telemetry.commands.WithLabelValues("cmd", string(succeeded))
	for n := 1; n <= 2; n++ {
		await(t, "the start", func() error {
			started, err := r.Start(podinfo, command("helper", "say", "x"))
			if err == nil && !started {
				err = errors.New("it is running")
			}
			return err
		})
		await(t, "the end", func() error {
			if got := testutil.ToFloat64(count); got != float64(n) {
				return errors.New("it is running")
			}
			return nil
		})
	}
}

func TestRunWaitsForItsTurn(t *testing.T) {
	r := newRunner(t, func(o *RunnerOptions) { o.MaxConcurrent = 1 })
	file := filepath.Join(t.TempDir(), "a")
	hang := command("helper", "hang", file)
	hang.Timeout = 10 * time.Second
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		defer close(ended)
		_, _ = r.Run(ctx, podinfo, hang)
	}()
	awaitPID(t, file)

	impatient, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if _, err := r.Run(impatient, podinfo, command("helper", "say", "x")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v while another one runs", err)
	}
	cancel()
	if out, err := r.Run(t.Context(), podinfo, command("helper", "say", "x")); err != nil || out != "x" {
		t.Errorf("got %q and error %v when it was its turn", out, err)
	}
	<-ended
}

func TestStop(t *testing.T) {
	r := newRunner(t)
	dir := t.TempDir()
	background, waiting := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if _, err := r.Start(podinfo, command("helper", "hang", background)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := r.Run(t.Context(), podinfo, command("helper", "hang", waiting))
		ended <- err
	}()
	pids := []int{awaitPID(t, background), awaitPID(t, waiting)}
	r.Stop()
	if err := <-ended; !errors.Is(err, ErrStopping) {
		t.Errorf("got error %v", err)
	}
	for _, pid := range pids {
		awaitEnd(t, pid)
	}
	if _, err := r.Start(podinfo, command("helper", "say", "x")); !errors.Is(err, ErrStopping) {
		t.Errorf("got error %v after the end", err)
	}
	if _, err := r.Run(t.Context(), podinfo, command("helper", "say", "x")); !errors.Is(err, ErrStopping) {
		t.Errorf("got error %v after the end", err)
	}
}
