package cluster

import (
	"context"
	"fmt"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Waits between restarts of a container that ends, as a kubelet has them but
// shorter, and the run time after which they begin anew.
const (
	firstBackoff = time.Second
	lastBackoff  = 10 * time.Second
	steadyRun    = time.Minute
)

// container runs one container of a pod: as a process, or as nothing.
type container struct {
	spec    *corev1.Container
	uid     types.UID
	ip      string
	argv    []string
	env     []string
	log     string
	changed func()
	done    chan struct{} // closed once it has ended for good

	ctx    context.Context // ends when the container is to stop
	cancel context.CancelFunc

	mu       sync.Mutex // guards what follows
	state    corev1.ContainerState
	last     corev1.ContainerState
	ready    bool
	restarts int32
	stopping bool
	killAt   time.Time     // the end of the grace period
	rushed   chan struct{} // closed and made anew when killAt moves forward
}

func startContainer(ctx context.Context, object *corev1.Pod, spec *corev1.Container, ip string, options runtimeOptions) *container {
	c := &container{
		spec: spec, uid: object.UID, ip: ip, changed: options.changed,
		done: make(chan struct{}), rushed: make(chan struct{}),
		log: logPath(options.logs, object.Namespace, object.Name, spec.Name),
	}
	base := context.WithoutCancel(ctx)
	c.ctx, c.cancel = context.WithCancel(base)
	argv, added := options.program(object, spec)
	if argv == nil {
		c.state.Running = &corev1.ContainerStateRunning{StartedAt: metav1.Now()}
		c.ready = true
		return c
	}
	c.state.Waiting = &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
	c.argv = argv
	c.env = append(environment(object, spec, ip), added...)
	go c.run(base)
	return c
}

// run keeps the container's process alive until the container is stopped.
func (c *container) run(base context.Context) {
	defer c.changed()
	defer close(c.done)
	backoff := firstBackoff
	for c.ctx.Err() == nil {
		began := time.Now()
		c.runOnce(base)
		if time.Since(began) > steadyRun {
			backoff = firstBackoff
		}
		timer := time.NewTimer(backoff)
		select {
		case <-c.ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		backoff = min(2*backoff, lastBackoff)
	}
}

// runOnce starts the process and returns after its end.
func (c *container) runOnce(base context.Context) {
	p, err := startProcess(c.spec.Name, c.log, c.env, c.argv...)
	if err != nil {
		c.set(func() {
			c.ready = false
			c.state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "RunContainerError", Message: err.Error()}}
		})
		return
	}
	started := metav1.Now()
	c.set(func() {
		if c.last.Terminated != nil {
			c.restarts++
		}
		c.state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}}
	})
	// The readiness probe goes on during termination, as a kubelet's does.
	probing, stopProbing := context.WithCancel(base)
	var probes sync.WaitGroup
	probes.Go(func() {
		watchReadiness(probing, c.ctx, c.spec, c.ip, func(ready bool) { c.set(func() { c.ready = ready }) })
	})
	select {
	case <-p.done:
	case <-c.ctx.Done():
		c.terminate(p)
	}
	stopProbing()
	probes.Wait()
	c.ended(p, started)
}

// terminate lets the pre-stop hook and then the process itself end in what is
// left of the grace period.
func (c *container) terminate(p *process) {
	if delay := preStopDelay(c.spec); delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		if !c.waitForEnd(p, timer.C) {
			p.signal(syscall.SIGTERM)
		}
	} else {
		p.signal(syscall.SIGTERM)
	}
	c.waitForEnd(p, nil)
	p.stop(0)
}

// waitForEnd waits for the end of p, of the grace period, or for until. It
// tells whether one of the first two has come.
func (c *container) waitForEnd(p *process, until <-chan time.Time) bool {
	for {
		c.mu.Lock()
		rushed := c.rushed
		timer := time.NewTimer(time.Until(c.killAt))
		c.mu.Unlock()
		select {
		case <-p.done:
			timer.Stop()
			return true
		case <-timer.C:
			return true
		case <-until:
			timer.Stop()
			return false
		case <-rushed:
			timer.Stop()
		}
	}
}

