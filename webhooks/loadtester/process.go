//go:build unix

package loadtester

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"syscall"
	"time"
)

// runProcess runs a program until it ends or ctx does, and takes all processes of its group with it. The program is
// asked to end first (SIGTERM) and killed after the grace period; what outlives it in its group is killed.
func runProcess(ctx context.Context, path string, argv, env []string, output io.Writer, grace time.Duration) error {
	cmd := exec.CommandContext(ctx, path)
	cmd.Args, cmd.Env = argv, env
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	if err := cmd.Start(); err != nil {
		return err
	}
	err := cmd.Wait()
	// The group is empty by now, or its number still belongs to those that are left in it.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if errors.Is(err, exec.ErrWaitDelay) { // it ended well, and only what it left behind held its output open
		return nil
	}
	return err
}
