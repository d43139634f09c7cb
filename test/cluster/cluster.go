package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
)

// Options says what a cluster has besides its control plane.
type Options struct {
	// Dir holds logs, data and kubeconfigs and is kept. Empty: a temporary
	// folder that Stop removes.
	Dir string
	// Progress gets a line for everything that comes up, and for servers that
	// end when they should not, one write at a time. It may be nil.
	Progress io.Writer
	// Node runs pods. Without it they stay Pending.
	Node bool
	// Istio starts istiod and installs Istio's CRDs.
	Istio bool
	// GatewayAPI is the channel of the Gateway API whose CRDs are installed before istiod
	// starts, GatewayStandard or GatewayExperimental; empty for none.
	GatewayAPI string
	// Prometheus starts a Prometheus that scrapes every client of StartClient.
	Prometheus bool
	// ScrapePods has it scrape the pods of the node that are annotated for it, too.
	ScrapePods bool
	// APIServerArgs are added to the arguments of kube-apiserver.
	APIServerArgs []string
	// ControllerManagerArgs are added to the arguments of kube-controller-manager.
	ControllerManagerArgs []string
}

// Cluster is a running control plane. Its methods may be called from several
// goroutines.
type Cluster struct {
	dir      string
	options  Options
	began    time.Time
	config   *rest.Config
	tokens   map[string]string // by user
	cancel   context.CancelFunc
	node     *node
	stopping atomic.Bool

	progressMu sync.Mutex // one line at a time

	mu        sync.Mutex // guards what follows
	processes []*process
	targets   []string // scraped by Prometheus, host:port
	pods      []targetGroup
	stopped   bool
}

// running is true while a cluster runs: its ports are fixed, so the namespace
// holds one at a time.
var running atomic.Bool

// Start brings a cluster up and returns when it is ready for use. Only one can
// run at a time. When it fails, nothing stays behind. Ending ctx afterwards
// does not end the cluster; Stop does.
func Start(ctx context.Context, options Options) (_ *Cluster, err error) {
	if hostAddress == "" {
		return nil, errors.New("cluster.Start needs a network namespace of its own: call cluster.Enter, or cluster.Main in TestMain, first")
	}
	if !running.CompareAndSwap(false, true) {
		return nil, errors.New("a cluster is running already; stop it first")
	}
	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &Cluster{dir: options.Dir, options: options, began: time.Now(), cancel: cancel}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	if err := c.prepareDir(); err != nil {
		return nil, err
	}
	return c, c.bringUp(ctx, runCtx)
}

func (c *Cluster) bringUp(ctx, runCtx context.Context) error {
	var meshCRDs []string
	var plane controlPlane
	if err := parallel(
		func() (err error) {
			plane, err = c.startAPIServer(ctx)
			return err
		},
		func() (err error) {
			meshCRDs, err = c.meshCRDs(ctx)
			return err
		},
		func() error {
			if c.options.Prometheus {
				return c.startPrometheus(ctx)
			}
			return nil
		},
	); err != nil {
		return err
	}
	return parallel(
		func() error { return c.startControllers(ctx, plane) },
		func() error {
			if !c.options.Node {
				return nil
			}
			err := c.startNode(ctx, runCtx)
			if err == nil && c.options.ScrapePods {
				go c.followPods(runCtx)
			}
			return err
		},
		func() error {
			if err := c.InstallCRDs(ctx, meshCRDs...); err != nil || !c.options.Istio {
				return err
			}
			return c.startIstio(ctx)
		},
	)
}

func (c *Cluster) prepareDir() error {
	if c.dir == "" {
		dir, err := os.MkdirTemp("", "sluice-cluster-")
		c.dir = dir
		return err
	}
	dir, err := filepath.Abs(c.dir)
	if err != nil {
		return err
	}
	c.dir = dir
	// A cluster begins empty, whatever an earlier one has left in its folder.
	for _, old := range []string{"etcd", "prometheus", "logs", "programs"} {
		if err := os.RemoveAll(c.path(old)); err != nil {
			return err
		}
	}
	return os.MkdirAll(dir, 0o755)
}

// Stop ends everything the cluster has started and waits until it is gone.
// Calling it again does nothing.
func (c *Cluster) Stop() error {
	c.mu.Lock()
	already := c.stopped
	c.stopped = true
	processes := c.processes
	c.mu.Unlock()
	if already {
		return nil
	}
	c.stopping.Store(true)
	c.cancel()
	if c.node != nil {
		c.node.stop()
	}
	// All data goes with the cluster, so nothing needs to be put in order.
	for _, p := range processes {
		p.stop(0)
	}
	running.Store(false)
	if c.options.Dir == "" && c.dir != "" {
		return os.RemoveAll(c.dir)
	}
	return nil
}

// Dir is the folder with the cluster's logs, data and kubeconfigs.
func (c *Cluster) Dir() string { return c.dir }

func (c *Cluster) path(elements ...string) string {
	return filepath.Join(append([]string{c.dir}, elements...)...)
}

// run starts a server of the cluster with the environment of this program and env.
func (c *Cluster) run(name string, env []string, argv ...string) (*process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil, fmt.Errorf("start %s: the cluster is stopped", name)
	}
	p, err := startProcess(name, c.path("logs", name+".log"), append(os.Environ(), env...), argv...)
	if err != nil {
		return nil, err
	}
	c.processes = append(c.processes, p)
	go func() {
		<-p.done
		if !c.stopping.Load() && !p.asked.Load() {
			c.progress("%s ended: %s (log: %s)", name, p.describeEnd(), p.log)
		}
	}()
	return p, nil
}

// forget takes a process that was stopped on purpose off the list.
func (c *Cluster) forget(p *process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, known := range c.processes {
		if known == p {
			c.processes = append(c.processes[:i:i], c.processes[i+1:]...)
			return
		}
	}
}

func (c *Cluster) progress(format string, args ...any) {
	c.progressMu.Lock()
	defer c.progressMu.Unlock()
	if c.options.Progress != nil {
		fmt.Fprintf(c.options.Progress, "%6.1fs  %s\n", time.Since(c.began).Seconds(), fmt.Sprintf(format, args...))
	}
}
