package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// process is a child in a process group of its own, with its output in a file.
type process struct {
	name string
	log  string
	pid  int
	done chan struct{} // closed once the child has been reaped
	err  error         // how it ended; read after done

	asked atomic.Bool // whether its end was asked for
}

// spawn forks every child from one thread that lives as long as the program:
// the parent-death signal fires when the forking thread ends, and the runtime
// ends threads of its own accord.
var spawn = sync.OnceValue(func() func(*exec.Cmd) error {
	type request struct {
		cmd  *exec.Cmd
		done chan error
	}
	requests := make(chan request)
	go func() {
		runtime.LockOSThread()
		for r := range requests {
			r.done <- r.cmd.Start()
		}
	}()
	return func(cmd *exec.Cmd) error {
		r := request{cmd, make(chan error, 1)}
		requests <- r
		return <-r.done
	}
})

// startProcess starts argv with exactly env, appending its output to log.
func startProcess(name, log string, env []string, argv ...string) (*process, error) {
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		return nil, err
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = env
	cmd.Dir = filepath.Dir(log)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := spawn()(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, log: log, pid: cmd.Process.Pid, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// unhurriedGC adds to the environment of a server that Go's collector waits longer than by default. A tenth and more of the
// processor's time that tests take is that of collectors of servers, whose heaps are small beside the memory of any machine
// that builds them. The limit keeps what grows all the same within bounds. Who sets GOGC knows better.
func unhurriedGC(env ...string) []string {
	if os.Getenv("GOGC") != "" {
		return env
	}
	return append(env, "GOGC=300", "GOMEMLIMIT=1536MiB")
}

// exited returns nil while p runs, and then an error with the end of its log.
func (p *process) exited() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended early (%s); the end of %s:\n%s", p.name, p.describeEnd(), p.log, tail(p.log, 2000))
	default:
		return nil
	}
}

func (p *process) describeEnd() string {
	if p.err == nil {
		return "exit code 0"
	}
	return p.err.Error()
}

// exitCode is the container-style exit code of an ended process.
func (p *process) exitCode() int32 {
	code, err := exitCode(p.err)
	if err != nil {
		return 255
	}
	return int32(code)
}

func (p *process) signal(s syscall.Signal) {
	_ = syscall.Kill(-p.pid, s) // it may have ended already
}

// stop asks p to end, and ends its whole group after grace.
func (p *process) stop(grace time.Duration) {
	p.asked.Store(true)
	if grace > 0 {
		p.signal(syscall.SIGTERM)
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-p.done:
		case <-timer.C:
		}
	}
	p.signal(syscall.SIGKILL)
	<-p.done
}

func tail(path string, limit int) []byte {
	content, err := os.ReadFile(path)
	if err != nil {
		return []byte(err.Error())
	}
	if len(content) > limit {
		content = content[len(content)-limit:]
		if i := bytes.IndexByte(content, '\n'); i >= 0 {
			content = content[i+1:]
		}
	}
	return content
}

// waitFor polls until cond returns nil. It gives up when ctx ends, after limit,
// or as soon as one of the servers it depends on has ended.
func waitFor(ctx context.Context, what string, limit time.Duration, servers []*process, cond func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	var last error
	for {
		err := cond(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		for _, s := range servers {
			if err := s.exited(); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not ready: %w", what, errors.Join(last, ctx.Err()))
		case <-ticker.C:
		}
	}
}

// parallel runs the functions at the same time and joins their errors.
func parallel(functions ...func() error) error {
	errs := make([]error, len(functions))
	var wg sync.WaitGroup
	for i, f := range functions {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	return errors.Join(errs...)
}