// ended records how p ended.
func (c *container) ended(p *process, started metav1.Time) {
	end := &corev1.ContainerStateTerminated{
		ExitCode: p.exitCode(), Reason: "Error", StartedAt: started, FinishedAt: metav1.Now(),
	}
	if end.ExitCode == 0 {
		end.Reason = "Completed"
	}
	c.set(func() {
		end.ContainerID = containerID(c.uid, c.spec.Name, c.restarts)
		c.ready = false
		if c.stopping {
			c.state = corev1.ContainerState{Terminated: end}
			return
		}
		c.last = corev1.ContainerState{Terminated: end}
		c.state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
			Reason:  "CrashLoopBackOff",
			Message: fmt.Sprintf("the process ended with code %d; the end of its log:\n%s", end.ExitCode, tail(c.log, 400)),
		}}
	})
}

func (c *container) set(change func()) {
	c.mu.Lock()
	change()
	c.mu.Unlock()
	c.changed()
}

func (c *container) requestStop(grace time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	killAt := time.Now().Add(grace)
	first := !c.stopping
	if first || killAt.Before(c.killAt) {
		c.killAt = killAt
		close(c.rushed)
		c.rushed = make(chan struct{})
	}
	c.stopping = true
	if first && c.argv == nil {
		close(c.done) // there is no process to wait for
	}
	c.cancel()
}

func (c *container) status() corev1.ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	running := c.state.Running != nil
	return corev1.ContainerStatus{
		Name: c.spec.Name, Image: c.spec.Image, ImageID: imageID(c.spec.Image),
		ContainerID: containerID(c.uid, c.spec.Name, c.restarts), RestartCount: c.restarts,
		Ready: c.ready && running, Started: &running,
		State: *c.state.DeepCopy(), LastTerminationState: *c.last.DeepCopy(),
	}
}

// arguments are what podinfo would be started with: the command without its
// program, then the args.
func arguments(spec *corev1.Container) []string {
	var argv []string
	if len(spec.Command) > 1 && path.Base(spec.Command[0]) == "podinfo" {
		argv = append(argv, spec.Command[1:]...)
	}
	return append(argv, spec.Args...)
}

// environment is the container's env with what the server needs to know of its
// pod. Values from ConfigMaps and Secrets are in there already.
func environment(object *corev1.Pod, spec *corev1.Container, ip string) []string {
	_, tag := splitImage(spec.Image)
	env := []string{"HOSTNAME=" + object.Name, "SLUICE_POD_IP=" + ip, "SLUICE_POD_VERSION=" + tag}
	fields := map[string]string{
		"metadata.name": object.Name, "metadata.namespace": object.Namespace, "metadata.uid": string(object.UID),
		"spec.nodeName": nodeOf(object), "status.podIP": ip, "status.hostIP": hostIP,
	}
	for _, e := range spec.Env {
		switch {
		case e.ValueFrom == nil:
			env = append(env, e.Name+"="+e.Value)
		case e.ValueFrom.FieldRef != nil:
			env = append(env, e.Name+"="+fields[e.ValueFrom.FieldRef.FieldPath])
		}
	}
	return env
}

// preStopDelay understands the one useful pre-stop hook of a server without a
// shell: sleep, as an action of its own or as a command.
func preStopDelay(spec *corev1.Container) time.Duration {
	if spec.Lifecycle == nil || spec.Lifecycle.PreStop == nil {
		return 0
	}
	hook := spec.Lifecycle.PreStop
	switch {
	case hook.Sleep != nil:
		return time.Duration(hook.Sleep.Seconds) * time.Second
	case hook.Exec != nil:
		words := strings.Fields(strings.Join(hook.Exec.Command, " "))
		for i, word := range words[:max(len(words)-1, 0)] {
			if path.Base(word) == "sleep" {
				if delay, err := time.ParseDuration(words[i+1] + "s"); err == nil {
					return delay
				}
			}
		}
	}
	return 0
}
