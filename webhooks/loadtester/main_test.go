package loadtester

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
)

// limit is how long anything may take; it is generous, as the machine may be busy.
const limit = time.Minute

// TestMain makes this binary the program that commands run, where it is called by that name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "helper" {
		os.Exit(helper(os.Args[1], os.Args[2:]))
	}
	os.Exit(m.Run())
}

// helper does one of the things that commands do.
func helper(what string, args []string) int {
	switch what {
	case "say":
		fmt.Println(strings.Join(args, "|"))
	case "fail":
		fmt.Fprintln(os.Stderr, strings.Join(args, " "))
		return 3
	case "flood":
		n, _ := strconv.Atoi(args[0])
		fmt.Print(strings.Repeat("x", n), "\x1b[31mred\x1b[0m\x00 end\n")
	case "hang":
		touch(args[0])
		hang()
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		touch(args[0])
		hang()
	case "family": // a child of its own that does not end by itself, and that holds the output open
		child := &exec.Cmd{Path: self(), Args: []string{"helper", "stubborn", args[0]}, Stdout: os.Stdout}
		if err := child.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if len(args) > 1 { // the parent goes, once its child is there
			for {
				if _, err := os.Stat(args[0]); err == nil {
					return 0
				}
			}
		}
		hang()
	}
	return 0
}

func touch(path string) {
	if err := os.WriteFile(path+".new", []byte(strconv.Itoa(os.Getpid())), 0o600); err == nil {
		_ = os.Rename(path+".new", path)
	}
}

func hang() {
	<-time.After(10 * limit) // it is ended from outside
}

func self() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

// await waits until a condition no longer fails.
func await(t *testing.T, what string, condition func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// awaitPID waits until a helper has said its process number in a file.
func awaitPID(t *testing.T, path string) int {
	t.Helper()
	var pid int
	await(t, "the process's number", func() error {
		text, err := os.ReadFile(path)
		if err == nil {
			pid, err = strconv.Atoi(string(text))
		}
		return err
	})
	return pid
}

// awaitEnd waits until a process has ended. One that nobody has waited for, as its parent is gone, counts.
func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	await(t, "the end of the process", func() error {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if _, after, ok := strings.Cut(string(status), ") "); ok && strings.HasPrefix(after, "Z") {
			return nil
		}
		return fmt.Errorf("it is there: %.60s %w", status, err)
	})
}

// newRunner gives a Runner that knows the program helper, and ends with the test.
func newRunner(t *testing.T, edits ...func(*RunnerOptions)) *Runner {
	t.Helper()
	registry := prometheus.NewRegistry()
	o := RunnerOptions{
		Find: func(program string) (string, error) {
			if program == "helper" {
				return self(), nil
			}
			return exec.LookPath(program)
		},
		Timeout: limit, Grace: limit, MaxConcurrent: 4, Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
		Telemetry: NewTelemetry(registry, "test", &Gates{}),
	}
	for _, edit := range edits {
		edit(&o)
	}
	r := NewRunner(t.Context(), o)
	t.Cleanup(r.Stop)
	return r
}
