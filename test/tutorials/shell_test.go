package tutorials

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// commandLimit is how long a command may take, and what it shows to be as the page says.
const commandLimit = 2 * time.Minute

// shell is one that a reader types into.
type shell struct {
	folder string
	in     io.Writer
	lines  chan string
}

// programs are what the reader has installed. Two of them are stood in for, each where the page says that a person does
// something, or a node here can't: kubectl sluice ends by itself where it would follow a release until Ctrl-C, and helm leaves
// out the Jobs of the chart, as nothing here runs Jobs.
var programs = map[string]string{
	"kubectl-sluice": `#!/bin/sh
case " $* " in *" -w "*) timeout -s INT 3 REAL "$@"; exit 0 ;; esac
exec REAL "$@"
`,
	"helm": `#!/bin/sh
exec REAL "$@" --no-hooks
`,
	"kubectl": `#!/bin/sh
exec REAL "$@"
`,
}

// open starts a shell in a folder with what a clone of the repository has there.
func open(t *testing.T, c *cluster.Cluster) *shell {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	bin := filepath.Join(folder, ".bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, script := range programs {
		binary, err := cluster.Binary(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bin, name), []byte(strings.ReplaceAll(script, "REAL", binary)), 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(root, "charts"), filepath.Join(folder, "charts")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "--noprofile", "--norc")
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "KUBECONFIG="+c.Kubeconfig(), "HOME="+folder)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	// What it runs ends with it: where a page fails in the middle of a command, that may have minutes to go.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &shell{folder: folder, in: in, lines: make(chan string)}
	go func() {
		defer close(s.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			s.lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		_ = in.Close()
		for range s.lines { // until it has ended
		}
		_ = cmd.Wait()
	})
	return s
}

// endOfCommand is what the shell writes behind each command, before its status.
const endOfCommand = "\x01end of command "

// run types a command, and returns what it wrote and its exit status.
func (s *shell) run(ctx context.Context, command string) (wrote string, status int, err error) {
	// The next command sees the status of this one, and none of them reads what is typed behind it.
	if _, err := fmt.Fprintf(s.in, "{ (exit ${status:-0}); %s\n} </dev/null; status=$?; printf '\\n%s%%d\\n' $status\n", command, endOfCommand); err != nil {
		return "", 0, err
	}
	limit := time.NewTimer(commandLimit)
	defer limit.Stop()
	var out []string
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				return strings.Join(out, "\n"), 0, fmt.Errorf("the shell has ended")
			}
			if code, ended := strings.CutPrefix(line, endOfCommand); ended {
				status, err := strconv.Atoi(code)
				return strings.Join(out, "\n"), status, err
			}
			out = append(out, line)
		case <-limit.C:
			return strings.Join(out, "\n"), 0, fmt.Errorf("it has not ended within %s", commandLimit)
		case <-ctx.Done():
			return "", 0, ctx.Err()
		}
	}
}

// do has the shell do a step, and fails where that does not end as the page shows. What is only read is read again until it
// does.
func (s *shell) do(t *testing.T, x step) {
	t.Helper()
	switch {
	case x.save != "":
		s.save(t, x.save, x.text)
		return
	case x.apply:
		s.save(t, "canary.yaml", inTime(x.text))
		x.command = "kubectl apply -f canary.yaml"
	case x.command == "":
		return
	}
	began := time.Now()
	var last string
	err := rig.Await(t.Context(), x.command, commandLimit, func(ctx context.Context) error {
		wrote, status, err := s.run(ctx, x.command)
		last = wrote
		switch {
		case err != nil:
			t.Fatalf("$ %s\n%s\n%v", x.command, wrote, err)
		case status != x.status:
			t.Fatalf("$ %s\n%s\nexit status %d, and not %d", x.command, wrote, status, x.status)
		case x.shown == nil:
			return nil
		}
		err = differs(x.shown, wrote)
		if err != nil && !strings.Contains(x.command, " get ") {
			t.Errorf("$ %s\n%s\n%v", x.command, wrote, err)
			return nil
		}
		return err
	})
	if err != nil {
		t.Errorf("%v; it wrote\n%s", err, last)
	}
	t.Logf("%4.1fs $ %s", time.Since(began).Seconds(), x.command)
	if slices.Contains(x.shown, "...") { // what the page leaves out is what one wants to know where a later command fails
		t.Log(last)
	}
}

func (s *shell) save(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.folder, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// inTime is a Canary whose steps do not last as long as those of a page: for a test that is all that is changed. What metrics are
// asked for is, as on the page, the time of two rounds, or what was in one moment would fail three rounds, which is a rollback.
func inTime(canary string) string {
	for from, to := range map[string]string{
		"    interval: 30s\n": "    interval: 2s\n", "        interval: 1m\n": "        interval: 4s\n", "  analysis:\n": "  drainDelaySeconds: 2\n  analysis:\n",
	} {
		canary = strings.ReplaceAll(canary, "\n"+from, "\n"+to)
	}
	return canary
}
